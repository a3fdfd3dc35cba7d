"""A service: a Django app that owns tables, contracts and handlers.

Each service's `apps.py` holds one subclass of `ServiceConfig`; what that says is all that the kernel
needs to know of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar, cast

from django.apps import AppConfig, apps
from django.conf import settings

from .errors import WiringError

if TYPE_CHECKING:
    from .tables import ServiceTables


class ServiceConfig(AppConfig):
    """Base of the services' app configurations.

    `modules` names the modules whose import registers handlers, in reading order.
    """

    modules: ClassVar[tuple[str, ...]] = ("handlers",)
    patience: ClassVar[float] = 0.0
    """Seconds for which its deliveries wait for more to come, which is cheaper done together: for a
    service whose work nobody waits for."""
    default = False

    def __init_subclass__(cls) -> None:
        cls.default = True  # Django takes the one default of an apps.py, not this imported base

    def ready(self) -> None:
        for module in ("contracts", *self.modules):
            import_module(f"{self.name}.{module}")
        from .canary import declare  # its models may be imported only now

        declare(self)

    @property
    def tables(self) -> ServiceTables:
        """The service's messaging tables."""
        return cast("ServiceTables", self.models_module.tables)  # type: ignore[union-attr]

    @property
    def database(self) -> str:
        """The alias of the database that holds this service's tables."""
        return settings.SERVICE_DATABASES.get(self.label, "default")


def services() -> list[ServiceConfig]:
    """All installed services, in the order of INSTALLED_APPS."""
    return [config for config in apps.get_app_configs() if isinstance(config, ServiceConfig)]


def by_database(chosen: Iterable[ServiceConfig]) -> dict[str, list[ServiceConfig]]:
    """Services by the alias of their database, both in the order in which they come."""
    found: dict[str, list[ServiceConfig]] = {}
    for config in chosen:
        found.setdefault(config.database, []).append(config)
    return found


def service(label: str) -> ServiceConfig:
    """The service with this label. Raises WiringError when it is not installed."""
    for config in services():
        if config.label == label:
            return config
    raise WiringError(f"no service is called {label!r}; there are {[s.label for s in services()]}")
