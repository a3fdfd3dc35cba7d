"""How a Celery worker takes tasks from its broker, where Celery's own way would not do.

- What cannot be read, Celery would write into the log, and personal data with it, and drop. Here the
  log says what came and why it was refused, and the queue `messaging.malformed` keeps it for a person
  to look at. Nothing is lost by that: what the source sent is sent again until it is confirmed.
- An acknowledgement that a dying broker did not get, Celery would log only. A worker with as many of
  them as it has threads takes no task any more, and so never notices that the broker is back. Here
  it connects again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from celery import Celery, current_app
from celery.worker import consumer

if TYPE_CHECKING:
    from kombu.message import Message

logger = logging.getLogger(__name__)

STEPS = consumer.Consumer.Blueprint.default_steps
KEPT = "messaging.malformed"
MOST = 1000
"""How many are kept; of more there is a line in the log only."""


class Consumer(consumer.Consumer):
    """The consumer of all Celery workers: `settings.CELERY_WORKER_CONSUMER`."""

    # With quorum queues it would declare 28 more, for tasks with an ETA. There are none.
    Blueprint = type(
        "Blueprint",
        (consumer.Consumer.Blueprint,),
        {"default_steps": [step for step in STEPS if "delayed_delivery" not in step]},
    )

    def call_soon_ack(self, p: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        def acknowledge() -> None:
            p(*args, **kwargs)
            message = getattr(p, "__self__", None)
            if message is None or message.acknowledged:
                return
            # What came over an earlier connection says nothing about this one.
            if message.channel is self.task_consumer.channel:  # type: ignore[attr-defined]
                raise ConnectionResetError("the broker did not take an acknowledgement")

        return super().call_soon_ack(acknowledge)  # type: ignore[misc]

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        self._set_aside(message, f"it cannot be decoded: {type(exc).__name__}")

    def on_unknown_message(self, body: Any, message: Message) -> None:
        self._set_aside(message, "it is no task")

    def on_unknown_task(self, body: Any, message: Message, exc: Exception) -> None:
        self._set_aside(message, f"there is no task named {exc}")

    def on_invalid_task(self, body: Any, message: Message, exc: Exception) -> None:
        self._set_aside(message, f"it is no valid task: {type(exc).__name__}")

    def _set_aside(self, message: Message, reason: str) -> None:
        set_aside(message.body or "", reason, self.app)
        message.ack()


def set_aside(body: str | bytes, reason: str, app: Celery = current_app) -> None:
    """Keep what a worker cannot read. A broker that does not take it back does not hold it up."""
    logger.error("set aside %d bytes in %s: %s", len(body), KEPT, reason)
    try:
        with app.connection_for_write() as conn, conn.channel() as channel:
            kind = app.amqp.queues[KEPT].queue_arguments
            kept = cast(Any, channel).queue_declare(
                KEPT, durable=True, auto_delete=False, arguments=kind
            )
            if kept.message_count < MOST:
                conn.Producer(channel).publish(
                    body.encode() if isinstance(body, str) else body,
                    exchange="",
                    routing_key=KEPT,
                    content_type="application/data",
                    content_encoding="binary",
                    headers={"reason": reason},
                )
    except Exception as error:
        logger.warning("could not keep it: %s", error)
