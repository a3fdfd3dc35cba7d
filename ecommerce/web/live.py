"""Live streams: `/events/<topic>/<id>` sends what a row has become, whenever it changes.

A page that may show a row puts the address that `address` makes into `data-live`. It carries a
ticket, so that whoever opens the stream needs no session and no query. A stream is a coroutine: it
holds neither a thread nor a connection. One thread for each database that has topics listens for
the kernel's NOTIFY and reads all rows that somebody watches with one query for each topic.

    orders = live.topic("orders", service="customers", statement="SELECT … WHERE … IN (SELECT …)")

What is measured rather than stored, over all databases perhaps, is `sampled` by a function, in a
thread of its own, at its own pace.

Losing a NOTIFY costs a second at most. A slow reader misses states in between, never the last one.
"""

from __future__ import annotations

import asyncio
import os
import select
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qs, quote, urlencode

import psycopg
import structlog
from django.core import signing

from ecommerce.messaging.database import Connection, connect
from ecommerce.messaging.services import service
from ecommerce.messaging.wakeup import CHANNEL
from ecommerce.threads import Message, Receive, Send

Key = tuple[str, str]
"""A tenant, and the id of one of its rows."""
Sample = Callable[[Sequence[Key]], Iterable[tuple[str, str, str]]]
"""From what is watched to tenant, id and state as JSON text of each, as far as it exists."""

PREFIX = "/events/"
SALT = "live"
TICKET_SECONDS = 6 * 3600
MOST_STREAMS = 2000
"""In one process."""
HEARTBEAT_SECONDS = 15.0
LOOK_SECONDS = 1.0
PAUSE_SECONDS = 0.03
"""How long to gather notifications: in a busy shop there are hundreds a second."""
RETRY_SECONDS = 1.0
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # a proxy must not keep it back
    (b"x-content-type-options", b"nosniff"),
]

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Topic:
    """What can be watched. The statement gets arrays of tenants and ids, and finds for each row
    its tenant, id, state as JSON text, and whether that is its last one."""

    name: str
    service: str
    statement: str = ""
    sample: Sample | None = None


@dataclass(eq=False)
class Watcher:
    """One open stream, as the thread knows it."""

    topic: Topic
    key: Key
    loop: asyncio.AbstractEventLoop
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    state: tuple[str, bool] | None = None
    told: tuple[str, bool] | None = None

    def tell(self, state: tuple[str, bool]) -> None:
        """From the thread: this is the state now."""
        if state != self.told:
            self.told = state
            self.loop.call_soon_threadsafe(self._take, state)

    def _take(self, state: tuple[str, bool]) -> None:
        self.state = state
        self.changed.set()


class Feed(threading.Thread):
    """Reads what is watched in one database, for as long as anybody watches."""

    def __init__(self, alias: str) -> None:
        super().__init__(name=f"live-{alias}", daemon=True)
        self.alias = alias
        self.watchers: set[Watcher] = set()
        self.looks = 0
        self.poke = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def run(self) -> None:
        while not _is_over(self):
            try:
                with connect(self.alias, "live") as conn:
                    conn.execute(f"LISTEN {CHANNEL}")
                    while self.watchers:
                        self._look(conn)
                        self._wait(conn)
            except psycopg.Error as error:
                log.warning("cannot read live rows", alias=self.alias, error=type(error).__name__)
                time.sleep(RETRY_SECONDS)
        os.close(self.poke)

    def _look(self, conn: Connection) -> None:
        """Read everything that is watched, and tell those for whom it changed."""
        self.looks += 1
        watched: dict[Topic, dict[Key, list[Watcher]]] = {}
        for watcher in list(self.watchers):
            watched.setdefault(watcher.topic, {}).setdefault(watcher.key, []).append(watcher)
        for topic, by_key in watched.items():
            tenants, ids = zip(*by_key, strict=True)
            for tenant, key, text, last in conn.execute(
                topic.statement, (list(tenants), list(ids))
            ):
                for watcher in by_key[tenant, key]:
                    watcher.tell((text, last))

    def _wait(self, conn: Connection) -> None:
        """Until something was committed, somebody else watches, or a second has passed."""
        select.select([conn.fileno(), self.poke], [], [], LOOK_SECONDS)
        time.sleep(PAUSE_SECONDS)
        for _ in conn.notifies(timeout=0):
            pass
        _drain(self.poke)


