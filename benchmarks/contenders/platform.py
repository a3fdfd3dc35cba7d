"""The platform's own kernel: five handlers of one service, a row and an event each, in batches.

Runs in the platform's environment, with the settings of `fivesteps`; `manage.py runworker` works.
"""

from __future__ import annotations

from .steps import STEPS, ids

ENQUEUED = 500
ROWS = " UNION ALL ".join(
    f"SELECT saga_id AS saga, '{name}' AS step FROM fivesteps_{name}" for name in STEPS
)


def setup(_: str) -> None:
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from ecommerce.messaging.operations import append_only, partition_by_day

    call_command("migrate", run_syncdb=True, verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute(str(append_only("fivesteps_log").sql))
        cursor.execute(str(partition_by_day("fivesteps_delivery", "delivered_at").sql))
        cursor.execute(f"CREATE VIEW step AS {ROWS}")


def enqueue(_: str, count: int) -> None:
    import django

    django.setup()
    from fivesteps.contracts import Enqueue

    from ecommerce.messaging.bus import execute

    sagas = ids(count)
    for start in range(0, count, ENQUEUED):
        command = Enqueue(first=sagas[start], sagas=tuple(sagas[start : start + ENQUEUED]))
        execute(command, tenant="main", actor="benchmark")
