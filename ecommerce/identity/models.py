"""Tenants, the people who sign in, and the tokens that programs call with."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import zoneinfo
from datetime import datetime, timedelta
from typing import ClassVar

from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from ecommerce.messaging import tenancy
from ecommerce.messaging.models import uuid7

from . import scopes

PREFIX_LENGTH = 12
PREFIX_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"


def known_time_zone(name: str) -> None:
    """Refuse a name that the time zone database does not have."""
    if name not in zoneinfo.available_timezones():
        raise ValidationError(f"There is no time zone {name!r}; write one such as Europe/Berlin.")


class Tenant(models.Model):
    """A shop: what its days, prices and people belong to."""

    slug = models.CharField(
        max_length=40,
        primary_key=True,
        validators=[RegexValidator(r"^[a-z0-9](-?[a-z0-9])*$", "Use a-z, 0-9 and single hyphens.")],
    )
    name = models.CharField(max_length=120)
    time_zone = models.CharField(max_length=64, default="UTC", validators=[known_time_zone])
    currency = models.CharField(
        max_length=3,
        default="USD",
        validators=[RegexValidator(r"^[A-Z]{3}$", "Use an ISO 4217 code such as USD.")],
    )
    active = models.BooleanField(default=True)

    def __str__(self) -> str:
        return self.name


def default_tenant() -> str:
    """The tenant of a user that is created without one."""
    from . import tenants

    return tenants.default()


class User(AbstractUser):
    """A person who signs in: a customer, a member of staff, or both."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(
        Tenant, on_delete=models.PROTECT, related_name="users", default=default_tenant
    )
    customer_id = models.CharField(
        max_length=64,
        blank=True,
        default="",
        help_text="The customer this person is. They see that customer's things and no others.",
    )
    email_login = models.BooleanField(
        "sign in by e-mail",
        default=False,
        help_text="Lets this person write their e-mail address where the user name is asked for.",
    )

    class Meta(AbstractUser.Meta):
        swappable = "AUTH_USER_MODEL"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "customer_id"],
                condition=~Q(customer_id=""),
                name="identity_one_user_per_customer",
            ),
            models.UniqueConstraint(
                models.functions.Lower("email"),
                condition=Q(email_login=True),
                name="identity_one_login_per_email",
            ),
            models.CheckConstraint(
                condition=Q(email_login=False) | ~Q(email=""), name="identity_email_login_has_email"
            ),
        ]

    def scopes(self) -> frozenset[str]:
        """What this person may do."""
        if self.is_superuser:
            return scopes.ALL
        if self.is_staff:
            return scopes.STAFF
        return scopes.CUSTOMER if self.customer_id else frozenset()

    def works_for(self) -> str:
        """Whose rows pages show this person: their tenant's; a superuser those of every tenant."""
        return tenancy.EVERY if self.is_superuser else str(self.tenant_id)

    def own_customer(self) -> str | None:
        """The only customer this person reaches, or None for all of the tenant's."""
        return None if self.is_staff or self.is_superuser else self.customer_id


def digest_of(secret: str) -> str:
    """What is kept of a token's secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


class ApiToken(models.Model):
    """A program's credential: `shop_<prefix>_<secret>`. Only a hash of the secret is kept.

    The secret has 256 bits from the system's generator, so that one round of SHA-256 is enough.
    With `customer_id` it reaches that customer's things only.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=80, help_text="Which program calls with it.")
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="tokens")
    user = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.CASCADE, related_name="tokens"
    )
    prefix = models.CharField(max_length=PREFIX_LENGTH, unique=True, editable=False)
    digest = models.CharField(max_length=64, editable=False)
    scopes = ArrayField(models.CharField(max_length=40), default=list)
    customer_id = models.CharField(max_length=64, blank=True, default="")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        verbose_name = "API token"
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(scopes__contained_by=sorted(scopes.ALL)),
                name="identity_token_scopes_are_known",
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix})"

    @classmethod
    def issue(
        cls,
        *,
        tenant: str,
        name: str,
        scopes: list[str],
        customer_id: str = "",
        user: User | None = None,
        expires_at: datetime | None = None,
    ) -> tuple[ApiToken, str]:
        """Make and save a token. The second value is what its owner needs; it is not kept."""
        prefix = "".join(secrets.choice(PREFIX_LETTERS) for _ in range(PREFIX_LENGTH))
        secret = secrets.token_urlsafe(32)
        token = cls.objects.create(
            tenant_id=tenant,
            name=name,
            scopes=sorted(set(scopes)),
            customer_id=customer_id,
            user=user,
            expires_at=expires_at,
            prefix=prefix,
            digest=digest_of(secret),
        )
        return token, f"shop_{prefix}_{secret}"

    @classmethod
    def find(cls, text: str) -> ApiToken | None:
        """The token that this text is, of whichever tenant, if it may be used now; notes that it
        was."""
        kind, _, rest = text.partition("_")
        prefix, _, secret = rest.partition("_")
        if kind != "shop" or len(prefix) != PREFIX_LENGTH or not prefix.isalnum() or not secret:
            return None
        with tenancy.acting_for(tenancy.EVERY):
            token = cls._usable().filter(prefix=prefix).first()
            if token is None or not hmac.compare_digest(token.digest, digest_of(secret)):
                return None
            token.note_use()
        return token

    @classmethod
    def _usable(cls) -> models.QuerySet[ApiToken]:
        return (
            cls.objects.select_related("user")
            .filter(revoked_at=None, tenant__active=True)
            .filter(Q(expires_at=None) | Q(expires_at__gt=Now()))
            .filter(Q(user=None) | Q(user__is_active=True))
        )

    def note_use(self) -> None:
        """Remember the time, to the minute: a row for every call would be a hot spot."""
        minute_ago = Now() - timedelta(minutes=1)
        ApiToken.objects.filter(
            Q(last_used_at=None) | Q(last_used_at__lt=minute_ago), pk=self.pk
        ).update(last_used_at=Now())

    def revoke(self) -> None:
        """Refuse this token from now on."""
        ApiToken.objects.filter(pk=self.pk, revoked_at=None).update(revoked_at=Now())
        self.refresh_from_db(fields=["revoked_at"])

    def allowed(self) -> frozenset[str]:
        """What this token may do: its scopes, and no more than its person or customer may."""
        granted = frozenset(self.scopes)
        if self.user is not None:
            granted &= self.user.scopes()
        return granted if self.own_customer() is None else granted & scopes.CUSTOMER

    def own_customer(self) -> str | None:
        """The only customer this token reaches, or None for all of the tenant's.

        A person's token never reaches further than the person.
        """
        of_person = None if self.user is None else self.user.own_customer()
        return (self.customer_id or None) if of_person is None else of_person
