"""What a caller may do, in one vocabulary for users and tokens."""

from __future__ import annotations

from typing import Literal, get_args

Scope = Literal[
    "orders:read",
    "orders:write",
    "customers:read",
    "customers:write",
    "inventory:read",
    "inventory:write",
    "payments:write",
    "analytics:read",
    "operations",
]

ALL: frozenset[str] = frozenset(get_args(Scope))
STAFF = ALL - {"operations"}
CUSTOMER = frozenset({"orders:read", "orders:write", "customers:read"})
"""What a customer may do, with their own things only."""
