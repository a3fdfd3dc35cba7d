"""`manage.py policies`: what is decided about messages, and why about one of them."""

from __future__ import annotations

import uuid
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ecommerce.messaging.log import Stored
from ecommerce.messaging.messages import contracts
from ecommerce.messaging.policies import Policy, declared, explain, possible
from ecommerce.messaging.searching import as_uuid, find
from ecommerce.messaging.services import services
from ecommerce.messaging.tables import Delivery


class Command(BaseCommand):
    help = "List the policies, in order, or explain which one a message falls under, and why."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("list", help="all policies: whom they are for, and what they decide")
        one = actions.add_parser("explain", help="which policies were tried for a message, and why")
        one.add_argument("message", metavar="MESSAGE_ID")

    def handle(self, *args: Any, action: str, message: str = "", **options: Any) -> None:
        if action == "list":
            self._list()
            return
        message_id = as_uuid(message)
        if message_id is None:
            raise CommandError(f"{message!r} is not the id of a message.")
        self._explain(message_id)

    def _list(self) -> None:
        for number, policy in enumerate(declared(), 1):
            self.stdout.write(f"{number}. {policy.name}: {_decides(policy)}")
            self.stdout.write(f"   for {_condition(policy)}")
            names = [c.name for c in contracts() if policy in possible(c)]
            self.stdout.write(f"   such as {', '.join(names) or 'no message that there is'}")
        if not declared():
            self.stdout.write("There are no policies: handlers decide.")

    def _explain(self, message_id: uuid.UUID) -> None:
        found, made = find(message_id), _hops(message_id)
        if found is None and not made:
            raise CommandError(f"There is no message {message_id}, and no delivery of one.")
        if found is None:
            self.stdout.write("The message is no longer stored; its deliveries are.")
        else:
            self._trail(*found)
        for hop in made:
            self.stdout.write(_hop(hop))

    def _trail(self, table: str, stored: Stored) -> None:
        self.stdout.write(f"{stored.name} of {stored.tenant}, {stored.stream}, in {table}")
        decided = None
        for tried in explain(stored.name, stored.tenant, stored.recorded_at, stored.message):
            decided = None if tried.passed_over else tried.policy
            self.stdout.write(f"  {tried.policy.name}: {tried.passed_over or 'fits, and decides'}")
        self.stdout.write(_decides(decided) if decided else "No policy fits: its handler decides.")


def _hops(message_id: uuid.UUID) -> list[Delivery]:
    """The attempts to deliver a message, in all services."""
    logs = (config.tables.delivery._default_manager for config in services())
    found = [hop for log in logs for hop in log.filter(message_id=message_id)]
    return sorted(found, key=lambda hop: hop.delivered_at)


def _hop(hop: Delivery) -> str:
    attempt = f"{hop.handler}, attempt {hop.attempt}: {hop.outcome}"
    return f"{hop.delivered_at:%Y-%m-%d %H:%M:%S} {attempt} under {hop.policy or 'no policy'}"


def _condition(policy: Policy) -> str:
    conditions = {
        "tenant": sorted(policy.tenants),
        "environment": sorted(policy.environments),
        "message": [message.__name__ for message in policy.messages],
        "tag": sorted(policy.tags),
    }
    told = [f"{what} {' or '.join(these)}" for what, these in conditions.items() if these]
    if policy.where:
        told.append("a question of its own to each message")
    return ", ".join(told) or "everything"


def _decides(policy: Policy) -> str:
    decided = [f"topic {policy.topic}"]
    if policy.retry is not None:
        seconds = ", ".join(f"{each:g}" for each in policy.retry)
        decided.append(f"tried again after {seconds} s" if seconds else "never tried again")
    if policy.concurrency is not None:
        decided.append(f"at most {policy.concurrency} calls at once")
    return ", ".join(decided)
