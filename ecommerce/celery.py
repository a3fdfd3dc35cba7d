"""The Celery application: `celery -A ecommerce worker`, `celery -A ecommerce beat`.

Not imported by `ecommerce` itself: only processes that consume or publish tasks pay for Celery's
start. Code that publishes imports `app` from here, so that a task never goes to the default broker
of an application that was not configured.
"""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ecommerce.settings")

app = Celery("ecommerce")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


def wake() -> None:
    """Ask a Celery worker to look for work now; `celery beat` asks every second."""
    app.send_task("messaging.drain", ignore_result=True)
