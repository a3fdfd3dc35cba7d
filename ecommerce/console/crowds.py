"""Crowds of demo customers that operators send: one at a time, in a process of its own.

The process outlives the request, and may outlive the web process. It notes each second how far it is,
and looks whether it shall stop. Which one is at work is decided by the database: a second row that
says so is refused. One that was not heard of for LOST_SECONDS has died.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from customers import queries as customers
from ecommerce.messaging.errors import Conflict
from ecommerce.messaging.tenancy import EVERY, acting_for

from .client import Client, Unreachable
from .demo import ENDED, Demo, Order, plan
from .models import DONE, FAILED, RUNNING, Crowd

MOST_RATE = 20
"""Orders a second."""
MOST_MINUTES = 5
LOST_SECONDS = 20
BEAT_SECONDS = 1.0
DEADLINE_SECONDS = 120.0
"""For the last orders to end."""
PATIENCE_SECONDS = 15.0
MOST_LOOKED = 1000
"""Orders whose ends are looked for at a time."""
DIED = "its process has ended"


def start(tenant: str, actor: str, rate: float, seconds: int, url: str) -> Crowd:
    """Send a crowd to the shop at an address. Raises Conflict while one is at work, for any tenant."""
    now = timezone.now()
    try:
        with acting_for(EVERY), transaction.atomic(using="default"):
            lost = Crowd.objects.filter(
                state=RUNNING, beat_at__lt=now - timedelta(seconds=LOST_SECONDS)
            )
            lost.update(state=FAILED, error=DIED)
            crowd = Crowd.objects.create(
                tenant=tenant, actor=actor, rate=rate, orders=max(round(rate * seconds), 1),
                started_at=now, beat_at=now,
            )  # fmt: skip
    except IntegrityError:
        raise Conflict("A crowd is at work already: wait for its end, or stop it.") from None
    _launch(crowd, url)
    return crowd


def stop(tenant: str) -> int:
    """Have a tenant's crowd place no more orders; return how many crowds that were."""
    return Crowd.objects.filter(tenant=tenant, state=RUNNING).update(stopping=True)


def newest(tenant: str) -> Crowd | None:
    """A tenant's last crowd; one that died says so."""
    crowd = Crowd.objects.filter(tenant=tenant).order_by("-id").first()
    if crowd and crowd.is_open and timezone.now() - crowd.beat_at > timedelta(seconds=LOST_SECONDS):
        crowd.state, crowd.error = FAILED, DIED
    return crowd


def carry_out(crowd: Crowd, url: str) -> None:
    """Place the orders of a crowd, and note how they end, until all have or it shall stop."""
    try:
        with Client(url, PATIENCE_SECONDS, {"X-Tenant": crowd.tenant}) as client:
            demo = Demo(client, crowd.rate, DEADLINE_SECONDS)
            planned, arriving = plan(demo.products(), crowd.orders, crowd.pk.int % 2**32)
            demo.restock(arriving)
            _carry_out(crowd, demo, planned)
    except Exception as error:
        _note(crowd, state=FAILED, error=f"{type(error).__name__}: {error}")
        raise


def _carry_out(crowd: Crowd, demo: Demo, planned: list[Order]) -> None:
    placing = threading.Thread(target=demo.place, args=(planned,), name="placing")
    placing.start()
    try:
        until = time.monotonic() + crowd.orders / crowd.rate + DEADLINE_SECONDS
        while placing.is_alive() or (_open(planned) and time.monotonic() < until):
            placing.join(BEAT_SECONDS) if placing.is_alive() else time.sleep(BEAT_SECONDS)
            _look(crowd.tenant, planned)
            _note(crowd, **_counts(planned))
            if any(order.status == "not placed" and order.refusal for order in planned):
                demo.stopping.set()
                raise Unreachable("the shop does not answer")
            if Crowd.objects.filter(pk=crowd.pk, stopping=True).exists():
                demo.stopping.set()
        _note(crowd, state=DONE, **_counts(planned))
    finally:
        demo.stopping.set()
        placing.join()


def _open(planned: list[Order]) -> list[Order]:
    return [order for order in planned if order.order_id and not order.has_ended]


def _look(tenant: str, planned: list[Order]) -> None:
    """Find out which orders have ended, those that wait longest first."""
    waiting = {order.order_id: order for order in _open(planned)[:MOST_LOOKED]}
    found = customers.orders(tenant).filter(order_id__in=list(waiting), status__in=ENDED)
    for order_id, status in found.values_list("order_id", "status"):
        waiting[order_id].status = status


def _counts(planned: list[Order]) -> dict[str, int]:
    ended = [order for order in planned if order.has_ended]
    return {
        "placed": sum(bool(order.order_id) for order in planned),
        "ended": len(ended),
        "unmeant": sum(not order.is_as_meant for order in ended)
        + sum(order.status == "refused" for order in planned),
    }


def _note(crowd: Crowd, **changes: Any) -> None:
    Crowd.objects.filter(pk=crowd.pk).update(**changes, beat_at=timezone.now())


def _launch(crowd: Crowd, url: str) -> None:
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "crowd", str(crowd.pk)]
    process = subprocess.Popen(
        [*command, "--url", url], stdin=subprocess.DEVNULL, start_new_session=True
    )
    # Somebody has to ask for its end, or the system remembers it for ever.
    threading.Thread(target=process.wait, name="crowd", daemon=True).start()
