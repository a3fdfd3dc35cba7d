"""The benchmarks do not rot: each part that needs no other library runs, with almost nothing to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from benchmarks import peers
from benchmarks.server import throw_away_server

pytestmark = pytest.mark.timeout(600)

SHARES = (
    ["saga", "idle", "longrun"],
    ["latency", "web", "rebuilding"],
    ["growth", "hotspots", "pages"],
)


@pytest.mark.parametrize("parts", SHARES, ids=",".join)
def test_every_part_runs_and_passes_its_own_checks(parts: list[str], tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--output", str(document)]
    binaries = str(Path(sys.executable).parent)

    done = subprocess.run(
        [*command, "--parts", ",".join(parts)],
        cwd=settings.BASE_DIR,
        env=os.environ | {"PATH": f"{binaries}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-5000:]
    written = document.read_text()
    assert [part for part in parts if f"<!-- {part} -->" not in written] == []


def test_the_kernel_is_a_peer_of_its_own() -> None:
    with throw_away_server(durable=False) as server:
        drained = peers.platform(server, 50)

    assert drained.sagas == 50
    assert drained.seconds > 0
