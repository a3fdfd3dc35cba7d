"""The catalogue of failures names tests that exist, and a control wherever one is named so."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from django.conf import settings

PAGE = Path(settings.BASE_DIR) / "docs" / "reliability.md"
NONE = "\N{EN DASH}"
NAMED = re.compile(r"\[(test_\w+)\]\(([^)]+\.py)\)")


def rows() -> list[list[str]]:
    """The cells of each failure: number, what goes wrong, what is done, tests, controls."""
    lines = [line for line in PAGE.read_text().splitlines() if re.match(r"\| \d+\.\d+ \|", line)]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_test_that_is_named_exists() -> None:
    named = NAMED.findall(PAGE.read_text())
    assert len(named) > 150
    missing = [
        f"{file}: {name}"
        for name, file in named
        if name not in functions((PAGE.parent / file).resolve())
    ]
    assert missing == []


def test_every_failure_has_a_test() -> None:
    assert len(rows()) == 86
    for number, *_, tests, controls in rows():
        assert NAMED.search(tests), f"{number} names no test"
        assert NAMED.search(controls) or controls == NONE, f"{number}: {controls}"


def test_failures_are_numbered_in_order() -> None:
    numbers = [tuple(map(int, number.split("."))) for number, *_ in rows()]
    assert numbers == sorted(set(numbers))
    assert {theme for theme, _ in numbers} == set(range(1, len({t for t, _ in numbers}) + 1))
