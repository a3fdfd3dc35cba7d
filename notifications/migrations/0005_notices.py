from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("notifications", "0004_row_security")]

    operations = [
        migrations.RemoveField(model_name="notification", name="details"),
        migrations.AlterField(
            model_name="notification",
            name="customer_id",
            field=models.CharField(max_length=80),
        ),
        migrations.AddField(
            model_name="contact", name="unwanted", field=models.JSONField(default=list)
        ),
        migrations.AddField(model_name="contact", name="quiet", field=models.JSONField(null=True)),
        migrations.AlterField(
            model_name="notification",
            name="status",
            field=models.CharField(
                choices=[
                    ("Queued", "Queued"),
                    ("Sent", "Sent"),
                    ("Failed", "Failed"),
                    ("Undeliverable", "Undeliverable"),
                    ("Unwanted", "Unwanted"),
                ],
                max_length=13,
            ),
        ),
    ]
