"""Tables whose rows wait for something: a call, another try, an operator, a moment.

Abstract, like all messaging tables: `tables` makes each service's own.
"""

from __future__ import annotations

from django.db import models

from .envelopes import Envelope
from .models import uuid7


class Effect(Envelope):
    """The intent to call something outside the process.

    It may be claimed once `due_at` has passed; a claim moves `due_at` to when it lapses and sets a
    new fencing token. `claims` counts those that never came back, too.
    `redriven` are those that come from the dead-letter desk.
    """

    id = models.UUIDField(primary_key=True, default=uuid7)
    handler = models.CharField(max_length=120)
    attempts = models.SmallIntegerField(default=0)
    due_at = models.DateTimeField()
    claims = models.SmallIntegerField(default=0)
    token = models.UUIDField(null=True)
    error = models.TextField(default="")
    redriven = models.BooleanField(default=False, db_default=False)

    class Meta:
        abstract = True
        indexes = [models.Index(fields=["partition", "due_at"], name="%(app_label)s_effect_due")]


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
    """A delivery that was given up after its attempts, whole, with the reason.

    `state` is what the desk decided: `waiting`, `held`, `retrying`, `resolved` or `given_up`.
    `cause` is the same for letters that died of the same thing. `due_at` is when a policy tries it
    again by itself; `redrives` counts how often it was sent out again.
    """

    id = models.UUIDField(primary_key=True, default=uuid7)
    handler = models.CharField(max_length=120)
    attempts = models.SmallIntegerField()
    reason = models.CharField(max_length=40)
    error = models.TextField()
    dead_at = models.DateTimeField()
    state = models.CharField(max_length=12, default="waiting", db_default="waiting")
    state_at = models.DateTimeField(null=True)
    cause = models.CharField(max_length=64, default="", db_default="")
    due_at = models.DateTimeField(null=True)
    redrives = models.SmallIntegerField(default=0, db_default=0)

    class Meta:
        abstract = True
        constraints = [
            models.UniqueConstraint(
                fields=["message_id", "handler"], name="%(app_label)s_dead_once"
            )
        ]
        indexes = [
            models.Index(fields=["dead_at"], name="%(app_label)s_dead_at"),
            models.Index(fields=["state", "cause"], name="%(app_label)s_dead_cause"),
            models.Index(
                fields=["due_at"],
                condition=models.Q(due_at__isnull=False),
                name="%(app_label)s_dead_due",
            ),
        ]


class DeadLetterAction(models.Model):
    """What somebody, or a policy, did with a dead letter: its trail."""

    id = models.BigAutoField(primary_key=True)
    dead_id = models.UUIDField()
    action = models.CharField(max_length=20)
    actor = models.CharField(max_length=80)
    note = models.TextField(default="", db_default="")
    payload_before = models.TextField(null=True)
    personal_before = models.TextField(null=True)
    done_at = models.DateTimeField()

    class Meta:
        abstract = True
        indexes = [models.Index(fields=["dead_id"], name="%(app_label)s_dead_trail")]


class Timer(Envelope):
    """A message to be sent at `due_at`."""

    id = models.UUIDField(primary_key=True, default=uuid7)
    due_at = models.DateTimeField()

    class Meta:
        abstract = True
        indexes = [models.Index(fields=["due_at"], name="%(app_label)s_timer_due")]


class Schedule(models.Model):
    """A message that is sent again and again, and when next."""

    name = models.CharField(max_length=120, primary_key=True)
    rule = models.CharField(max_length=80)
    due_at = models.DateTimeField()
    ran_at = models.DateTimeField(null=True)

    class Meta:
        abstract = True
