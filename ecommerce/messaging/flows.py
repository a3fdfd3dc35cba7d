"""Who sends which message, and who takes it: the whole platform on a page.

`flows` finds it out; the rest writes it down as text, as Markdown and as a Mermaid diagram.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby

from .deadlines import deadlines
from .messages import Contract, contract_of, contracts
from .registry import Handler, handlers, handlers_of
from .schedules import schedules
from .senders import doors, made_by
from .services import services

SHOWN = 4
"""Messages that an arrow of the diagram names; of more it tells the number."""
PEOPLE = "people"


@dataclass(frozen=True)
class Sender:
    """Somebody who sends a message; `service` is empty for those who act for people."""

    name: str
    service: str


@dataclass(frozen=True)
class Flow:
    """One message, who sends it and who takes it."""

    contract: Contract
    senders: tuple[Sender, ...]
    takers: tuple[Handler, ...]


def flows() -> list[Flow]:
    """All messages of the installed services, by name."""
    found: dict[str, set[Sender]] = defaultdict(set)
    for handler in handlers():
        for name in made_by(handler.function):
            found[name].add(Sender(handler.name, handler.service))
    for deadline in deadlines():
        label = f"deadline {deadline.model._meta.label}.{deadline.column}"
        for name in made_by(deadline.message):
            found[name].add(Sender(label, deadline.model._meta.app_label))
    for schedule in schedules():
        contract = contract_of(schedule.message(datetime.now(UTC)))
        found[contract.name].add(Sender(f"schedule {schedule.name}", schedule.service))
    for module, name in doors():
        found[name].add(Sender(module, ""))
    installed = {service.label for service in services()}
    return [
        Flow(
            contract,
            tuple(sorted(found[contract.name], key=lambda sender: sender.name)),
            tuple(handlers_of(contract.type)),
        )
        for contract in contracts()
        if contract.service in installed
    ]


def as_text(found: Iterable[Flow]) -> str:
    """For a terminal: each message with who sends it above who takes it."""
    lines = []
    for flow in found:
        lines.append(f"{flow.contract.name}  ({flow.contract.kind})")
        lines += [f"    from  {sender.name}" for sender in flow.senders]
        lines += [f"    to    {taker.name}  ({taker.kind})" for taker in flow.takers]
    return "\n".join(lines)


def as_markdown(found: Sequence[Flow]) -> str:
    """A page: the diagram, and a table for each service."""
    lines = [
        "# Messages", "",
        "Made from the code; a test keeps it true. Who sends is read from the source, see",
        "[senders](../ecommerce/messaging/senders.py): every message that a function may make.",
        "Senders without a service act for people. Arrows between services are in the diagram;",
        "what a service tells only itself is in the tables.", "",
        "```mermaid", as_mermaid(found), "```",
    ]  # fmt: skip
    for service, own in groupby(found, key=lambda flow: flow.contract.service):
        lines += ["", f"## {service}", "", "| Message | Sent by | Taken by |", "|---|---|---|"]
        for flow in own:
            senders = ", ".join(f"`{sender.name}`" for sender in flow.senders) or "nobody"
            takers = ", ".join(_taker(taker) for taker in flow.takers) or "nobody"
            name = flow.contract.type.__name__
            lines.append(f"| {flow.contract.kind} `{name}` | {senders} | {takers} |")
    return "\n".join(lines) + "\n"


def as_mermaid(found: Iterable[Flow]) -> str:
    """A diagram: an arrow from each service, and from people, to each service that they reach."""
    arrows: dict[tuple[str, str], set[str]] = defaultdict(set)
    for flow in found:
        for sender in {sender.service for sender in flow.senders}:
            for taker in {taker.service for taker in flow.takers} - {sender}:
                arrows[sender or PEOPLE, taker].add(flow.contract.type.__name__)
    lines = ["flowchart LR", f"    {PEOPLE}([{PEOPLE}])"]
    lines += [
        f'    {sender} -->|"{_label(sorted(names))}"| {taker}'
        for (sender, taker), names in sorted(arrows.items())
    ]
    return "\n".join(lines)


def _label(names: Sequence[str]) -> str:
    shown = names if len(names) <= SHOWN else names[: SHOWN - 1]
    more = [f"and {len(names) - len(shown)} more"] if len(shown) < len(names) else []
    return "<br/>".join([*shown, *more])


def _taker(handler: Handler) -> str:
    kinds = {"handles": "", "projects": " (projection)", "performs": " (effect)"}
    return f"`{handler.name}`{kinds[handler.kind]}"
