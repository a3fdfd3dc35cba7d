"""Tokens: what is kept, who they let in, and for how long."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.utils import timezone

from ecommerce.identity import scopes
from ecommerce.identity.models import ApiToken, Tenant, User, digest_of

pytestmark = pytest.mark.django_db


def issue(**options: object) -> tuple[ApiToken, str]:
    defaults = {"tenant": "main", "name": "till", "scopes": ["orders:read"]}
    return ApiToken.issue(**{**defaults, **options})  # type: ignore[arg-type]


def test_a_token_is_found_by_its_text_and_only_a_hash_is_kept(tenant: Tenant) -> None:
    token, text = issue()

    assert ApiToken.find(text) == token
    secret = text.split("_", 2)[2]
    row = ApiToken.objects.values().get()
    assert secret not in str(row)
    assert row["digest"] == digest_of(secret)


def test_two_tokens_have_nothing_in_common(tenant: Tenant) -> None:
    (one, text), (other, other_text) = issue(), issue()

    assert one.prefix != other.prefix
    assert text[17:] != other_text[17:]


@pytest.mark.parametrize("change", [lambda t: t + "x", lambda t: t[:-1], lambda t: t.upper(),
                                    lambda t: t.replace("shop_", "step_"), lambda t: t[:17]])  # fmt: skip
def test_another_text_finds_nothing(tenant: Tenant, change) -> None:  # type: ignore[no-untyped-def]
    _, text = issue()

    assert ApiToken.find(change(text)) is None


def test_a_token_ends_when_it_expires(tenant: Tenant) -> None:
    _, valid = issue(expires_at=timezone.now() + timedelta(hours=1))
    _, ended = issue(expires_at=timezone.now() - timedelta(seconds=1))

    assert ApiToken.find(valid)
    assert ApiToken.find(ended) is None


def test_a_revoked_token_stays_revoked_at_its_first_time(tenant: Tenant) -> None:
    token, text = issue()
    token.revoke()
    first = token.revoked_at
    token.revoke()

    assert ApiToken.find(text) is None
    assert first is not None
    assert token.revoked_at == first


def test_the_last_use_is_noted_by_the_minute(tenant: Tenant) -> None:
    token, text = issue()
    ApiToken.find(text)
    token.refresh_from_db()
    first = token.last_used_at
    ApiToken.find(text)
    token.refresh_from_db()

    assert first is not None
    assert token.last_used_at == first


def test_a_wrong_secret_is_no_use(tenant: Tenant) -> None:
    token, text = issue()
    ApiToken.find(text + "x")
    token.refresh_from_db()

    assert token.last_used_at is None


def test_a_persons_token_reaches_no_further_than_the_person(tenant: Tenant) -> None:
    ann = User.objects.create_user("ann", tenant=tenant, customer_id="cust-1")
    token, text = issue(user=ann, scopes=sorted(scopes.ALL), customer_id="cust-2")

    assert token.allowed() == scopes.CUSTOMER
    assert token.own_customer() == "cust-1"
    ann.is_active = False
    ann.save()
    assert ApiToken.find(text) is None


def test_the_token_of_a_person_without_rights_has_none(tenant: Tenant) -> None:
    token, _ = issue(user=User.objects.create_user("bob", tenant=tenant))

    assert token.allowed() == frozenset()


def test_a_customers_token_has_a_customers_rights(tenant: Tenant) -> None:
    token, _ = issue(customer_id="cust-1", scopes=["orders:read", "operations"])

    assert token.allowed() == {"orders:read"}


def test_the_database_refuses_a_scope_that_does_not_exist(tenant: Tenant) -> None:
    with pytest.raises(IntegrityError, match="scopes_are_known"), transaction.atomic():
        issue(scopes=["everything"])

    assert not ApiToken.objects.exists()


# The command


def test_the_command_prints_a_token_that_works(tenant: Tenant) -> None:
    out, err = StringIO(), StringIO()
    call_command(
        "createtoken", "--tenant", "main", "--scopes", "orders:write, orders:read",
        "--name", "till", "--days", "30", stdout=out, stderr=err,
    )  # fmt: skip

    token = ApiToken.find(out.getvalue().strip())
    assert token is not None
    assert (token.name, token.scopes) == ("till", ["orders:read", "orders:write"])
    assert token.expires_at is not None
    assert "cannot be shown again" in err.getvalue()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scopes", "orders:read,everything"], "no scope everything"),
        (["--scopes", ","], "at least one scope"),
        (["--scopes", "all", "--tenant", "nobody"], "no tenant 'nobody'"),
        (["--scopes", "all", "--days", "0"], "--days"),
    ],
)
def test_the_command_says_what_is_wrong(tenant: Tenant, options: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        call_command("createtoken", "--name", "till", *options)

    assert not ApiToken.objects.exists()
