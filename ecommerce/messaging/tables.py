"""The messaging tables that every service has in its own database, as abstract models.

One line in a service's `models.py` makes them concrete:

    tables = service_tables("orders")

Rows of these tables commit together with the business rows of the same decision. Instants are set
from the database's clock, by `messaging_now()`, never by Python.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from django.db import models

from .models import uuid7


class Envelope(models.Model):
    """A message's content and what is known about it."""

    message_id = models.UUIDField()
    tenant = models.CharField(max_length=40)
    stream = models.CharField(max_length=120)
    partition = models.SmallIntegerField()
    name = models.CharField(max_length=80)
    contract = models.SmallIntegerField()
    payload = models.TextField()
    personal = models.TextField(null=True)
    person = models.CharField(max_length=80, null=True)
    correlation_id = models.UUIDField()
    cause_id = models.UUIDField(null=True)
    actor = models.CharField(max_length=80)
    traceparent = models.CharField(max_length=60, null=True)
    recorded_at = models.DateTimeField()

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.name} {self.message_id}"


class LogEntry(Envelope):
    """The service's log: its event store and its outbox in one append-only table.

    `version` is an event's place in its stream; sent commands have none.
    """

    position = models.BigAutoField(primary_key=True)
    version = models.IntegerField(null=True)

    class Meta:
        abstract = True
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "stream", "version"], name="%(app_label)s_one_event_per_version"
            )
        ]


class InboxEntry(Envelope):
    """A message that came from another database or a broker; read like a log."""

    position = models.BigAutoField(primary_key=True)
    version = models.IntegerField(null=True)
    source = models.CharField(max_length=40)
    source_position = models.BigIntegerField(null=True)

    class Meta:
        abstract = True
        constraints = [
            models.UniqueConstraint(fields=["message_id"], name="%(app_label)s_received_once")
        ]
        indexes = [
            models.Index(fields=["source", "source_position"], name="%(app_label)s_inbox_source")
        ]


class RelayCursor(models.Model):
    """How far this service's inbox has copied a source in another database.

    Whoever copies locks the row until the copies and the new position are committed.
    """

    source = models.CharField(max_length=40, primary_key=True)
    position = models.BigIntegerField(default=0)

    class Meta:
        abstract = True


class Partition(models.Model):
    """One partition's lease, fencing token and position in each source, in one row.

    `takeovers` counts how often in a row the lease was lost without being given back; from the
    second on, deliveries run one by one and `suspect` names the one under way.
    """

    number = models.SmallIntegerField(primary_key=True)
    owner = models.CharField(max_length=80, null=True)
    token = models.BigIntegerField(default=0)
    expires_at = models.DateTimeField(null=True)
    positions = models.JSONField(default=dict)
    takeovers = models.SmallIntegerField(default=0)
    suspect = models.CharField(max_length=200, null=True)
    suspect_attempts = models.SmallIntegerField(default=0)

    class Meta:
        abstract = True


class Worker(models.Model):
    """A worker that shares this service's partitions, and when it was last heard of.

    One that has signed off shares no more, but is remembered for a while.
    """

    name = models.CharField(max_length=80, primary_key=True)
    heartbeat_at = models.DateTimeField()
    signed_off = models.BooleanField()

    class Meta:
        abstract = True


class HandlerName(models.Model):
    """A handler that has run here: its name may stand in rows, so code must keep it."""

    name = models.CharField(max_length=120, primary_key=True)
    kind = models.CharField(max_length=12)

    class Meta:
        abstract = True


class Effect(Envelope):
    """The intent to call something outside the process.

    It may be claimed once `due_at` has passed; a claim moves `due_at` to when it lapses and sets a
    new fencing token. `claims` counts those that never came back, too.
    """

    id = models.UUIDField(primary_key=True, default=uuid7)
    handler = models.CharField(max_length=120)
    attempts = models.SmallIntegerField(default=0)
    due_at = models.DateTimeField()
    claims = models.SmallIntegerField(default=0)
    token = models.UUIDField(null=True)
    error = models.TextField(default="")

    class Meta:
        abstract = True
        constraints = [
            models.UniqueConstraint(
                fields=["message_id", "handler"], name="%(app_label)s_one_intent_per_handler"
            )
        ]
        indexes = [models.Index(fields=["due_at"], name="%(app_label)s_effect_due")]


class Parked(models.Model):
    """A delivery that failed, or that waits behind a failed one of its stream and handler."""

    id = models.BigAutoField(primary_key=True)
    handler = models.CharField(max_length=120)
    source = models.CharField(max_length=40)
    position = models.BigIntegerField()
    message_id = models.UUIDField()
    tenant = models.CharField(max_length=40)
    stream = models.CharField(max_length=120)
    partition = models.SmallIntegerField()
    attempts = models.SmallIntegerField()
    due_at = models.DateTimeField()
    error = models.TextField()
    parked_at = models.DateTimeField()

    class Meta:
        abstract = True
        constraints = [
            models.UniqueConstraint(
                fields=["message_id", "handler"], name="%(app_label)s_parked_once"
            )
        ]
        indexes = [
            models.Index(fields=["partition", "due_at"], name="%(app_label)s_parked_due"),
            models.Index(
                fields=["tenant", "stream", "handler"], name="%(app_label)s_parked_stream"
            ),
        ]


