from django.db import migrations

from ecommerce.messaging.operations import row_security


class Migration(migrations.Migration):
    dependencies = [("analytics", "0003_desk_schedules_snapshots"), ("messaging", "0002_web_role")]
    operations = [row_security("analytics")]
