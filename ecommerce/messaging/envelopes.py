"""Tables whose rows are messages in order: the log, the inbox, and what goes with them.

Abstract, like all messaging tables: `tables` makes each service's own.
"""

from __future__ import annotations

from django.contrib.postgres.indexes import BrinIndex, OpClass
from django.db import models


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
        # Ids are made in the order of time, so a summary of each stretch finds them, at no cost.
        indexes = [
            BrinIndex(
                OpClass("correlation_id", name="uuid_minmax_multi_ops"),
                name="%(app_label)s_log_correlation",
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

    Whoever copies locks the row until the copies and the new position are committed. Rows named `to …`
    are the other direction: what a target has confirmed, where a broker carries messages.
    """

    source = models.CharField(max_length=40, primary_key=True)
    position = models.BigIntegerField(default=0)

    class Meta:
        abstract = True


class Snapshot(models.Model):
    """What the events of a stream made of an aggregate, up to a version: where a fold may begin.

    `shape` says which columns the aggregate had; a snapshot of another shape is not used.
    """

    id = models.BigAutoField(primary_key=True)
    tenant = models.CharField(max_length=40)
    stream = models.CharField(max_length=120)
    version = models.IntegerField()
    shape = models.CharField(max_length=16)
    state = models.TextField()
    taken_at = models.DateTimeField()

    class Meta:
        abstract = True
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "stream", "version"], name="%(app_label)s_one_snapshot"
            )
        ]
