"""Signing in, and the admin pages of people and tokens."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.models import Permission
from django.db import IntegrityError, transaction
from django.test import Client

from ecommerce.identity import scopes
from ecommerce.identity.models import ApiToken, Tenant, User

pytestmark = pytest.mark.django_db


@pytest.fixture
def ann(tenant: Tenant) -> User:
    return User.objects.create_user(
        "ann", email="Ann@Example.com", password="right", tenant=tenant, email_login=True
    )


def test_a_user_belongs_to_the_default_tenant_and_has_a_time_ordered_id(tenant: Tenant) -> None:
    user = User.objects.create_user("bob")

    assert user.tenant == tenant
    assert user.id.version == 7


@pytest.mark.parametrize("name", ["ann", "ann@example.com", "ANN@EXAMPLE.COM"])
def test_a_person_signs_in_by_name_or_by_e_mail(ann: User, name: str) -> None:
    assert authenticate(username=name, password="right") == ann
    assert authenticate(username=name, password="wrong") is None


def test_e_mail_is_no_name_for_those_who_did_not_ask(ann: User) -> None:
    User.objects.filter(pk=ann.pk).update(email_login=False)

    assert authenticate(username="ann@example.com", password="right") is None


def test_nobody_signs_in_to_a_closed_tenant(ann: User, tenant: Tenant) -> None:
    tenant.active = False
    tenant.save()

    assert authenticate(username="ann", password="right") is None


def test_one_address_signs_in_one_person(ann: User, tenant: Tenant) -> None:
    with pytest.raises(IntegrityError, match="one_login_per_email"), transaction.atomic():
        User.objects.create_user("eve", email="ann@example.com", tenant=tenant, email_login=True)

    User.objects.create_user("eve", email="ann@example.com", tenant=tenant)
    assert User.objects.filter(email__iexact="ann@example.com").count() == 2


def test_a_customer_is_one_person_per_tenant(tenant: Tenant) -> None:
    User.objects.create_user("one", tenant=tenant, customer_id="cust-1")
    with pytest.raises(IntegrityError, match="one_user_per_customer"), transaction.atomic():
        User.objects.create_user("two", tenant=tenant, customer_id="cust-1")

    other = Tenant.objects.create(slug="other", name="Other")
    User.objects.create_user("two", tenant=other, customer_id="cust-1")
    assert User.objects.filter(customer_id="cust-1").count() == 2


def test_roles_give_scopes(tenant: Tenant) -> None:
    assert User(is_superuser=True).scopes() == scopes.ALL
    assert User(is_staff=True).scopes() == scopes.ALL - {"operations"}
    assert User(customer_id="cust-1").scopes() == scopes.CUSTOMER
    assert User().scopes() == frozenset()


# Admin


@pytest.fixture
def admin(client: Client, tenant: Tenant) -> Client:
    client.force_login(User.objects.create_superuser("root", tenant=tenant))
    return client


@pytest.mark.parametrize("page", ["tenant/", "tenant/add/", "tenant/main/change/", "user/",
                                  "user/add/", "apitoken/", "apitoken/add/"])  # fmt: skip
def test_the_admin_pages_open(admin: Client, page: str) -> None:
    assert admin.get(f"/admin/identity/{page}").status_code == 200


def test_a_user_is_added_and_changed_in_the_admin(admin: Client) -> None:
    password = {"usable_password": "true", "password1": "sea-shell-42", "password2": "sea-shell-42"}
    added = admin.post(
        "/admin/identity/user/add/", {"username": "new", "tenant": "main", **password}
    )

    user = User.objects.get(username="new")
    assert added.status_code == 302
    assert admin.get(f"/admin/identity/user/{user.pk}/change/").status_code == 200


def test_the_admin_shows_a_new_tokens_secret_once(admin: Client) -> None:
    form = {"name": "till", "tenant": "main", "customer_id": "", "scopes": ["orders:read"],
            "user": "", "expires_at_0": "", "expires_at_1": ""}  # fmt: skip
    page = admin.post("/admin/identity/apitoken/add/", form, follow=True).content.decode()

    (text,) = set(re.findall(r"shop_[a-z0-9]{12}_[\w-]{43}", page))
    token = ApiToken.find(text)
    assert token is not None
    assert token.scopes == ["orders:read"]
    again = admin.get(f"/admin/identity/apitoken/{token.pk}/change/").content.decode()
    assert "shop_" not in again


def test_the_admin_revokes_tokens_and_deletes_none(admin: Client) -> None:
    token, text = ApiToken.issue(tenant="main", name="till", scopes=["orders:read"])
    chosen = {"action": "revoke", "_selected_action": [str(token.pk)]}
    admin.post("/admin/identity/apitoken/", chosen)

    assert ApiToken.find(text) is None
    assert admin.post(f"/admin/identity/apitoken/{token.pk}/delete/").status_code == 403
    assert ApiToken.objects.filter(pk=token.pk).exists()


def test_people_of_every_tenant_sign_in_at_the_same_page(client: Client, other: Tenant) -> None:
    ann = User.objects.create_user("ann-2", password="right", tenant=other, is_staff=True)

    answer = client.post("/admin/login/", {"username": "ann-2", "password": "right"})

    ann.refresh_from_db()
    assert answer.status_code == 302
    assert ann.last_login is not None
    assert client.get("/admin/").status_code == 200


def test_staff_see_their_own_tenants_people_and_change_nobody(
    client: Client, tenant: Tenant, other: Tenant
) -> None:
    # given a member of staff with all of Django's permissions
    sam = User.objects.create_user("sam", tenant=other, is_staff=True)
    sam.user_permissions.set(Permission.objects.filter(content_type__app_label="identity"))
    stranger = User.objects.create_user("stranger", tenant=tenant)
    client.force_login(sam)
    # when
    people: Any = client.get("/admin/identity/user/")
    raised = {"username": "sam", "tenant": "main", "is_superuser": "on", "is_staff": "on"}
    answer = client.post(f"/admin/identity/user/{sam.pk}/change/", raised)
    # then
    assert list(people.context_data["cl"].result_list) == [sam]
    assert client.get(f"/admin/identity/user/{stranger.pk}/change/").status_code == 302
    assert answer.status_code == 403
    assert client.get("/admin/identity/user/add/").status_code == 403
    assert client.get("/admin/identity/tenant/").status_code == 403
    sam.refresh_from_db()
    assert (sam.is_superuser, sam.tenant_id) == (False, "other")
