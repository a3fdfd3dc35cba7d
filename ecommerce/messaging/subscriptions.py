"""Who reads what: the messages that a service handles, and the tables in which it finds them."""

from __future__ import annotations

from .messages import contract_of
from .registry import handlers
from .services import ServiceConfig, services


def subscribed_names(service: str, source: str) -> list[str]:
    """The messages that a service handles and that a source can hold.

    Commands stand in the log of whoever sent them, events in that of their own service.
    """
    handled = {
        message
        for handler in handlers(service)
        if handler.kind != "performs"
        for message in handler.message_types
    }
    return sorted(
        contract.name
        for contract in map(contract_of, handled)
        if contract.kind == "command" or source in (contract.service, "inbox")
    )


def readable(target: ServiceConfig) -> dict[str, str]:
    """The sources that a service reads, and the table of each: logs of services in its database,
    and its inbox when there are others."""
    sources = {
        source.label: source.tables.log._meta.db_table
        for source in services()
        if source.database == target.database and subscribed_names(target.label, source.label)
    }
    if any(source.database != target.database for source in services()):
        sources["inbox"] = target.tables.inbox._meta.db_table
    return sources
