"""A transport that is set wrongly is refused when a process starts."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

BROKER = {"CELERY_BROKER_URL": "redis://localhost:1/0"}


def start(**variables: str) -> str:
    """Load the settings in a process of their own; return what it said."""
    environment = os.environ | {"CELERY_BROKER_URL": ""} | variables
    command = [sys.executable, "-c", "import ecommerce.settings as s; print(s.MESSAGING_PUBLISH)"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.stdout.strip() or done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"MESSAGING_TRANSPORT": "pigeons"}, "Use in-process or celery."),
        ({"MESSAGING_TRANSPORT": "celery"}, "Set CELERY_BROKER_URL"),
        (
            {"CELERY_BROKER_URL": "amqp://localhost:1//", "RABBITMQ_QUEUE_TYPE": "stream"},
            "Use classic or quorum.",
        ),
        ({"WORKER_SERVICES": "orders,nobody"}, "WORKER_SERVICES names ['nobody']"),
        ({"MESSAGING_TRANSPORT": "celery"} | BROKER, "ecommerce.celery.publish"),
    ],
)
def test_what_cannot_work_is_refused(variables: dict[str, str], said: str) -> None:
    assert said in start(**variables)
