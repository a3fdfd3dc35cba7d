"""The documents do not drift: what they name exists, and what they should name is there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from django.conf import settings

from inventory.models import Reservation
from notifications.models import Notification
from orders.models import STATUSES, Step
from payments.models import Payment
from shipping.models import Shipment

ROOT = Path(settings.BASE_DIR)
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("0*.md"))
OPERATIONS = ROOT / "docs" / "operations.md"
CODE = [ROOT / "manage.py", *(ROOT / name for name in ("ecommerce", *settings.SERVICES))]
READERS = {"_flag", "_number", "_list", "os.environ.get", "os.environ.setdefault", "os.getenv"}
"""Functions whose first argument is the name of a variable."""


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(path: Path) -> str:
    """A document without its code blocks."""
    return re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """What its headings are linked by."""
    headings = re.findall(r"^#+ (.+)$", prose(path), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def sources() -> Iterator[Path]:
    for place in CODE:
        yield from [place] if place.is_file() else place.rglob("*.py")


def variables(path: Path) -> Iterator[str]:
    """The names of environment variables that a module uses, and of settings with a default of
    their own."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Call(func=function, args=[ast.Constant(value=str(name)), *_]):
                if ast.unparse(function) in READERS:
                    yield name
            case ast.Subscript(value=mapping, slice=ast.Constant(value=str(name))):
                if ast.unparse(mapping) == "os.environ":
                    yield name
            case ast.Call(
                func=ast.Name(id="getattr"),
                args=[ast.Name(id="settings"), ast.Constant(value=str(name)), *_],
            ):
                if not hasattr(settings, name):
                    yield name


def commands() -> Iterator[str]:
    for place in CODE:
        yield from (
            path.stem for path in place.rglob("management/commands/*.py") if path.stem[0] != "_"
        )


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_links_lead_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), f"{link} does not exist"
        assert not anchor or anchor in anchors(target), f"{link}: there is no such heading"


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_targets_of_make_and_commands_that_are_named_exist(document: Path) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    text = document.read_text()
    for target in re.findall(r"(?:^    |`|make run, )make ([a-z]+)", text, flags=re.MULTILINE):
        assert target in targets, f"make {target}"
    django = {"check", "collectstatic", "createsuperuser", "dbshell", "help", "makemigrations"}
    known = {*commands(), *django, "migrate", "runserver"}
    for command in re.findall(r"manage\.py ([a-z]+)", text):
        assert command in known, f"manage.py {command}"


def test_the_two_commands_of_the_readme_are_make_targets() -> None:
    readme = (ROOT / "README.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    for target in ("run", "test"):
        assert f"\n    make {target}\n" in readme
        assert f"\n{target}: " in makefile


def test_every_setting_is_in_the_operations_page() -> None:
    page = OPERATIONS.read_text()
    wanted = {name for path in sources() for name in variables(path)}
    wanted |= {f"{service.upper()}_DATABASE_URL" for service in settings.SERVICES}
    assert {"SECRET_KEY", "DATABASE_POOL_SIZE", "PORT", "RESERVATION_MINUTES"} <= wanted
    assert sorted(name for name in wanted if f"`{name}`" not in page) == []


def test_every_command_is_in_the_operations_page() -> None:
    page = OPERATIONS.read_text()
    wanted = set(commands())
    assert {"serve", "runworker", "trace"} <= wanted
    assert sorted(name for name in wanted if f"manage.py {name}" not in page) == []


def test_every_invariant_and_every_failure_names_a_test() -> None:
    architecture = (ROOT / "ARCHITECTURE.md").read_text()
    for heading in ("What happens when something dies", "Invariants, and the tests"):
        section = architecture.partition(f"## {heading}")[2].partition("\n## ")[0]
        rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
        assert len(rows) > 10
        assert [row for row in rows if "](tests/" not in row] == []


@pytest.mark.parametrize("decision", DECISIONS, ids=named)
def test_a_decision_says_why_what_and_at_which_price(decision: Path) -> None:
    text = decision.read_text()
    number = int(decision.name[:4])
    assert text.startswith(f"# {number}. ")
    for part in ("**Context.**", "**Decision.**", "**Consequences.**"):
        assert part in text
    title = text.partition("\n")[0].partition(". ")[2]
    assert f"[{number}]({decision.name}) | {title} |" in (decision.parent / "README.md").read_text()


def test_every_dependency_has_its_line() -> None:
    page = (ROOT / "docs" / "decisions" / "0014-dependencies.md").read_text()
    table = page.partition("| Package |")[2].partition("\n\n")[0]
    lines = (ROOT / "requirements.in").read_text().splitlines()
    wanted = [match[0] for line in lines if (match := re.match(r"[a-z][a-z0-9-]*", line))]
    assert [name for name in wanted if not re.search(rf"\b{name}\b", table)] == []


@pytest.mark.parametrize(
    ("heading", "states"),
    [
        ("Order", set(STATUSES)),
        ("Saga", set(get_args(Step))),
        ("Payment", set(Payment.Status.values)),
        ("Reservation", set(Reservation.Status.values)),
        ("Shipment", set(Shipment.Status.values)),
        ("Notification", set(Notification.Status.values)),
    ],
)
def test_the_state_machines_have_the_states_of_the_code(heading: str, states: set[str]) -> None:
    page = (ROOT / "docs" / "state-machines.md").read_text()
    section = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    arrows = re.findall(r"^ +(\S+) --> ([^:\s]+)", section, flags=re.MULTILINE)
    assert {state for arrow in arrows for state in arrow} - {"[*]"} == states
