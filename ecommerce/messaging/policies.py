"""Policies: how messages of some kind are retried, how many calls run at once, and who makes them.

One list, in order, that the setting MESSAGING_POLICIES names. The first policy that fits a message
decides all of it; what it leaves open stays as the handler declares it. A decision uses nothing but
the stored message and where the platform runs, so it is the same at every attempt, on every worker,
and when somebody asks later (`explain`). `admission` enforces concurrency and topics.

What a policy looks at besides the content of a message is compared once for each kind of message
and tenant. Only a policy with `where` costs something for each message.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, time
from functools import cache, cached_property, lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.utils.module_loading import import_string

from ecommerce.values import Money

from .errors import ContractError, WiringError, describe
from .messages import Contract, Message, contract_named, contract_of
from .registry import performer_of

logger = logging.getLogger(__name__)

DEFAULT_TOPIC = "default"
LONGEST_NAME = 40
"""What the delivery log has room for."""


@dataclass(frozen=True)
class Subject:
    """What a policy may look at. `at` is when the message was recorded."""

    contract: Contract
    tenant: str
    environment: str
    at: datetime
    read: Callable[[], Message] = field(repr=False)

    @cached_property
    def message(self) -> Message:
        """The message itself. Raises ContractError when the code cannot read it."""
        return self.read()

    @property
    def amounts(self) -> list[Money]:
        """The message's fields that are amounts of money."""
        values = (getattr(self.message, name) for name in self.message.__struct_fields__)
        return [value for value in values if isinstance(value, Money)]


Where = Callable[[Subject], bool]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """One policy: whom it is for (what is not given does not matter), and what it decides.

    `retry` are the seconds before each further attempt. `concurrency` limits the calls in flight
    of one service, over all its workers. `topic` is what workers are told to take.
    """

    name: str
    tenants: AbstractSet[str] = frozenset()
    environments: AbstractSet[str] = frozenset()
    messages: tuple[type[Message], ...] = ()
    tags: AbstractSet[str] = frozenset()
    where: Where | None = None

    retry: tuple[float, ...] | None = None
    concurrency: int | None = None
    topic: str = DEFAULT_TOPIC

    @property
    def certain(self) -> bool:
        """Whether it is for every message of a kind that it may be for."""
        return self.where is None and not self.tenants

    def unfit(self, contract: Contract, tenant: str, environment: str) -> str | None:
        """Why it is not for such messages, whatever they contain; None when it may be."""
        if self.environments and environment not in self.environments:
            return f"the environment is {environment}"
        if self.tenants and tenant not in self.tenants:
            return f"the tenant is {tenant}"
        if self.messages and contract.type not in self.messages:
            return f"the message is {contract.name}"
        if self.tags and not self.tags & set(contract.tags):
            return f"the message is tagged {', '.join(contract.tags) or 'with nothing'}"
        return None


@dataclass(frozen=True)
class Tried:
    """One step of a decision: a policy that was looked at, and why it was passed over."""

    policy: Policy
    passed_over: str | None


def worth(*least: Money) -> Where:
    """For messages with an amount of at least so much, in one of these currencies."""

    def is_worth(subject: Subject) -> bool:
        floors = {money.currency: money.amount for money in least}
        return any(
            amount.amount >= floors[amount.currency]
            for amount in subject.amounts
            if amount.currency in floors
        )

    return is_worth


def between(start: time, end: time, zone: str = "UTC") -> Where:
    """For messages recorded at this time of day; `end` may be on the next day."""

    def is_between(subject: Subject) -> bool:
        now = subject.at.astimezone(ZoneInfo(zone)).time()
        return start <= now < end if start <= end else now >= start or now < end

    return is_between


@cache
def declared() -> tuple[Policy, ...]:
    """The platform's policies, in order. Raises WiringError for a list that cannot be meant."""
    path = settings.MESSAGING_POLICIES
    try:
        policies: Sequence[Policy] = import_string(path)
    except ImportError as error:
        raise WiringError(f"MESSAGING_POLICIES is {path!r}: {error}") from error
    names = [policy.name for policy in policies]
    for policy in policies:
        if mistake := _mistake(policy, names):
            raise WiringError(f"{path}: the policy {policy.name!r} {mistake}")
    return tuple(policies)


def topics() -> set[str]:
    """What workers may be told to take."""
    return {DEFAULT_TOPIC, *(policy.topic for policy in declared())}


def check_policies(**_: Any) -> list[CheckMessage]:
    """Whether the list can be meant, for `manage.py check` and every command."""
    try:
        unknown = sorted(set(settings.WORKER_TOPICS) - topics())
    except (WiringError, ContractError) as error:
        hint = "See the module that MESSAGING_POLICIES names."
        return [Error(f"{error}.", hint=hint, id="messaging.E021")]
    if unknown:
        hint = f"There are {sorted(topics())}."
        return [Error(f"WORKER_TOPICS names {unknown}.", hint=hint, id="messaging.E022")]
    return []


