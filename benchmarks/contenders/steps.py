"""The work that all peers do: in each of five steps, one small row."""

from __future__ import annotations

import json

STEPS = ("order", "stock", "payment", "shipment", "notification")
TABLE = """
    CREATE TABLE step (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        saga text NOT NULL,
        step text NOT NULL,
        detail text NOT NULL
    )"""
INSERT = "INSERT INTO step (saga, step, detail) VALUES (%s, %s, %s)"
DETAIL = json.dumps(
    {
        "customer": "customer-042",
        "lines": [{"product": "prod-456", "quantity": 2, "price": 1999, "currency": "USD"}],
        "address": {"street": "42 Harbor Street", "city": "Springfield", "zip": "62701"},
        "note": "what a step has to say about an order, in some two hundred and seventy bytes",
    }
)


def ids(count: int) -> list[str]:
    """The sagas' ids."""
    return [f"saga-{number:08}" for number in range(count)]


def after(step: str) -> str | None:
    """The step that follows; None for the last."""
    number = STEPS.index(step) + 1
    return STEPS[number] if number < len(STEPS) else None
