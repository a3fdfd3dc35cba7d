"""Sign-in by user name, or by e-mail address for those who asked for that."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest

from ecommerce.messaging import tenancy

from . import tenants
from .models import User


class IdentityBackend(ModelBackend):
    """Django's own, with two additions: e-mail addresses, and no entry to a closed tenant.

    People are looked for in every tenant. Who signs in has the rest of the request act for theirs.
    """

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> User | None:
        with tenancy.acting_for(tenancy.EVERY):
            if username and "@" in username:
                by_email = User.objects.filter(email__iexact=username, email_login=True).first()
                username = by_email.get_username() if by_email else username
            user = super().authenticate(request, username=username, password=password, **kwargs)
        if not isinstance(user, User):
            return None
        if request is not None:
            tenancy.act_for(user.works_for())
        return user

    def get_user(self, user_id: Any) -> User | None:
        with tenancy.acting_for(tenancy.EVERY):
            user = super().get_user(user_id)
        return user if isinstance(user, User) else None

    def user_can_authenticate(self, user: Any) -> bool:
        return super().user_can_authenticate(user) and tenants.is_active(user.tenant_id)
