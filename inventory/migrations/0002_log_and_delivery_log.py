from django.db import migrations

from ecommerce.messaging.operations import append_only, partition_by_day


class Migration(migrations.Migration):
    dependencies = [("inventory", "0001_tables"), ("messaging", "0001_kernel_functions")]
    operations = [
        append_only("inventory_log"),
        partition_by_day("inventory_delivery", "delivered_at"),
    ]
