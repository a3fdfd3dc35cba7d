from django.db import migrations, models

import ecommerce.messaging.models
from ecommerce.messaging.operations import row_security


class Migration(migrations.Migration):
    initial = True
    dependencies = [("messaging", "0002_web_role")]

    operations = [
        migrations.CreateModel(
            name="Audit",
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
                ("tenant", models.CharField(max_length=40)),
                ("actor", models.CharField(max_length=80)),
                ("state", models.CharField(default="requested", max_length=12)),
                ("findings", models.JSONField(default=list)),
                ("total", models.IntegerField(default=0)),
                ("error", models.TextField(blank=True, default="")),
                ("requested_at", models.DateTimeField()),
                ("started_at", models.DateTimeField(null=True)),
                ("updated_at", models.DateTimeField()),
            ],
            options={
                "indexes": [models.Index(fields=["tenant", "-id"], name="console_audit_newest")],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state__in", ("requested", "running"))),
                        fields=("tenant",),
                        name="console_audit_one_at_a_time",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("state__in", ("requested", "running", "done", "failed"))
                        ),
                        name="console_audit_no_unknown_state",
                    ),
                ],
            },
        ),
        row_security("console"),
    ]
