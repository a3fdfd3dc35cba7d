"""Each table as a file for spreadsheets."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from django.http import Http404, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_safe

from ecommerce.web.access import PageRequest

from .asked import analysts, asked
from .figures import TABLES, Figures
from .tables import Table, exported


@require_safe
@analysts
def export(request: PageRequest, name: str) -> HttpResponseBase:
    """One table of the dashboard, all of it. Days that make no sense lead to the page that says so."""
    if name not in TABLES:
        raise Http404(f"there is no table {name!r}")
    wanted = asked(request)
    if not wanted.form.is_valid():
        return redirect(f"{reverse('analytics')}?{request.GET.urlencode()}")
    table = TABLES[name](Figures(wanted))
    period = wanted.period
    file = f"analytics-{name}-{period.first}-to-{period.last}-{wanted.currency}.csv"
    return StreamingHttpResponse(
        _lines(table),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{file}"'},
    )


class _Line:
    """A file that hands back what is written to it."""

    def write(self, line: str) -> str:
        return line


def _lines(table: Table) -> Iterator[str]:
    """The file line by line. Everything was read before: the database is not asked meanwhile."""
    write = csv.writer(_Line()).writerow
    yield "\ufeff" + write(_head(table))
    for row in table.rows:
        kinds = [column.kind for column in table.columns]
        yield write([exported(*cell) for cell in zip(row, kinds, strict=True)])


def _head(table: Table) -> list[str]:
    return [
        f"{column.title} ({table.currency})" if column.kind == "money" else column.title
        for column in table.columns
    ]
