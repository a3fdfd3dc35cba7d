"""How many partitions there are: fixed when a service's tables are made, the same for all.

The number stands in every log row's partition, so it cannot change under a running system.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings

from .errors import WiringError
from .services import ServiceConfig


def after_migrate(sender: AppConfig, using: str, **_: Any) -> None:
    """Make the partition rows of a service that has none yet."""
    if not isinstance(sender, ServiceConfig) or sender.database != using:
        return
    partitions = sender.tables.partition._base_manager.using(using)
    if not partitions.exists():
        partitions.bulk_create(
            sender.tables.partition(number=n) for n in range(settings.MESSAGING_PARTITIONS)
        )


def check_partitions(chosen: Sequence[ServiceConfig]) -> None:
    """Raise WiringError when a database was made for another number of partitions."""
    for service in chosen:
        found = service.tables.partition._base_manager.using(service.database).count()
        if found != settings.MESSAGING_PARTITIONS:
            raise WiringError(
                f"{service.label} has {found} partitions but MESSAGING_PARTITIONS is "
                f"{settings.MESSAGING_PARTITIONS}: restore the setting, or migrate a new database"
            )
