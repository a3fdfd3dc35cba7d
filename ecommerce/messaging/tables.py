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

from django.contrib.postgres.indexes import BrinIndex, OpClass
from django.db import models

from .envelopes import InboxEntry, LogEntry, RelayCursor, Snapshot
from .models import Row, uuid7
from .queues import DeadLetter, DeadLetterAction, Effect, Parked, Schedule, Timer


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
    kind = models.CharField(max_length=12, default="", db_default="")
    started_at = models.DateTimeField(null=True)

    class Meta:
        abstract = True


class HandlerName(models.Model):
    """A handler that has run here: its name may stand in rows, so code must keep it."""

    name = models.CharField(max_length=120, primary_key=True)
    kind = models.CharField(max_length=12)

    class Meta:
        abstract = True


class Delivery(models.Model):
    """The delivery log: one row for each attempt to give a message to a handler.

    Partitioned by day; the database's primary key is (id, delivered_at).
    """

    id = models.BigAutoField(primary_key=True)
    message_id = models.UUIDField()
    cause_id = models.UUIDField(null=True)
    handler = models.CharField(max_length=120)
    worker = models.CharField(max_length=130)
    """Host, process id, and a worker's random part or the actor of a command that was executed."""
    outcome = models.CharField(max_length=12)
    attempt = models.SmallIntegerField()
    waited_us = models.BigIntegerField()
    ran_us = models.IntegerField()
    policy = models.TextField(null=True)
    """Which policies were asked and passed over, and last the one that decided."""
    delivered_at = models.DateTimeField()

    class Meta:
        abstract = True
        indexes = [
            BrinIndex(
                OpClass("message_id", name="uuid_minmax_multi_ops"),
                name="%(app_label)s_delivered_message",
            )
        ]


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


class Rebuild(models.Model):
    """A rebuild of read models: how far it is, and what it found."""

    id = models.UUIDField(primary_key=True, default=uuid7)
    models_named = models.CharField(max_length=400)
    state = models.CharField(max_length=12)
    actor = models.CharField(max_length=80)
    events = models.BigIntegerField(default=0)
    total = models.BigIntegerField(default=0)
    differences = models.IntegerField(null=True)
    error = models.TextField(default="")
    cancel_requested = models.BooleanField(default=False)
    started_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        abstract = True


class Canary(Row):
    """The last ping that this service sent to itself, and the last that came through."""

    key = "name"

    name = models.CharField(max_length=40)
    asked_at = models.DateTimeField(null=True)
    answered_at = models.DateTimeField(null=True)
    took_us = models.BigIntegerField(null=True)

    class Meta(Row.Meta):
        abstract = True
        constraints = [
            models.UniqueConstraint(fields=["tenant", "name"], name="%(app_label)s_one_canary")
        ]


@dataclass(frozen=True)
class ServiceTables:
    """The concrete messaging tables of one service."""

    log: type[LogEntry]
    snapshot: type[Snapshot]
    inbox: type[InboxEntry]
    relay: type[RelayCursor]
    partition: type[Partition]
    worker: type[Worker]
    handler: type[HandlerName]
    effect: type[Effect]
    parked: type[Parked]
    dead: type[DeadLetter]
    dead_action: type[DeadLetterAction]
    delivery: type[Delivery]
    timer: type[Timer]
    schedule: type[Schedule]
    idempotency: type[IdempotencyKey]
    rebuild: type[Rebuild]
    canary: type[Canary]

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
        snapshot=concrete(Snapshot, "snapshot", "snapshot", "snapshots"),
        inbox=concrete(InboxEntry, "inbox", "received message", "messages (inbox)"),
        relay=concrete(RelayCursor, "relay", "relay cursor", "relay cursors"),
        partition=concrete(Partition, "partition", "partition", "partitions"),
        worker=concrete(Worker, "worker", "worker", "workers"),
        handler=concrete(HandlerName, "handler", "handler name", "handler names"),
        effect=concrete(Effect, "effect", "effect", "effects"),
        parked=concrete(Parked, "parked", "parked delivery", "parked deliveries"),
        dead=concrete(DeadLetter, "dead", "dead letter", "dead letters"),
        dead_action=concrete(
            DeadLetterAction, "dead_action", "dead letter action", "dead letters' trail"
        ),
        delivery=concrete(Delivery, "delivery", "delivery", "deliveries"),
        timer=concrete(Timer, "timer", "timer", "timers"),
        schedule=concrete(Schedule, "schedule", "schedule", "schedules"),
        idempotency=concrete(IdempotencyKey, "idempotency", "idempotency key", "idempotency keys"),
        rebuild=concrete(Rebuild, "rebuild", "rebuild", "rebuilds"),
        canary=concrete(Canary, "canary", "canary", "canaries"),
    )
