"""pgqueuer: each step is a job, whose handler writes its row and enqueues the next in one transaction."""

from __future__ import annotations

import asyncio
import signal

import psycopg
import psycopg_pool
from pgqueuer import PgQueuer
from pgqueuer.db import PsycopgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from .steps import DETAIL, INSERT, STEPS, TABLE, after, ids

BATCH = 100
CONNECTIONS = 10


def setup(url: str) -> None:
    asyncio.run(_setup(url))


def enqueue(url: str, count: int) -> None:
    asyncio.run(_enqueue(url, count))


def work(url: str) -> None:
    asyncio.run(_work(url))


async def _connect(url: str) -> psycopg.AsyncConnection:
    return await psycopg.AsyncConnection.connect(url, autocommit=True)


async def _setup(url: str) -> None:
    async with await _connect(url) as conn:
        await conn.execute(TABLE)
        await Queries(PsycopgDriver(conn)).install()


async def _enqueue(url: str, count: int) -> None:
    async with await _connect(url) as conn:
        sagas = [saga.encode() for saga in ids(count)]
        await Queries(PsycopgDriver(conn)).enqueue([STEPS[0]] * count, sagas, [0] * count)


async def _work(url: str) -> None:
    pool = psycopg_pool.AsyncConnectionPool(
        url, kwargs={"autocommit": True}, max_size=CONNECTIONS, open=False
    )
    async with pool, await _connect(url) as conn:
        queuer = PgQueuer(PsycopgDriver(conn))

        async def carry_out(job: Job) -> None:
            assert job.payload is not None
            async with pool.connection() as own, own.transaction():
                await own.execute(INSERT, [job.payload.decode(), job.entrypoint, DETAIL])
                if following := after(job.entrypoint):
                    await Queries(PsycopgDriver(own)).enqueue(following, job.payload)

        for step in STEPS:
            queuer.entrypoint(step)(carry_out)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, queuer.shutdown.set)
        await queuer.run(batch_size=BATCH)
