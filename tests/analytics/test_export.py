"""Tables as files: whole, safe to open in a spreadsheet, for those who may see the page."""

from __future__ import annotations

import csv
from typing import Any

import pytest
from django.test import Client

from analytics.pages.figures import TABLES
from analytics.pages.tables import exported
from ecommerce.identity.models import Tenant
from orders.contracts import OrderLine
from tests.analytics.conftest import Hear
from tests.analytics.examples import MOUSE, cancelled, placed, product, steps

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("in_kolkata")]

MARCH = "from=2026-03-01&to=2026-03-31"


def answer_of(client: Client, name: str, query: str = MARCH) -> Any:
    answer = client.get(f"/analytics/{name}.csv?{query}")
    assert answer.status_code == 200
    return answer


def rows(client: Client, name: str, query: str = MARCH) -> list[list[str]]:
    answer = answer_of(client, name, query)
    assert answer.streaming
    text = b"".join(answer.streaming_content).decode("utf-8-sig")
    return list(csv.reader(text.splitlines()))


def test_days_are_exported_with_plain_numbers(analyst: Client, heard: Hear) -> None:
    order = placed("o1")
    heard(order, placed("o2"), cancelled(order))

    head, *days = rows(analyst, "days")

    assert head[:3] == ["Day", "Revenue (USD)", "Orders"]
    assert len(days) == 31
    assert days[1] == ["2026-03-02", "40.00", "2", "20.00", "0", "1", "0.00", "0"]
    assert days[2][:3] == ["2026-03-03", "-20.00", "-1"]


def test_the_file_is_named_for_what_it_has(analyst: Client, heard: Hear) -> None:
    heard(placed("o1"))

    answer = answer_of(analyst, "products")

    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == (
        'attachment; filename="analytics-products-2026-03-01-to-2026-03-31-USD.csv"'
    )


def test_all_products_are_exported_not_only_the_top_ones(analyst: Client, heard: Hear) -> None:
    lines = [
        OrderLine(line_id=str(n), product_id=f"p{n}", name="x", quantity=1, unit_price=n)
        for n in range(1, 31)
    ]
    heard(placed("o1", *lines))

    assert len(rows(analyst, "products")) == 1 + 30


@pytest.mark.parametrize("name", TABLES)
def test_every_table_is_exported_also_when_it_is_empty(
    name: str, analyst: Client, heard: Hear
) -> None:
    heads = rows(analyst, name)[0]
    heard(placed("o1"), *steps("o1"))

    assert rows(analyst, name)[0] == heads


def test_a_product_cannot_smuggle_a_formula_into_a_spreadsheet(
    analyst: Client, heard: Hear
) -> None:
    heard(product("mouse", '=HYPERLINK("http://evil.test","free")'), placed("o1", MOUSE))

    assert rows(analyst, "products")[1][0] == '\'=HYPERLINK("http://evil.test","free")'


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "\r=1", "\tx"])
def test_what_a_spreadsheet_would_take_for_a_formula_is_quoted(text: str) -> None:
    assert exported(text, "text") == f"'{text}"


@pytest.mark.parametrize("text", ["Mouse", "2 in 1", "a=b", "", "Größe +"])
def test_control_other_texts_stay_as_they_are(text: str) -> None:
    assert exported(text, "text") == text


def test_an_unknown_table_is_not_there(analyst: Client) -> None:
    assert analyst.get("/analytics/secrets.csv").status_code == 404


def test_days_that_make_no_sense_lead_to_the_page_that_says_so(analyst: Client) -> None:
    answer = analyst.get("/analytics/days.csv?from=2026-03-02&to=2026-03-01")

    assert answer.status_code == 302
    assert analyst.get(answer.headers["Location"]).status_code == 422


def test_another_tenants_figures_are_not_exported(client_with: Any, heard: Hear) -> None:
    Tenant.objects.create(slug="other", name="Other shop")
    heard(product("mouse", "Secret mouse"), placed("o1"), *steps("o1"))
    other = client_with("analytics:read", tenant="other")

    for name in TABLES:
        assert "Secret" not in str(rows(other, name))
        assert {cell for row in rows(other, name)[1:] for cell in row[1:]} <= {
            *("0", "0.00", ""),
        }, name
