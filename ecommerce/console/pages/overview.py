"""The console's first page: the seven services, and what flows between them."""

from __future__ import annotations

from django.http import HttpResponse
from django.views.decorators.http import require_safe

from .frame import OperatorRequest, operators, show


@require_safe
@operators
def overview(request: OperatorRequest) -> HttpResponse:
    """Rates, backlog and failures of every service, live."""
    return show(request, "overview", {}, place="console")
