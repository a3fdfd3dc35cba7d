from django.db import migrations

from ecommerce.messaging.operations import row_security


class Migration(migrations.Migration):
    dependencies = [("identity", "0001_tables"), ("messaging", "0002_web_role")]
    operations = [row_security("identity")]
