"""Tenants, users and tokens in the admin. A token's secret is shown once, when it is made.

Only superusers change any of them: who could give a person another tenant or role would soon have
both. Others with Django's view permission see their own tenant's people and tokens.
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from ecommerce.messaging.backoffice import OwnRowsAdmin

from . import scopes
from .models import ApiToken, Tenant, User

admin.site.unregister(Group)  # what people may do comes from their role


class OwnPeopleAdmin(OwnRowsAdmin):
    """Who may call: one's own tenant's, for superusers to change."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.is_superuser

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return request.user.is_superuser

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return request.user.is_superuser


@admin.register(Tenant)
class TenantAdmin(OwnPeopleAdmin):
    icon = "store"
    list_display = ("slug", "name", "time_zone", "currency", "active")
    list_filter = ("active",)
    search_fields = ("slug", "name")

    def get_readonly_fields(self, request: HttpRequest, obj: Tenant | None = None) -> Any:
        return ("slug",) if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False  # its orders would remain: close it instead


@admin.register(User)
class UserAdmin(DjangoUserAdmin, OwnPeopleAdmin):  # type: ignore[type-arg,misc]
    icon = "person"
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "email", "tenant", "customer_id", "is_staff", "is_active")
    list_filter = ("is_staff", "is_superuser", "is_active")
    search_fields = ("username", "email", "customer_id")
    filter_horizontal = ()
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Person", {"fields": ("first_name", "last_name", "email", "email_login")}),
        ("Access", {"fields": ("tenant", "customer_id", "is_active", "is_staff", "is_superuser")}),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = (
        (None, {"fields": ("username", "tenant", "usable_password", "password1", "password2")}),
    )
    readonly_fields = ("last_login", "date_joined")


class TokenForm(forms.ModelForm):  # type: ignore[type-arg]
    """Scopes as boxes to tick."""

    scopes = forms.MultipleChoiceField(
        choices=[(scope, scope) for scope in sorted(scopes.ALL)],
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )

    class Meta:
        model = ApiToken
        fields = ("name", "tenant", "user", "customer_id", "scopes", "expires_at")


@admin.register(ApiToken)
class ApiTokenAdmin(OwnPeopleAdmin):
    icon = "key"
    form = TokenForm
    list_display = ("name", "prefix", "tenant", "customer_id", "last_used_at", "revoked_at")
    list_filter = (("revoked_at", admin.EmptyFieldListFilter),)
    search_fields = ("name", "prefix", "customer_id")
    readonly_fields = ("prefix", "created_at", "last_used_at", "revoked_at")
    autocomplete_fields = ("user",)
    actions = ("revoke",)

    def get_readonly_fields(self, request: HttpRequest, obj: ApiToken | None = None) -> Any:
        return super().get_readonly_fields(request, obj) if obj else ()

    def save_model(self, request: HttpRequest, obj: ApiToken, form: Any, change: Any) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        made, secret = ApiToken.issue(
            tenant=obj.tenant_id,
            name=obj.name,
            scopes=obj.scopes,
            customer_id=obj.customer_id,
            user=obj.user,
            expires_at=obj.expires_at,
        )
        obj.__dict__.update(made.__dict__)
        self.message_user(
            request, f"Keep this token now; it cannot be shown again: {secret}", messages.WARNING
        )

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False  # revoke it: the row says who called

    @admin.action(description="Revoke")
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        for token in queryset:
            token.revoke()
        self.message_user(request, "Revoked. Programs that use them are refused from now on.")
