"""procrastinate: each step is a job, whose task writes its row and defers the next in one transaction."""

from __future__ import annotations

import asyncio

import psycopg
import psycopg_pool
from procrastinate import App, PsycopgConnector

from .steps import DETAIL, INSERT, STEPS, TABLE, after, ids

CONCURRENCY = 10


def setup(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(TABLE)
    asyncio.run(_setup(url))


def enqueue(url: str, count: int) -> None:
    asyncio.run(_enqueue(url, count))


def work(url: str) -> None:
    asyncio.run(_work(url))


async def _setup(url: str) -> None:
    async with App(connector=PsycopgConnector(conninfo=url)).open_async() as app:
        await app.schema_manager.apply_schema_async()


async def _enqueue(url: str, count: int) -> None:
    app = App(connector=PsycopgConnector(conninfo=url))
    async with app.open_async():
        first = app.configure_task(STEPS[0], allow_unknown=True)
        await first.batch_defer_async(*({"saga": saga} for saga in ids(count)))


async def _work(url: str) -> None:
    app = App(connector=PsycopgConnector(conninfo=url))
    pool = psycopg_pool.AsyncConnectionPool(url, max_size=CONCURRENCY, open=False)

    def declare(step: str) -> None:
        @app.task(name=step)
        async def carry_out(saga: str) -> None:
            async with pool.connection() as conn:
                await conn.execute(INSERT, [saga, step, DETAIL])
                if following := after(step):
                    await app.configure_task(following, connection=conn).defer_async(saga=saga)

    for step in STEPS:
        declare(step)
    async with pool, app.open_async():
        await app.run_worker_async(concurrency=CONCURRENCY)
