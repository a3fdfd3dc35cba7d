"""A transport that is set wrongly is refused when a process starts."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from kombu.transport import TRANSPORT_ALIASES

BROKER = {"CELERY_BROKER_URL": "redis://localhost:1/0"}


def start(shown: str = "MESSAGING_PUBLISH", **variables: str) -> str:
    """Load the settings in a process of their own; return one, or what else it said."""
    environment = os.environ | {"CELERY_BROKER_URL": ""} | variables
    command = [sys.executable, "-c", f"import ecommerce.settings as s; print(s.{shown})"]
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
        ({"CELERY_BROKER_URL": "sqs://key:secret@"}, "pip install 'kombu[sqs]'"),
        (
            {"CELERY_BROKER_URL": "azureservicebus://name:key@shop"},
            "pip install 'kombu[azureservicebus]'",
        ),
        ({"WORKER_SERVICES": "orders,nobody"}, "WORKER_SERVICES names ['nobody']"),
        ({"MESSAGING_TRANSPORT": "celery"} | BROKER, "ecommerce.celery.publish"),
    ],
)
def test_what_cannot_work_is_refused(variables: dict[str, str], said: str) -> None:
    assert said in start(**variables)


@pytest.mark.parametrize(
    ("url", "library"),
    [
        ("redis://localhost:1/0", ""),
        ("amqp://localhost:1//", ""),
        ("sqs://key:secret@", "boto3"),
        ("azureservicebus://name:key@shop", "azure"),
    ],
)
def test_kombu_has_a_transport_for_every_broker_and_knows_its_options(
    url: str, library: str, tmp_path: Path
) -> None:
    # given the libraries that kombu's extras install, as far as the settings look
    (tmp_path / library).mkdir(exist_ok=True)
    options = start(
        "CELERY_BROKER_TRANSPORT_OPTIONS", CELERY_BROKER_URL=url, PYTHONPATH=str(tmp_path)
    )

    # then each option is one that the transport's own text names
    module, _, _ = TRANSPORT_ALIASES[url.partition(":")[0]].partition(":")
    found = importlib.util.find_spec(module)
    assert found is not None
    assert found.origin is not None
    text = Path(found.origin).read_text()
    names = ast.literal_eval(options).keys()
    assert names
    assert [name for name in names if name not in text] == []
