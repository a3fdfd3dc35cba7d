"""People of every kind in front of the admin."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from ecommerce.identity import tenants
from ecommerce.identity.models import Tenant, User

SignIn = Callable[..., Client]


@pytest.fixture(autouse=True)
def _forget_tenants() -> Iterator[None]:
    tenants.forget()
    yield
    tenants.forget()


@pytest.fixture
def staff(db: None) -> SignIn:
    """Sign in a member of staff; `reads_all` adds Django's view permission on everything."""

    def sign_in(tenant: str = "main", *, reads_all: bool = False, is_staff: bool = True) -> Client:
        Tenant.objects.get_or_create(slug=tenant, defaults={"name": tenant})
        tenants.forget()
        user = User.objects.create_user(f"{tenant}-person", tenant_id=tenant, is_staff=is_staff)
        if reads_all:
            user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
        client = Client()
        client.force_login(user)
        return client

    return sign_in
