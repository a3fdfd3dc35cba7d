"""Every transport does the same: messages arrive once and in order, whatever happens on the way.

The processes are real, and so are the brokers. RabbitMQ's part runs in `make test-all`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from django.conf import settings

from ecommerce.messaging.database import connect
from tests.messaging.steps import fetch, write
from tests.transports.brokers import Broker, Waiting, free_ports, put, queued, take, until
from tests.transports.running import Running, wait_until_delivered
from tests.transports.shop import (
    arrived,
    cancelled,
    confirmed,
    create,
    reached,
    write_unreadable,
    written,
)

RABBITMQ = pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)
over_every_transport = pytest.mark.parametrize(
    "broker", ["in-process", "valkey", RABBITMQ], indirect=True
)
QUEUE = "messaging.analytics"
over_every_broker = pytest.mark.parametrize("broker", ["valkey", RABBITMQ], indirect=True)

pytestmark = [
    pytest.mark.django_db(transaction=True, databases="__all__"),
    pytest.mark.timeout(180),
]


def create_many(number: int, writers: int = 4) -> None:
    """Append products from several threads at once, each in a transaction of its own."""
    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(create, (f"p{n:04}" for n in range(number))))


def arrives_in_order() -> None:
    until(lambda: len(arrived()) == len(written()))
    assert arrived() == written()
    wait_until_delivered()


def sent(broker: Broker) -> Waiting:
    """The batch of products that waits for analytics; it is taken out, with all others."""

    def found() -> Waiting | None:
        batches = (each for each in take(broker, QUEUE) if b"product/" in each.body)
        return next(batches, None)

    return until(found)  # type: ignore[return-value]


def lost_connection(log: str) -> bool:
    """Whether a Celery worker has noticed it, or has lost what would let it notice."""
    return "Connection to broker lost" in log or log.count("Couldn't ack") >= 2


def waiting_for_inbox() -> int:
    """How many transactions wait to write analytics' inbox."""
    query = """
        SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database
        WHERE datname = current_database() AND NOT granted AND relation = '{inbox}'::regclass"""
    ((number,),) = fetch("analytics", query)
    return int(number)


# Nothing happens


@over_every_transport
def test_everything_arrives_once_and_in_order(running: Running) -> None:
    running.everything()
    create_many(300)
    arrives_in_order()


@over_every_transport
def test_what_was_written_before_anybody_worked_arrives_too(running: Running) -> None:
    create_many(300)
    running.everything()
    arrives_in_order()


@over_every_transport
def test_two_of_each_process_do_the_work_of_one(running: Running) -> None:
    for _ in range(2):
        running.everything()
    create_many(300)
    arrives_in_order()


@over_every_transport
def test_a_source_that_somebody_holds_up_does_not_hold_up_another(running: Running) -> None:
    # given that the way from inventory is blocked, where both ways have been used
    running.everything()
    create("before")
    write("orders", cancelled("o1"))
    until(lambda: (arrived(), arrived("orders")) == (["before"], ["o1"]))
    with connect("elsewhere") as conn, conn.transaction():
        conn.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        conn.execute("SELECT FROM analytics_relay WHERE source = 'inventory' FOR UPDATE")

        # when both sources write
        create("after")
        write("orders", *(cancelled(f"o{n}") for n in range(2, 30)))

        # then the other one's messages arrive
        until(lambda: len(arrived("orders")) == 29)
        assert arrived() == ["before"]

    arrives_in_order()


@over_every_transport
def test_of_a_hundred_messages_the_one_that_nobody_can_read_is_a_dead_letter(
    running: Running,
) -> None:
    # given that one message is of a version that the code does not have
    create(*(f"p{n:03}" for n in range(50)))
    write_unreadable("p000")
    create(*(f"p{n:03}" for n in range(50, 99)))

    # when they are carried
    running.everything()
    arrives_in_order()

    # then it alone is set aside, for each of its handlers
    dead = fetch("analytics", "SELECT DISTINCT contract, reason FROM {dead}")
    assert dead == [(99, "unreadable")]
    ((done,),) = fetch(
        "analytics",
        """SELECT count(DISTINCT d.message_id) FROM {delivery} d JOIN {inbox} i USING (message_id)
           WHERE d.outcome = 'done' AND i.name = 'inventory.ProductCreated'""",
    )
    assert done == 99


@over_every_broker
def test_no_machine_needs_to_reach_the_database_of_another(running: Running) -> None:
    # given two machines, and each has an address for the other's database that leads nowhere
    (closed,) = free_ports(1)
    nowhere = f"postgresql://nobody@127.0.0.1:{closed}/nothing"
    others = [label for label in settings.SERVICES if label != "analytics"]
    here = {"WORKER_SERVICES": ",".join(others), "ANALYTICS_DATABASE_URL": nowhere}
    there = {"WORKER_SERVICES": "analytics", "DATABASE_URL": nowhere}

    # when each has its workers
    running.worker(**here)
    running.receiver(**here)
    running.worker(**there)
    running.receiver(**there)
    create_many(100)

    # then messages cross, and the sender knows that they did
    arrives_in_order()
    until(lambda: confirmed() >= reached() > 0)


