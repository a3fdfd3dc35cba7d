from __future__ import annotations

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class MessagingConfig(AppConfig):
    name = "ecommerce.messaging"
    label = "messaging"
    verbose_name = "Messaging"

    def ready(self) -> None:
        from . import checks, partitions

        checks.register()
        post_migrate.connect(partitions.after_migrate, dispatch_uid="messaging.partitions")
