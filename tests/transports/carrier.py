"""A broker that a test moves by hand: it loses, doubles, delays and reorders what it is told to."""

from __future__ import annotations

from dataclasses import dataclass

from ecommerce.messaging import sender, transports
from ecommerce.messaging.errors import BrokerAway
from ecommerce.messaging.sender import Sender
from tests.messaging.steps import Puppet


@dataclass(frozen=True)
class Task:
    """Something that was handed to the broker."""

    name: str
    label: str
    body: str

    def run(self) -> None:
        if self.name == transports.RECEIVE:
            transports.receive(self.body)
        else:
            transports.confirm(self.body)


class Carrier:
    """The broker, and the sender of one source in one worker."""

    def __init__(self, source: str, worker: str = "sender") -> None:
        self.waiting: list[Task] = current[0].waiting if current else []
        self.away = False
        self.worker = Puppet(source, worker)
        self.worker.hold()
        self.sender = Sender(self.worker.drain)

    def send(self) -> list[Task]:
        """What the sender hands over now."""
        self.waiting.clear()
        self.sender.step(self.worker.conn)
        return list(self.waiting)

    def carry(self, *tasks: Task) -> None:
        """Deliver tasks in this order, each with what it causes."""
        for task in tasks:
            self.waiting.clear()
            task.run()
            self.carry(*self.waiting[:])

    def settle(self) -> None:
        """Carry until the sender has nothing more."""
        while sent := self.send():
            self.carry(*sent)

    def lose_patience(self) -> None:
        """So much time passes that the sender waits for no answer any more."""
        for flight in sender._flights.values():
            flight.sent_at = float("-inf")


current: list[Carrier] = []


def publish(task: str, label: str, body: str) -> None:
    """What `settings.MESSAGING_PUBLISH` names."""
    (carrier,) = current
    if carrier.away:
        raise BrokerAway("the test keeps it away")
    carrier.waiting.append(Task(task, label, body))
