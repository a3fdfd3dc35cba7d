"""The shop's API for programs that must not give up: a lost connection is no answer.

A request that may have been carried out is sent again with the same Idempotency-Key, so the shop
carries it out once and gives the same answer.
"""

from __future__ import annotations

import http.client
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec

TRY_AGAIN = {500, 502, 503, 504}
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0
REQUEST_SECONDS = 10.0


class Unreachable(Exception):
    """The shop did not answer in time, however often it was asked."""


class Answer(msgspec.Struct, frozen=True):
    """A response that is final; `repeated` when it had been given before."""

    status: int
    body: Any
    repeated: bool = False

    @property
    def code(self) -> str:
        """The machine-readable reason of a refusal."""
        return str(self.body.get("code", "")) if isinstance(self.body, dict) else ""


@dataclass
class Client:
    """The API at an address, to be closed. Each thread that uses it has a connection of its own.

    `patience` is how many seconds one call may take, over all its tries.
    """

    url: str
    patience: float = 120.0
    headers: dict[str, str] = field(default_factory=dict)
    _threads: threading.local = field(default_factory=threading.local)
    _connections: list[http.client.HTTPConnection] = field(default_factory=list)
    _retried: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for conn in self._connections:
            conn.close()

    @property
    def retries(self) -> int:
        """How often a request was sent again."""
        return len(self._retried)

    def call(self, method: str, path: str, body: Any = None, *, key: str | None = None) -> Answer:
        """Ask until there is an answer. Raises Unreachable when there is none in time.

        A write needs a key, or it could be carried out twice.
        """
        until = time.monotonic() + self.patience
        pause = FIRST_PAUSE
        while True:
            why = "no answer"
            try:
                answer = self._ask(method, path, body, key)
                if not _in_vain(answer):
                    return answer
                why = f"status {answer.status} {answer.code}"
            except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
                self._connection().close()
                why = f"{type(error).__name__}: {error}"
            if time.monotonic() + pause > until:
                raise Unreachable(f"{method} {self.url}{path}: {why}, for {self.patience:.0f} s")
            self._retried.append(path)
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _ask(self, method: str, path: str, body: Any, key: str | None) -> Answer:
        headers = dict(self.headers)
        content = None
        if body is not None:
            content, headers["Content-Type"] = msgspec.json.encode(body), "application/json"
        if key is not None:
            headers["Idempotency-Key"] = key
        conn = self._connection()
        conn.request(method, path, content, headers)
        response = conn.getresponse()
        text = response.read()
        repeated = response.headers.get("Idempotency-Replayed") == "true"
        return Answer(response.status, msgspec.json.decode(text) if text else None, repeated)

    def _connection(self) -> http.client.HTTPConnection:
        conn: http.client.HTTPConnection | None = getattr(self._threads, "connection", None)
        if conn is None:
            place = urlsplit(self.url)
            secure = place.scheme == "https"
            kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
            conn = kind(place.hostname or "", place.port, timeout=REQUEST_SECONDS)
            self._threads.connection = conn
            self._connections.append(conn)
        return conn


def _in_vain(answer: Answer) -> bool:
    return answer.status in TRY_AGAIN or answer.code == "idempotency-key-in-use"
