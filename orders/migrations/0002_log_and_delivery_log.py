from django.db import migrations

from ecommerce.messaging.operations import append_only, partition_by_day


class Migration(migrations.Migration):
    dependencies = [("orders", "0001_tables"), ("messaging", "0001_kernel_functions")]
    operations = [
        append_only("orders_log"),
        partition_by_day("orders_delivery", "delivered_at"),
    ]
