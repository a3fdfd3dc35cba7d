"""What the console remembers: the audits and the crowds that operators asked for."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from ecommerce.messaging.models import uuid7

REQUESTED, RUNNING, DONE, FAILED = "requested", "running", "done", "failed"
OPEN = (REQUESTED, RUNNING)


class Audit(models.Model):
    """All checks, asked for one tenant by a worker: how far it is, and what each found so far."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.CharField(max_length=40)
    actor = models.CharField(max_length=80)
    state = models.CharField(max_length=12, default=REQUESTED)
    findings = models.JSONField(default=list)
    total = models.IntegerField(default=0)
    error = models.TextField(default="", blank=True)
    requested_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    updated_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant"], condition=Q(state__in=OPEN), name="console_audit_one_at_a_time"
            ),
            models.CheckConstraint(
                condition=Q(state__in=(*OPEN, DONE, FAILED)), name="console_audit_no_unknown_state"
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["tenant", "-id"], name="console_audit_newest")]

    def __str__(self) -> str:
        return f"audit of {self.tenant}: {self.state}"

    @property
    def is_open(self) -> bool:
        """Whether it is still to be done."""
        return self.state in OPEN

    @property
    def asked(self) -> int:
        return len(self.findings)

    @property
    def wrong(self) -> int:
        """How many checks found something."""
        return sum(each["offending"] > 0 for each in self.findings)

    @property
    def unanswered(self) -> int:
        """How many checks took too long."""
        return sum(each["too_long"] for each in self.findings)


class Crowd(models.Model):
    """Demo customers who order for a while: how many orders they have placed, how many of these have
    ended, and how many otherwise than meant. `beat_at` is when it was last heard of."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.CharField(max_length=40)
    actor = models.CharField(max_length=80)
    rate = models.FloatField()
    orders = models.IntegerField()
    placed = models.IntegerField(default=0)
    ended = models.IntegerField(default=0)
    unmeant = models.IntegerField(default=0)
    state = models.CharField(max_length=12, default=RUNNING)
    stopping = models.BooleanField(default=False)
    error = models.TextField(default="", blank=True)
    started_at = models.DateTimeField()
    beat_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["state"], condition=Q(state=RUNNING), name="console_crowd_one_at_a_time"
            ),
            models.CheckConstraint(
                condition=Q(state__in=(RUNNING, DONE, FAILED)),
                name="console_crowd_no_unknown_state",
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["tenant", "-id"], name="console_crowd_newest")]

    def __str__(self) -> str:
        return f"crowd of {self.tenant}: {self.state}"

    @property
    def is_open(self) -> bool:
        """Whether it is at work."""
        return self.state == RUNNING

    @property
    def under_way(self) -> int:
        """Orders that were placed and have not ended."""
        return self.placed - self.ended