class Decision(NamedTuple):
    """The policy that a message falls under, and how that was decided, for its hops."""

    policy: Policy | None = None
    trail: str | None = None


UNDECIDED = Decision()


def decide(name: str, tenant: str, at: datetime, read: Callable[[], Message]) -> Decision:
    """What a message falls under; `read` gives its content should a policy ask for it."""
    candidates = candidates_for(name, tenant)
    if not candidates:
        return UNDECIDED
    if candidates[0].where is None:
        return Decision(candidates[0], candidates[0].name)
    subject = Subject(contract_named(name), tenant, settings.MESSAGING_ENVIRONMENT, at, read)
    passed_over: list[str] = []
    for policy in candidates:
        answer = _asked(policy, subject)
        if answer is True:
            return Decision(policy, ", ".join([*passed_over, policy.name]))
        said = "no" if answer is False else f"raised {type(answer).__name__}"
        passed_over.append(f"{policy.name} {said}")
    return Decision(None, ", ".join([*passed_over, "no policy"]))


def explain(name: str, tenant: str, at: datetime, read: Callable[[], Message]) -> Iterator[Tried]:
    """As `decide`, step by step; the last one decides, unless it was passed over, too.

    Raises ContractError when no service declares such a message.
    """
    subject = Subject(contract_named(name), tenant, settings.MESSAGING_ENVIRONMENT, at, read)
    for policy in declared():
        passed_over = policy.unfit(subject.contract, tenant, subject.environment)
        tried = Tried(policy, passed_over or _refusal(policy, subject))
        yield tried
        if tried.passed_over is None:
            return


def possible(contract: Contract) -> list[Policy]:
    """The policies that may be for a kind of message, in whatever tenant."""
    found: list[Policy] = []
    for policy in declared():
        tenant = next(iter(policy.tenants), "")
        if policy.unfit(contract, tenant, settings.MESSAGING_ENVIRONMENT) is None:
            found.append(policy)
            if policy.certain:
                break
    return found


@lru_cache(maxsize=4096)
def candidates_for(name: str, tenant: str) -> tuple[Policy, ...]:
    """The policies that may be for messages of this kind, up to the first that certainly is."""
    try:
        contract = contract_named(name)
    except ContractError:
        return ()
    found: list[Policy] = []
    for policy in declared():
        if policy.unfit(contract, tenant, settings.MESSAGING_ENVIRONMENT) is None:
            found.append(policy)
            if policy.where is None:
                break
    return tuple(found)


def forget() -> None:
    """Read the declared policies anew: for tests, which declare others."""
    declared.cache_clear()
    _report.cache_clear()
    candidates_for.cache_clear()


def _refusal(policy: Policy, subject: Subject) -> str | None:
    """What the policy's own question says against a message; one that raises is passed over."""
    answer = _asked(policy, subject)
    if isinstance(answer, Exception):
        return f"its question raises {describe(answer)}"
    return None if answer else "its question says no"


def _asked(policy: Policy, subject: Subject) -> bool | Exception:
    """What the policy's own question answers about a message."""
    try:
        return policy.where is None or bool(policy.where(subject))
    except Exception as error:
        # The text may quote the message, which may be personal: logs and hops get the kind only.
        _report(policy.name, subject.contract.name, type(error).__name__)
        return error


@lru_cache(maxsize=1024)
def _report(policy: str, message: str, error: str) -> None:
    """Say once in each process that a policy is broken."""
    logger.error(
        "policy %s raises %s on %s and is passed over: see `manage.py policies explain`",
        policy,
        error,
        message,
    )


def _mistake(policy: Policy, names: Sequence[str]) -> str | None:
    for message in policy.messages:
        contract_of(message)
    limits = policy.topic != DEFAULT_TOPIC or policy.concurrency is not None
    calls = not policy.messages or any(map(performer_of, policy.messages))
    mistakes = {
        "is declared twice": names.count(policy.name) > 1,
        f"needs a name of 1 to {LONGEST_NAME} characters": not 0 < len(policy.name) <= LONGEST_NAME,
        "would let nothing run: its concurrency must be 1 or more": policy.concurrency is not None
        and policy.concurrency < 1,
        "must wait more than 0 seconds before each attempt": any(
            seconds <= 0 for seconds in policy.retry or ()
        ),
        "needs a topic without commas": not policy.topic or "," in policy.topic,
        "gives a topic or concurrency, which only calls have, to other messages": limits
        and not calls,
    }
    return next((mistake for mistake, is_made in mistakes.items() if is_made), None)
