from django.db import migrations, models

import ecommerce.messaging.models
from ecommerce.messaging.operations import row_security


class Migration(migrations.Migration):
    dependencies = [
        ("analytics", "0004_row_security"),
    ]

    operations = [
        migrations.CreateModel(
            name="Buyer",
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
                ("currency", models.CharField(max_length=3)),
                ("customer_id", models.CharField(max_length=80)),
                ("days", models.JSONField(default=list, help_text="Each day once, in order.")),
            ],
        ),
        migrations.CreateModel(
            name="Cohorts",
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
                ("currency", models.CharField(max_length=3)),
                (
                    "customers",
                    models.JSONField(
                        default=dict, help_text="By the month of the first order, then by month."
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "cohorts",
            },
        ),
        migrations.CreateModel(
            name="PlacedOrder",
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
                ("order_id", models.CharField(max_length=80)),
                ("currency", models.CharField(blank=True, default="", max_length=3)),
                ("day", models.DateField(blank=True, help_text="When it was placed.", null=True)),
                ("customer_id", models.CharField(blank=True, default="", max_length=80)),
                (
                    "reached",
                    models.SmallIntegerField(
                        default=0, help_text="The last of the steps it came to."
                    ),
                ),
                ("cancel_reason", models.CharField(blank=True, default="", max_length=40)),
            ],
        ),
        migrations.DeleteModel(
            name="DailyCustomer",
        ),
        migrations.AddField(
            model_name="dailysales",
            name="cancelled_for",
            field=models.JSONField(
                blank=True, default=dict, help_text="How many were cancelled on the day, by reason."
            ),
        ),
        migrations.AddConstraint(
            model_name="buyer",
            constraint=models.UniqueConstraint(
                fields=("tenant", "currency", "customer_id"), name="analytics_buyer_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="cohorts",
            constraint=models.UniqueConstraint(
                fields=("tenant", "currency"), name="analytics_cohorts_once"
            ),
        ),
        migrations.AddIndex(
            model_name="placedorder",
            index=models.Index(fields=["tenant", "currency", "day"], name="placedorder_of_day"),
        ),
        migrations.AddConstraint(
            model_name="placedorder",
            constraint=models.UniqueConstraint(
                fields=("tenant", "order_id"), name="analytics_placedorder_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="placedorder",
            constraint=models.CheckConstraint(
                condition=models.Q(("reached__gte", 0), ("reached__lt", 5)),
                name="analytics_placedorder_no_unknown_step",
            ),
        ),
        row_security("analytics"),
    ]
