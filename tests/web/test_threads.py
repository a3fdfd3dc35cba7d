"""Pages are answered by a few threads below the event loop that carries the live streams."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from ecommerce.threads import PART_BYTES, Application, Message, Threads

MOST = 100
seen: ContextVar[str] = ContextVar("seen", default="nothing")


def scope(path: str = "/", headers: Iterable[tuple[bytes, bytes]] = ()) -> Message:
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": path,
        "query_string": b"a=1",
        "headers": list(headers),
        "server": ("shop.example", 8000),
        "client": ("10.0.0.9", 5000),
    }


def body(*parts: bytes) -> list[Message]:
    """What a server gives for a body that comes in parts."""
    *others, last = parts or (b"",)
    whole: list[Message] = [{"type": "http.request", "body": b, "more_body": True} for b in others]
    return [*whole, {"type": "http.request", "body": last, "more_body": False}]


def exchange(
    application: Application | Threads, asked: Message, given: list[Message] | None = None
) -> list[Message]:
    """What is sent for one request; of what the server has to give, the unread is left."""
    threads = application if isinstance(application, Threads) else Threads(application, 1, MOST)
    given = body() if given is None else given
    sent: list[Message] = []

    async def receive() -> Message:
        return given.pop(0) if given else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(_ask(threads, asked, receive, send))
    return sent


async def _ask(threads: Threads, *request: Any) -> None:
    await threads(*request)


def echo(request: dict[str, Any], start_response: Any) -> list[bytes]:
    """Says what it was asked, one key a line."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    said = {**request, "body": request["wsgi.input"].read()}
    return [f"{name}={value}\n".encode() for name, value in said.items()]


def said(sent: list[Message]) -> dict[str, str]:
    answer = b"".join(message["body"] for message in sent[1:]).decode()
    return dict(line.split("=", 1) for line in answer.splitlines())


def test_a_short_answer_is_sent_at_once() -> None:
    start, body = exchange(echo, scope())

    assert (start["status"], start["headers"]) == (200, [(b"content-type", b"text/plain")])
    assert not body["more_body"]


def test_a_request_arrives_as_it_was_sent() -> None:
    headers = [(b"content-type", b"application/json"), (b"accept", b"a"), (b"accept", b"b")]

    request = said(exchange(echo, scope("/caf\u00e9", headers), body(b"{", b"}")))

    assert request["PATH_INFO"].encode("latin-1").decode() == "/caf\u00e9"
    assert (request["CONTENT_TYPE"], request["CONTENT_LENGTH"]) == ("application/json", "2")
    assert (request["HTTP_ACCEPT"], request["QUERY_STRING"]) == ("a,b", "a=1")
    assert (request["SERVER_NAME"], request["SERVER_PORT"]) == ("shop.example", "8000")
    assert (request["REMOTE_ADDR"], request["body"]) == ("10.0.0.9", "b'{}'")


def test_a_header_cannot_pass_for_another_by_an_underscore() -> None:
    headers = [(b"x_forwarded_for", b"10.0.0.1"), (b"content_length", b"7")]

    request = said(exchange(echo, scope(headers=headers)))

    assert "HTTP_X_FORWARDED_FOR" not in request
    assert request["CONTENT_LENGTH"] == "0"


def test_no_more_of_a_body_is_read_than_may_be() -> None:
    given = body(*[b"x" * 50] * 100)

    request = said(exchange(echo, scope(headers=[(b"content-length", b"5000")]), given))

    assert len(given) == 97
    assert request["CONTENT_LENGTH"] == "5000"


def test_a_body_without_a_length_that_is_too_long_shows_that_it_is() -> None:
    request = said(exchange(echo, scope(), body(*[b"x" * 50] * 100)))

    assert int(request["CONTENT_LENGTH"]) > MOST


def test_nothing_is_carried_out_for_a_client_that_went_away() -> None:
    asked: list[dict[str, Any]] = []

    def application(request: dict[str, Any], start_response: Any) -> list[bytes]:
        asked.append(request)
        return []

    begun = body(b"half", b"")[:1]

    assert exchange(application, scope(), begun) == []
    assert asked == []


class Long:
    """An answer of many parts, which knows how many were asked for and whether it was closed."""

    def __init__(self) -> None:
        self.made = 0
        self.closed_by: str | None = None

    def __call__(self, request: dict[str, Any], start_response: Any) -> Long:
        start_response("200 OK", [])
        return self

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(10):
            self.made += 1
            yield b"x" * (PART_BYTES // 2)

    def close(self) -> None:
        self.closed_by = threading.current_thread().name


def test_a_long_answer_is_sent_while_it_is_made() -> None:
    long = Long()

    _, *parts = exchange(long, scope())

    sizes = [PART_BYTES * 3 // 2] * 3 + [PART_BYTES // 2]
    assert [len(message["body"]) for message in parts] == sizes
    assert [message["more_body"] for message in parts] == [True, True, True, False]
    assert long.closed_by is not None
    assert long.closed_by.startswith("web")


def test_an_answer_nobody_waits_for_any_more_is_not_made_to_its_end() -> None:
    long = Long()

    async def receive() -> Message:
        return body()[0]

    async def send(message: Message) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        asyncio.run(_ask(Threads(long, 1, MOST), scope(), receive, send))

    assert long.made < 10
    assert long.closed_by is not None


def test_a_request_knows_nothing_of_the_one_before_in_its_thread() -> None:
    found: list[str] = []

    def application(request: dict[str, Any], start_response: Any) -> list[bytes]:
        found.append(seen.get())
        seen.set("the request before")
        start_response("204 No Content", [])
        return []

    threads = Threads(application, 1, MOST)
    for _ in range(2):
        exchange(threads, scope())

    assert found == ["nothing", "nothing"]
