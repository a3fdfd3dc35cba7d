"""A WSGI application in a few threads below an ASGI server.

The event loop reads a request, a thread answers it, and both cross between the two only once.
Crossing for every part of an answer costs more than Django does for a short one.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any

THREADS = 4
"""What waits for the database does not wait for each other. More would wait for Python's lock."""
PART_BYTES = 256 * 1024
"""So much of an answer is kept together before it is sent."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Threads:
    """The ASGI application that has a WSGI `application` answer in so many `threads`.

    Of a body longer than `most_bytes` no more is read: the application sees from its length that it
    is too long.
    """

    def __init__(self, application: Application, threads: int, most_bytes: int) -> None:
        self.application = application
        self.most_bytes = most_bytes
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="web")

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        body = await self._body(receive)
        if body is None:
            return
        loop = asyncio.get_running_loop()

        def send_now(message: Message) -> None:
            asyncio.run_coroutine_threadsafe(_sent(send, message), loop).result()

        answer = partial(self._answer, environ(scope, body), send_now)
        for message in await loop.run_in_executor(self.pool, copy_context().run, answer):
            await send(message)

    async def _body(self, receive: Receive) -> bytes | None:
        """The body, or its beginning if it is too long; None if the client went away."""
        body = bytearray()
        while len(body) <= self.most_bytes:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        return bytes(body)

    def _answer(
        self, request: dict[str, Any], send_now: Callable[[Message], None]
    ) -> list[Message]:
        """In a thread: have the request answered, and return what is left to send."""
        unsent: list[Message] = []
        made = bytearray()

        def start(status: str, headers: Sequence[tuple[str, str]], _error: Any = None) -> None:
            unsent[:] = [_start(status, headers)]

        result = self.application(request, start)
        try:
            for part in result:
                made += part
                if len(made) > PART_BYTES:
                    for message in (*unsent, _part(made, more=True)):
                        send_now(message)
                    unsent.clear()
                    made.clear()
        finally:
            getattr(result, "close", lambda: None)()
        return [*unsent, _part(made)]


def environ(scope: Message, body: bytes) -> dict[str, Any]:
    """The request as PEP 3333 has it. Names of headers that have an underscore are left out: they
    would pass for those with a hyphen, which a proxy may vouch for."""
    host, port = scope.get("server") or ("localhost", 80)
    client, client_port = scope.get("client") or ("", "")
    request = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": scope.get("root_path", ""),
        "PATH_INFO": scope["path"].encode("utf-8", "surrogateescape").decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "REMOTE_ADDR": client,
        "REMOTE_PORT": str(client_port),
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    given: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        if b"_" not in raw_name:
            name = raw_name.decode("latin-1").upper().replace("-", "_")
            value = raw_value.decode("latin-1")
            given[name] = f"{given[name]},{value}" if name in given else value
    for name, value in given.items():
        request[name if name in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{name}"] = value
    return request


def _start(status: str, headers: Sequence[tuple[str, str]]) -> Message:
    encoded = [(n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in headers]
    return {"type": "http.response.start", "status": int(status[:3]), "headers": encoded}


def _part(made: bytearray, *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": bytes(made), "more_body": more}


async def _sent(send: Send, message: Message) -> None:
    """A server's `send` may give an awaitable that is no coroutine."""
    await send(message)
