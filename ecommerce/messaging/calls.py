"""A call to the outside: made in a thread, with no transaction open, and never a failure of its own.

What comes of it is noted on the claim, for `effects` to record.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

from django.db import connections

from . import parking
from .claims import Claim
from .delivery import Delivery
from .errors import Retry, WiringError, describe_with_place
from .registry import Call, Handler

MOST_LOST_CLAIMS = 5
"""How many workers may vanish during a call before it is given up. One that kills its worker takes
all along that were claimed with it, until it is claimed alone."""


def grouped(claims: Sequence[Claim], most: int) -> Iterator[list[Claim]]:
    """What is called at a time: one intent, or at most so many that a handler takes together.

    What failed before, or whose worker was lost, goes alone: it must not take others with it.
    """
    together: dict[str, list[Claim]] = {}
    for claim in claims:
        delivery = claim.delivery
        if delivery.handler.together and delivery.attempt == 1 and not claim.lost:
            together.setdefault(delivery.handler.name, []).append(claim)
        else:
            yield [claim]
    for several in together.values():
        for start in range(0, len(several), most):
            yield several[start : start + most]


def carry_out(claims: list[Claim]) -> list[Claim]:
    """Carry out intents of one handler, and note what came of each."""
    delivery = claims[0].delivery
    if delivery.error is not None:
        return claims
    started = time.perf_counter_ns()
    try:
        if claims[0].lost >= MOST_LOST_CLAIMS:
            delivery.attempt, delivery.reason = parking.GIVE_UP, "lost-calls"
            raise RuntimeError(f"{claims[0].lost} workers were lost during this call")
        outcomes = _outcomes(delivery.handler, [claim.delivery for claim in claims])
    except Exception as error:
        outcomes = [error] * len(claims)
    finally:
        connections.close_all()
    ran_us = (time.perf_counter_ns() - started) // 1000 // len(claims)
    for claim, outcome in zip(claims, outcomes, strict=True):
        claim.delivery.ran_us = ran_us
        if isinstance(outcome, Retry):
            claim.delivery.error = f"Retry: {outcome}"
        elif isinstance(outcome, Exception):
            claim.delivery.error = describe_with_place(outcome)
        else:
            claim.results = list(outcome) if isinstance(outcome, (list, tuple)) else outcome
    return claims


def _outcomes(handler: Handler, deliveries: Sequence[Delivery]) -> list[Any]:
    """What the handler returns for each, or the exception in its place."""
    calls = [
        Call(each.message, each.stored.context(each.stored.recorded_at)) for each in deliveries
    ]
    if handler.together:
        outcomes = list(cast(Iterable[Any], handler.function(calls)))
        if len(outcomes) != len(calls):
            raise WiringError(f"{handler.name} answered {len(outcomes)} of {len(calls)} calls")
        return outcomes
    (call,) = calls
    arguments = {handler.context_parameter: call.context} if handler.context_parameter else {}
    return [handler.function(call.message, **arguments)]
