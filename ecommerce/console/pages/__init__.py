"""The operations console: what happens in the shop, and the means to mend it.

For callers with the scope `operations`; in development for everyone on this machine.
"""

from __future__ import annotations

from django.urls import path

from . import overview

urlpatterns = [
    path("console/", overview.overview, name="console"),
]
