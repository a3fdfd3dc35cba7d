"""The demo drives a running shop over HTTP and says whether all went well."""

from __future__ import annotations

from collections import Counter
from io import StringIO
from urllib.parse import urlsplit

import pytest
from django.core.management import call_command

from ecommerce.console.demo import ENDS
from orders.models import Order
from payments.models import Payment
from tests.journeys.conftest import BackgroundWorker
from tests.journeys.shop import Shop

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


def demo(shop: Shop, *args: str) -> tuple[int, str]:
    out = StringIO()
    place = urlsplit(str(shop.http.base_url))
    try:
        call_command("demo", "--url", f"http://{place.netloc}", *args, stdout=out)
    except SystemExit as end:
        return int(str(end.code)), out.getvalue()
    return 0, out.getvalue()


def test_orders_of_every_kind_end_as_they_should_and_the_audit_finds_nothing(
    shop: Shop, worker: BackgroundWorker
) -> None:
    code, report = demo(shop, "--orders", "30", "--rate", "100", "--seed", "5")

    assert code == 0, report
    assert "all is well" in report
    assert "otherwise than meant" not in report
    assert all(kind in report for kind in ENDS)
    statuses = Counter(Order.objects.values_list("status", flat=True))
    assert statuses.total() == 30
    assert Payment.objects.filter(status="Captured").count() == 30 - statuses["Cancelled"]


def test_an_order_that_nobody_works_on_is_stuck(shop: Shop) -> None:
    code, report = demo(shop, "--orders", "1", "--deadline", "0.5", "--no-audit")

    assert code == 1
    assert "1 orders did not end:" in report
    assert "(ordinary): Pending" in report
