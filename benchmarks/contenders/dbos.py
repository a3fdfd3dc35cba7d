"""DBOS: a saga is a durable workflow of five steps, taken from a queue in the database."""

from __future__ import annotations

import signal
import threading

import psycopg
import psycopg_pool
from dbos import DBOS, DBOSClient, DBOSConfig

from .steps import DETAIL, INSERT, STEPS, TABLE, ids

QUEUE = "sagas"
CONCURRENCY = 25
VERSION = "1"


def setup(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(TABLE)
    _configure(url)
    DBOS.launch()
    DBOS.register_queue(QUEUE, worker_concurrency=CONCURRENCY, polling_interval_sec=0.1)
    DBOS.destroy()


def enqueue(url: str, count: int) -> None:
    client = DBOSClient(system_database_url=_address(url))
    for saga in ids(count):
        client.enqueue(
            {"queue_name": QUEUE, "workflow_name": "fulfil", "app_version": VERSION}, saga
        )
    client.destroy()


def work(url: str) -> None:
    pool = psycopg_pool.ConnectionPool(url, max_size=CONCURRENCY, open=True)

    def declare(name: str):  # type: ignore[no-untyped-def]
        @DBOS.step(name=name)
        def carry_out(saga: str) -> None:
            with pool.connection() as conn:
                conn.execute(INSERT, [saga, name, DETAIL])

        return carry_out

    steps = [declare(name) for name in STEPS]

    @DBOS.workflow(name="fulfil")
    def fulfil(saga: str) -> None:
        for step in steps:
            step(saga)

    _configure(url)
    DBOS.launch()
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    stopped.wait()
    DBOS.destroy()


def _configure(url: str) -> None:
    config: DBOSConfig = {
        "name": "sagas",
        "system_database_url": _address(url),
        "application_version": VERSION,
        "log_level": "WARNING",
    }
    DBOS(config=config)


def _address(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://", 1)
