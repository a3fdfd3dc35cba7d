from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("customers", "0010_shop")]

    operations = [
        migrations.AddField(
            model_name="customer",
            name="unwanted",
            field=models.JSONField(
                blank=True, default=list, help_text="What they do not want to be told."
            ),
        ),
        migrations.AddField(
            model_name="customer",
            name="quiet",
            field=models.JSONField(
                blank=True, help_text="When no text messages may come.", null=True
            ),
        ),
    ]
