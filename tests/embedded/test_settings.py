"""Production refuses to start on a setting that is unsafe, and says which and what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SAFE = {
    "SHOP_ENV": "production",
    "SECRET_KEY": "a-long-random-value-that-only-the-servers-know-of-0123456789",
    "ALLOWED_HOSTS": "shop.example.com",
    "DATABASE_URL": "postgresql://shop:secret@db.example.com:5433/shop?sslmode=require",
}
SHOW = """
from django.conf import settings
d = settings.DATABASES["default"]
print(settings.DEBUG, settings.SESSION_COOKIE_SECURE, d["HOST"], d["PORT"], d["NAME"])
print(d["OPTIONS"]["sslmode"], d["OPTIONS"]["options"])
"""


def load(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SHOW],
        env={"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "ecommerce.settings"}
        | environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )


def test_production_starts_with_safe_settings() -> None:
    loaded = load(SAFE)

    assert loaded.stderr == ""
    assert loaded.stdout.splitlines() == [
        "False True db.example.com 5433 shop",
        "require -c jit=off -c idle_in_transaction_session_timeout=60s",
    ]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SECRET_KEY", ""),
        ("SECRET_KEY", "short"),
        ("SECRET_KEY", "development-only-this-key-is-public-and-signs-nothing-of-value"),
        ("ALLOWED_HOSTS", ""),
        ("ALLOWED_HOSTS", "*"),
        ("DATABASE_URL", ""),
        ("DATABASE_URL", "mysql://shop:secret@localhost/shop"),
        ("DEBUG", "1"),
        ("DEBUG", "perhaps"),
        ("SHOP_ENV", "prodution"),
    ],
)
def test_production_refuses_an_unsafe_setting(variable: str, value: str) -> None:
    loaded = load(SAFE | {variable: value})

    assert loaded.returncode == 1
    assert f"ImproperlyConfigured: {variable} " in loaded.stderr.splitlines()[-1]
    assert "secret@" not in loaded.stderr
