"""A check that fails makes the whole run fail, and is named."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from django.conf import settings

MAKE = """#!/bin/sh
echo "=== 7 passed in 1.00s ==="
[ "$1" != "$FAILING" ]
"""


def run(directory: Path, failing: str) -> subprocess.CompletedProcess[str]:
    """`.ci/run` with a `make` of which one target fails."""
    make = directory / "make"
    make.write_text(MAKE)
    make.chmod(0o755)
    environment = {
        "PATH": f"{directory}:{os.environ['PATH']}",
        "HOME": str(directory),
        "CLEAN_ENVIRONMENT": "1",
        "FAILING": failing,
    }
    return subprocess.run(
        [settings.BASE_DIR / ".ci" / "run"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("target", ["test-all", "lint", "types", "imports", "migrations"])
def test_one_failing_check_fails_the_run(tmp_path: Path, target: str) -> None:
    finished = run(tmp_path, failing=target)
    assert finished.returncode == 1
    assert f"Failed: {target}" in finished.stdout


def test_without_a_failing_check_it_passes(tmp_path: Path) -> None:
    finished = run(tmp_path, failing="nothing")
    assert finished.returncode == 0, finished.stdout
    assert "All checks passed." in finished.stdout
