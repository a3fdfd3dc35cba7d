"""The role as which requests act: row security shows it one tenant's rows."""

from django.db import migrations

from ecommerce.messaging.operations import web_role


class Migration(migrations.Migration):
    dependencies = [("messaging", "0001_kernel_functions")]
    operations = [web_role()]
