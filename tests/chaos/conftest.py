"""A whole shop in processes of every kind, and a broker."""

from __future__ import annotations

from tests.crashes.conftest import platform
from tests.transports.conftest import valkey

__all__ = ["platform", "valkey"]