class DeadLetter(Envelope):
    """A delivery that was given up after its attempts, whole, with the reason."""

    id = models.UUIDField(primary_key=True, default=uuid7)
    handler = models.CharField(max_length=120)
    attempts = models.SmallIntegerField()
    reason = models.CharField(max_length=40)
    error = models.TextField()
    dead_at = models.DateTimeField()

    class Meta:
        abstract = True
        indexes = [models.Index(fields=["dead_at"], name="%(app_label)s_dead_at")]


class Delivery(models.Model):
    """The delivery log: one row for each attempt to give a message to a handler.

    Partitioned by day; the database's primary key is (id, delivered_at).
    """

    id = models.BigAutoField(primary_key=True)
    message_id = models.UUIDField(db_index=True)
    cause_id = models.UUIDField(null=True)
    handler = models.CharField(max_length=120)
    worker = models.CharField(max_length=80)
    outcome = models.CharField(max_length=12)
    attempt = models.SmallIntegerField()
    waited_us = models.BigIntegerField()
    ran_us = models.IntegerField()
    policy = models.CharField(max_length=40, null=True)
    delivered_at = models.DateTimeField()

    class Meta:
        abstract = True


class Timer(Envelope):
    """A message to be sent at `due_at`."""

    id = models.UUIDField(primary_key=True, default=uuid7)
    due_at = models.DateTimeField()

    class Meta:
        abstract = True
        indexes = [models.Index(fields=["due_at"], name="%(app_label)s_timer_due")]


class IdempotencyKey(models.Model):
    """The answer that was given to a caller's key, kept to be given again."""

    id = models.UUIDField(primary_key=True, default=uuid7)
    tenant = models.CharField(max_length=40)
    caller = models.CharField(max_length=80)
    route = models.CharField(max_length=120)
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    status = models.SmallIntegerField()
    headers = models.TextField()
    body = models.TextField(null=True)
    personal = models.TextField(null=True)
    person = models.CharField(max_length=80, null=True)
    created_at = models.DateTimeField()

    class Meta:
        abstract = True
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "caller", "route", "key"], name="%(app_label)s_answered_once"
            )
        ]
        indexes = [models.Index(fields=["created_at"], name="%(app_label)s_idem_created")]


@dataclass(frozen=True)
class ServiceTables:
    """The concrete messaging tables of one service."""

    log: type[LogEntry]
    inbox: type[InboxEntry]
    relay: type[RelayCursor]
    partition: type[Partition]
    worker: type[Worker]
    handler: type[HandlerName]
    effect: type[Effect]
    parked: type[Parked]
    dead: type[DeadLetter]
    delivery: type[Delivery]
    timer: type[Timer]
    idempotency: type[IdempotencyKey]

    def __iter__(self) -> Any:
        return iter(vars(self).values())


def service_tables(service: str) -> ServiceTables:
    """Make one service's concrete messaging tables, such as `orders_log`.

    Call it once, in the service's `models.py`, so that its migrations own the tables.
    """
    module = f"{service}.models"

    def concrete(base: type[models.Model], name: str, singular: str, plural: str) -> Any:
        meta = type(
            "Meta",
            (getattr(base, "Meta", object),),
            {
                "app_label": service,
                "abstract": False,
                "db_table": f"{service}_{name}",
                "verbose_name": singular,
                "verbose_name_plural": plural,
            },
        )
        class_name = f"{service.capitalize()}{base.__name__}"
        model = type(class_name, (base,), {"__module__": module, "Meta": meta})
        setattr(sys.modules[module], class_name, model)
        return model

    return ServiceTables(
        log=concrete(LogEntry, "log", "message", "messages (log)"),
        inbox=concrete(InboxEntry, "inbox", "received message", "messages (inbox)"),
        relay=concrete(RelayCursor, "relay", "relay cursor", "relay cursors"),
        partition=concrete(Partition, "partition", "partition", "partitions"),
        worker=concrete(Worker, "worker", "worker", "workers"),
        handler=concrete(HandlerName, "handler", "handler name", "handler names"),
        effect=concrete(Effect, "effect", "effect", "effects"),
        parked=concrete(Parked, "parked", "parked delivery", "parked deliveries"),
        dead=concrete(DeadLetter, "dead", "dead letter", "dead letters"),
        delivery=concrete(Delivery, "delivery", "delivery", "deliveries"),
        timer=concrete(Timer, "timer", "timer", "timers"),
        idempotency=concrete(IdempotencyKey, "idempotency", "idempotency key", "idempotency keys"),
    )
