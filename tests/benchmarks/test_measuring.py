"""What the benchmarks rely on: figures that are told as they are, and checks that bite."""

from __future__ import annotations

import os
import types
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import repeat
from pathlib import Path
from threading import Thread
from typing import Any

import psycopg
import pytest

from benchmarks import peers, report
from benchmarks.clients import ask, request
from benchmarks.contenders.steps import STEPS
from benchmarks.options import Failed
from benchmarks.report import Table

PART = types.ModuleType("part", "What is measured.\n\nAnd how.")


@pytest.fixture
def steps(db: None) -> Iterator[psycopg.Connection[Any]]:
    """A peer's table after a run of two sagas that went well."""
    with psycopg.connect(os.environ["DATABASE_URL"]) as conn:
        conn.execute("CREATE TEMPORARY TABLE step (saga text, step text)")
        for saga in ("one", "two"):
            for step in STEPS:
                conn.execute("INSERT INTO step VALUES (%s, %s)", [saga, step])
        yield conn
        conn.rollback()


@pytest.fixture
def site() -> Iterator[int]:
    """A web server that finds one page."""

    class Pages(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/" else 404)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_a_figure_is_the_median_with_its_spread() -> None:
    assert report.spread([3, 1, 2]) == "2 (1 to 3)"
    assert report.spread([1234.5], 1) == "1,234.5"
    assert report.percentile([float(n) for n in range(101)], 99) == 99.0


def test_sections_that_were_not_measured_stay(tmp_path: Path) -> None:
    # given a document with two parts
    document = tmp_path / "performance.md"
    first = report.section(
        PART, [Table("Rates", ("", "a second"), [("platform", "1")])], quick=True
    )
    report.write(document, {"saga": first, "web": first.replace("| 1 |", "| 2 |"), "idle": ""})

    # when one is measured again
    report.write(document, {"saga": first.replace("| 1 |", "| 3 |"), "web": "", "idle": ""})

    # then the other is as it was, and what was never measured is not there
    written = document.read_text()
    assert "| platform | 3 |" in written
    assert "| platform | 2 |" in written
    assert "| platform | 1 |" not in written
    assert "<!-- idle -->" not in written
    assert report.SMOKE_TEST in written
    assert "## What did not help" in written


def test_sagas_that_have_each_step_once_are_accepted(steps: psycopg.Connection[Any]) -> None:
    peers.verify(steps, 2)


@pytest.mark.parametrize(
    "broken",
    [
        "DELETE FROM step WHERE saga = 'two' AND step = 'payment'",
        "INSERT INTO step VALUES ('one', 'stock')",
        "UPDATE step SET saga = 'one' WHERE step = 'shipment'",
    ],
)
def test_a_lost_or_doubled_step_is_noticed(steps: psycopg.Connection[Any], broken: str) -> None:
    steps.execute(broken)

    with pytest.raises(Failed, match="rows and sagas"):
        peers.verify(steps, 2)


def test_clients_ask_until_the_time_is_over(site: int) -> None:
    answers = ask(site, repeat(request("GET", "/")), 200, 3, 0.1)

    assert len(answers.times) >= 3
    assert answers.rate > 0


def test_clients_take_no_other_status(site: int) -> None:
    with pytest.raises(Failed, match="404"):
        ask(site, repeat(request("GET", "/elsewhere")), 200, 1, 0.1)
