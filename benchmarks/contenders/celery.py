"""Celery with Valkey: a saga is a chain of five tasks. The queue is not durable."""

from __future__ import annotations

import os

import psycopg
import psycopg_pool
from celery import Celery, chain
from celery.signals import worker_process_init

from .steps import DETAIL, INSERT, STEPS, TABLE, ids

app = Celery("sagas", broker=os.environ["BROKER_URL"])
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    worker_prefetch_multiplier=16,
    broker_connection_retry_on_startup=True,
)
_pools: dict[str, psycopg_pool.ConnectionPool] = {}


@worker_process_init.connect
def _open(**_: object) -> None:
    url = os.environ["DATABASE_URL"]
    _pools["own"] = psycopg_pool.ConnectionPool(url, min_size=1, max_size=1, open=True)


@app.task
def carry_out(saga: str, step: str) -> None:
    """Write the step's row; the worker publishes what follows in the chain."""
    with _pools["own"].connection() as conn:
        conn.execute(INSERT, [saga, step, DETAIL])


def setup(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(TABLE)
    app.control.purge()


def enqueue(_: str, count: int) -> None:
    for saga in ids(count):
        chain(*(carry_out.si(saga, step) for step in STEPS)).apply_async()


def work(_: str) -> None:
    options = ["--pool", "prefork", "--concurrency", "2", "--loglevel", "ERROR"]
    app.worker_main(["worker", *options, "--without-gossip", "--without-mingle"])
