from django.db import migrations, models

import ecommerce.messaging.models
from ecommerce.messaging.operations import row_security


class Migration(migrations.Migration):
    dependencies = [
        ("customers", "0004_row_security"),
    ]

    operations = [
        migrations.AddField(
            model_name="ordersummary",
            name="reached",
            field=models.JSONField(
                blank=True, default=dict, help_text="When it came to each status that it had."
            ),
        ),
        migrations.CreateModel(
            name="Cart",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=ecommerce.messaging.models.uuid7,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("tenant", models.CharField(editable=False, max_length=40)),
                ("cart_id", models.CharField(max_length=80)),
                ("lines", models.JSONField(blank=True, default=list)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "cart_id"), name="customers_cart_once"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Product",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=ecommerce.messaging.models.uuid7,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("tenant", models.CharField(editable=False, max_length=40)),
                ("product_id", models.CharField(max_length=80)),
                ("name", models.CharField(blank=True, default="", max_length=200)),
                ("description", models.TextField(blank=True, default="")),
                ("category", models.CharField(blank=True, default="", max_length=40)),
                ("price", models.BigIntegerField(default=0, help_text="In minor units.")),
                ("currency", models.CharField(blank=True, default="", max_length=3)),
                ("image_url", models.CharField(blank=True, default="", max_length=500)),
                (
                    "available",
                    models.BigIntegerField(default=0, help_text="What can be ordered now."),
                ),
                ("created_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "indexes": [
                    models.Index(fields=["tenant", "category", "name"], name="product_on_its_shelf")
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "product_id"), name="customers_product_once"
                    )
                ],
            },
        ),
        row_security("customers"),
    ]
