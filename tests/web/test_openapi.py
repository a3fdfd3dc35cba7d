"""Version 1 of the API only grows: its description is kept, and every change of it is seen."""

from __future__ import annotations

import json
import os
from pathlib import Path

from django.conf import settings

from ecommerce.api import api

SNAPSHOT = Path(settings.BASE_DIR) / "docs" / "openapi.json"


def test_the_api_is_as_described() -> None:
    described = json.dumps(api.get_openapi_schema(), indent=1, sort_keys=True, default=str) + "\n"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        SNAPSHOT.write_text(described)

    assert SNAPSHOT.read_text() == described, "run the tests with UPDATE_SNAPSHOTS=1 and look at it"
