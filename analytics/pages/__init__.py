"""The dashboard: what sold, when, to how many people, and what became of the orders.

For callers with the scope `analytics:read`; in development for everyone on this machine.
"""

from __future__ import annotations

from django.urls import path

from . import dashboard, export

urlpatterns = [
    path("analytics/", dashboard.dashboard, name="analytics"),
    path("analytics/<name>.csv", export.export, name="analytics-export"),
]
