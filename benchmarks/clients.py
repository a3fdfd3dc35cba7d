"""A closed loop of HTTP clients: each asks again as soon as it is answered.

One process with an event loop, so that the clients take little of the machine from the server.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from ecommerce.embedded.management.commands.serve import HOST

from .options import Failed


@dataclass
class Answers:
    """What a run got: the milliseconds of each answer, and how long all took together."""

    times: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        return len(self.times) / self.seconds


def request(method: str, path: str, body: bytes = b"") -> bytes:
    """A request as it goes over the wire."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: keep-alive"]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def ask(port: int, requests: Iterator[bytes], status: int, clients: int, seconds: float) -> Answers:
    """Ask for so long with so many clients at once. Raises Failed at any other status.

    Every request that was sent is answered before the return.
    """
    return asyncio.run(_ask(port, requests, status, clients, seconds))


async def _ask(
    port: int, requests: Iterator[bytes], status: int, clients: int, seconds: float
) -> Answers:
    answers = Answers()
    started = time.perf_counter()
    loop = asyncio.get_running_loop()
    connected = [
        await loop.create_connection(
            lambda: _Client(requests, str(status).encode(), answers, started + seconds), HOST, port
        )
        for _ in range(clients)
    ]
    try:
        await asyncio.gather(*(client.done for _, client in connected))
    finally:
        for transport, _ in connected:
            transport.close()
    answers.seconds = time.perf_counter() - started
    return answers


class _Client(asyncio.Protocol):
    """One connection. A parser of the library's would cost more than the server it measures."""

    def __init__(
        self, requests: Iterator[bytes], status: bytes, answers: Answers, until: float
    ) -> None:
        self.requests, self.status, self.answers, self.until = requests, status, answers, until
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.received = b""
        self.sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, separator, content = self.received.partition(b"\r\n\r\n")
        if not separator:
            return
        _, named, length = head.lower().partition(b"\r\ncontent-length:")
        if not named:
            self._fail(f"an answer without a length: {head[:200]!r}")
        elif len(content) >= int(length.partition(b"\r\n")[0]):
            self._answered(head, content)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self._fail(f"the server closed the connection: {exc}")

    def _answered(self, head: bytes, content: bytes) -> None:
        now = time.perf_counter()
        if head.split(b" ", 2)[1] != self.status:
            self._fail(f"{head[:100]!r} {content[:300]!r}")
            return
        self.answers.times.append((now - self.sent_at) * 1000)
        if now < self.until:
            self._send()
        else:
            self.done.set_result(None)

    def _send(self) -> None:
        self.received = b""
        self.sent_at = time.perf_counter()
        self.transport.write(next(self.requests))

    def _fail(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(Failed(why))