class Sampler(Feed):
    """Asks a topic's function what is watched, for as long as anybody watches: once for all."""

    def __init__(self, topic: Topic, sample: Sample) -> None:
        super().__init__(topic.name)
        self.sample = sample

    def run(self) -> None:
        while not _is_over(self):
            by_key: dict[Key, list[Watcher]] = {}
            for watcher in list(self.watchers):
                by_key.setdefault(watcher.key, []).append(watcher)
            try:
                self._ask(by_key)
            except Exception:  # the next look may go well, and viewers keep their streams
                log.exception("cannot sample", topic=self.alias)
            time.sleep(LOOK_SECONDS)
        os.close(self.poke)

    def _ask(self, by_key: dict[Key, list[Watcher]]) -> None:
        self.looks += 1
        for tenant, key, text in self.sample(list(by_key)):
            for watcher in by_key[tenant, key]:
                watcher.tell((text, False))


_topics: dict[str, Topic] = {}
_feeds: dict[str, Feed] = {}
_lock = threading.Lock()


def topic(name: str, *, service: str, statement: str) -> Topic:
    """Declare what can be watched at `/events/<name>/<id>`."""
    _topics[name] = Topic(name, service, statement)
    return _topics[name]


def sampled(name: str, *, sample: Sample) -> Topic:
    """Declare what can be watched at `/events/<name>/<id>` and is found by a function, which is
    asked every LOOK_SECONDS while anybody watches."""
    _topics[name] = Topic(name, service="", sample=sample)
    return _topics[name]


def address(name: str, tenant: str, key: str) -> str:
    """The address of a row's stream, for a visitor who may see the row."""
    ticket = signing.dumps([name, tenant, key], salt=SALT)
    return f"{PREFIX}{name}/{quote(key, safe='')}?{urlencode({'ticket': ticket})}"


async def stream(scope: Message, receive: Receive, send: Send) -> None:
    """The ASGI application below PREFIX."""
    asked = _read(scope)
    if asked is None:
        await _refuse(send, 404)
        return
    watcher = Watcher(*asked, asyncio.get_running_loop())
    if not _watch(watcher):
        await _refuse(send, 503)
        return
    try:
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await _write(b"retry: 2000\n\n", send)
        await _follow(watcher, receive, send)
    finally:
        _leave(watcher)


async def _follow(watcher: Watcher, receive: Receive, send: Send) -> None:
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        while not gone.done():
            change = asyncio.ensure_future(watcher.changed.wait())
            await asyncio.wait(
                {gone, change}, timeout=HEARTBEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            change.cancel()
            if not watcher.changed.is_set() or watcher.state is None:
                await _write(b": still here\n\n", send)
                continue
            watcher.changed.clear()
            text, last = watcher.state
            await _write(f"data: {text}\n\n".encode(), send)
            if last:
                await _write(b"event: end\ndata: {}\n\n", send)
                break
    finally:
        gone.cancel()
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _write(body: bytes, send: Send) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _refuse(send: Send, status: int) -> None:
    headers = [(b"content-type", b"text/plain"), (b"retry-after", b"30")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _read(scope: Message) -> tuple[Topic, Key] | None:
    """What is to be watched; None without a ticket for just that."""
    name, _, key = scope["path"].removeprefix(PREFIX).partition("/")
    ticket = parse_qs(scope["query_string"].decode("latin-1")).get("ticket", [""])[0]
    try:
        named, tenant, row = signing.loads(ticket, salt=SALT, max_age=TICKET_SECONDS)
    except (signing.BadSignature, ValueError):
        return None
    if (named, row) != (name, key) or name not in _topics:
        return None
    return _topics[name], (tenant, row)


def _watch(watcher: Watcher) -> bool:
    topic = watcher.topic
    place = topic.name if topic.sample else service(topic.service).database
    with _lock:
        if sum(len(feed.watchers) for feed in _feeds.values()) >= MOST_STREAMS:
            return False
        feed = _feeds.get(place)
        if feed is None:
            feed = Sampler(topic, topic.sample) if topic.sample else Feed(place)
            _feeds[place] = feed
        feed.watchers.add(watcher)
        if feed.is_alive():
            os.eventfd_write(feed.poke, 1)
        else:
            feed.start()
    return True


def _leave(watcher: Watcher) -> None:
    with _lock:
        for feed in _feeds.values():
            if watcher in feed.watchers:
                feed.watchers.remove(watcher)
                os.eventfd_write(feed.poke, 1)


def _is_over(feed: Feed) -> bool:
    """Whether nobody watches; then the feed is forgotten, and the next watcher begins another."""
    with _lock:
        if feed.watchers:
            return False
        _feeds.pop(feed.alias, None)
        return True


def _drain(poke: int) -> None:
    try:
        os.eventfd_read(poke)
    except BlockingIOError:
        return