# Processes die


@over_every_transport
def test_processes_that_are_killed_at_work_lose_and_double_nothing(running: Running) -> None:
    running.everything()
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(create_many, 600, writers=2)
        for _ in range(3):
            more = len(arrived()) + 1
            until(lambda: len(arrived()) >= more or writing.done())  # noqa: B023
            running.kill_all()
            running.everything()
        writing.result()
    arrives_in_order()


@over_every_broker
def test_a_consumer_that_hangs_is_done_without(running: Running) -> None:
    running.worker()
    hanging = running.receiver()
    create("first")
    until(arrived)

    with running.asleep(hanging):
        create_many(50)
        running.receiver()
        arrives_in_order()


# The broker loses, doubles, delays, reorders


@over_every_broker
def test_what_the_broker_forgets_is_sent_again(running: Running, broker: Broker) -> None:
    running.worker()
    create_many(100)
    until(lambda: queued(broker, QUEUE))

    broker.forget()
    running.receiver()

    arrives_in_order()


@over_every_broker
def test_doubled_reordered_and_late_batches_change_nothing(
    running: Running, broker: Broker
) -> None:
    # given two batches that overlap, and a third
    running.worker()
    create("a")
    first = sent(broker)
    create("b")
    second = sent(broker)
    assert first.batch()["up_to"] < second.batch()["up_to"]

    # when they come in the wrong order and more than once
    put(broker, QUEUE, second, first, second, first)
    running.receiver()
    create("c")
    until(lambda: len(arrived()) == 3)
    put(broker, QUEUE, first, second)
    create("d")

    # then the inbox has each message once, in its place
    until(lambda: len(arrived()) == 4 and queued(broker, QUEUE) == 0)
    assert arrived() == ["a", "b", "c", "d"]
    arrives_in_order()


@over_every_broker
def test_a_batch_that_is_late_is_dropped_when_it_comes(running: Running, broker: Broker) -> None:
    running.worker()
    create("a")
    late = sent(broker)
    running.receiver()
    create("b")
    until(lambda: arrived() == ["a", "b"])

    put(broker, QUEUE, late)

    until(lambda: queued(broker, QUEUE) == 0)
    create("c")
    arrives_in_order()


@over_every_broker
def test_a_broker_that_is_killed_under_load_is_waited_for(running: Running, broker: Broker) -> None:
    running.everything()
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(create_many, 1000, writers=2)
        until(arrived)
        broker.kill()
        writing.result()
        assert len(arrived()) < 1000

        broker.start()
    arrives_in_order()
    assert running.logs().count("the broker is away") <= 2 * len(running.programs)


@over_every_broker
def test_a_worker_connects_again_when_all_its_acknowledgements_were_lost(
    running: Running, broker: Broker
) -> None:
    # given a Celery worker whose two threads are both in the middle of a batch
    running.worker()
    running.receiver()
    create("first")
    write("orders", cancelled("o1"))
    until(lambda: (arrived(), arrived("orders")) == (["first"], ["o1"]))
    with connect("elsewhere") as gate, gate.transaction():
        gate.execute("LOCK TABLE analytics_inbox IN SHARE ROW EXCLUSIVE MODE")
        create("second")
        write("orders", cancelled("o2"))
        until(lambda: waiting_for_inbox() >= 2)

        # when the broker dies before they acknowledge it
        broker.kill()
    until(lambda: len(arrived() + arrived("orders")) == 4)
    until(lambda: lost_connection(running.logs()))
    broker.start()

    # then the worker goes on when it is back
    create("third")
    arrives_in_order()


# What is no message of ours


@over_every_broker
def test_what_cannot_be_read_is_set_aside_and_holds_up_nobody(
    running: Running, broker: Broker
) -> None:
    # given a batch whose bytes were damaged, a task that nobody knows, and what is no task
    running.worker()
    create("secret")
    good = sent(broker)
    damaged = replace(good, body=good.body.replace(b"inventory", b"inv", 1))
    cut = replace(good, body=good.body[: len(good.body) // 2])
    unknown = replace(good, headers=good.headers | {"task": "messaging.nothing"})
    alien = Waiting(b'{"secret": 1}', {}, {})
    put(broker, QUEUE, damaged, cut, unknown, alien)

    # when a worker finds them
    running.receiver()
    create("after")
    arrives_in_order()

    # then they are kept where a person can look at them, and no log quotes them
    until(lambda: queued(broker, "messaging.malformed") >= 4)
    reasons = sorted(kept.headers["reason"] for kept in take(broker, "messaging.malformed"))
    assert len(reasons) == 4, reasons
    assert "set aside" in running.logs()
    assert "secret" not in running.logs().lower()
