"""The services' boundaries hold, and the rules that guard them bite."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from django.db import models
from django.test.utils import isolate_apps

ROOT = Path(settings.BASE_DIR)
USER = settings.AUTH_USER_MODEL


def strangers(found: Iterable[type[models.Model]]) -> list[str]:
    """The relations that lead from one service, or the kernel, into another application."""
    ours = {*settings.SERVICES, "messaging"}
    return [
        f"{model._meta.label}.{field.name}"
        for model in found
        for field in model._meta.get_fields()
        if model._meta.app_label in ours
        and isinstance(field, models.ForeignKey | models.ManyToManyField)
        and field.related_model._meta.app_label != model._meta.app_label
        and field.related_model._meta.label != USER
    ]


def test_no_relation_leads_from_one_service_into_another() -> None:
    assert strangers(apps.get_models()) == []


@isolate_apps("orders", "inventory")
def test_a_relation_into_another_service_is_found() -> None:
    # given an order's line with a foreign key to inventory's product
    class Product(models.Model):
        class Meta:
            app_label = "inventory"

    class Line(models.Model):
        product = models.ForeignKey(Product, on_delete=models.CASCADE)

        class Meta:
            app_label = "orders"

    # then it is named
    assert strangers([Line, Product]) == ["orders.Line.product"]


def test_every_service_has_a_database_setting_and_tables_of_its_own() -> None:
    for service in settings.SERVICES:
        tables = {model._meta.db_table for model in apps.get_app_config(service).get_models()}
        assert all(table.startswith(f"{service}_") for table in tables), tables
        assert service in settings.SERVICE_DATABASES


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source tree, to be spoiled."""
    target = tmp_path_factory.mktemp("copy")
    for name in ("ecommerce", *settings.SERVICES):
        ignore = shutil.ignore_patterns("__pycache__", "static", "templates")
        shutil.copytree(ROOT / name, target / name, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", target)
    return target


def lint(tree: Path) -> subprocess.CompletedProcess[str]:
    """Run the import rules over a tree."""
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)


def test_the_import_rules_hold(copy: Path) -> None:
    result = lint(copy)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("path", "line"),
    [
        pytest.param("orders/utils.py", "HELPFUL = True", id="a module of a new kind"),
        pytest.param(
            "orders/saga.py", "from inventory.models import StockItem", id="another one's models"
        ),
        pytest.param(
            "orders/queries.py", "import inventory.contracts", id="contracts where none react"
        ),
        pytest.param(
            "ecommerce/messaging/bus.py", "import orders.contracts", id="a service in the kernel"
        ),
        pytest.param("payments/handlers.py", "import ecommerce.api", id="the composition root"),
    ],
)
def test_the_import_rules_refuse(copy: Path, path: str, line: str) -> None:
    # given a tree with one line too many
    file = copy / path
    before = file.read_text() if file.exists() else None
    file.write_text(f"{before or ''}\n{line}\n")

    # when the rules look at it
    result = lint(copy)
    if before is None:
        file.unlink()
    else:
        file.write_text(before)

    # then they refuse it
    assert result.returncode == 1, result.stdout
