"""What the services' pages in the admin share.

They read, and they act by commands: nothing here saves a row. Who is not a superuser sees the rows
of their own tenant. To read takes Django's view permission or the scope that the API asks for; an
action takes the scope of its command. A service's `admin.py` is written like this:

    @admin.register(StockItem)
    class StockItemAdmin(ReadOnlyAdmin):
        reads = "inventory:read"
        actions = ("restock",)

        @commands("Restock", scope="inventory:write", form=RestockForm)
        def restock(self, item: StockItem, quantity: int) -> Message:
            return RestockInventory(product_id=item.product_id, quantity=quantity)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.core.exceptions import FieldDoesNotExist
from django.db.models import DateTimeField, JSONField, Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.text import capfirst
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import DropdownFilter
from unfold.paginator import InfinitePaginator

from .acting import commands
from .columns import instant, labelled, money, structured
from .links import links

__all__ = [
    "OwnRowsAdmin",
    "ReadOnlyAdmin",
    "commands",
    "dropdown",
    "labelled",
    "money",
    "structured",
]

Show = str | Callable[[Any], object]


def dropdown(
    field: str, choices: Callable[[type[Model]], Iterable[str]] | Iterable[str]
) -> type[DropdownFilter]:
    """A filter by values that the code knows: asking a big table for its values reads it all."""

    class Filter(DropdownFilter):  # type: ignore[misc]
        title = field.replace("_", " ")
        parameter_name = field

        def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> list[tuple[str, str]]:
            values = choices(model_admin.model) if callable(choices) else choices
            return [(value, value) for value in values]

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
            return queryset.filter(**{field: self.value()}) if self.value() else queryset

    return Filter


def tenants() -> list[str]:
    """All tenants. The users' model knows them, as the kernel does not."""
    tenant: Any = get_user_model()._meta.get_field("tenant").related_model
    return list(tenant._default_manager.order_by("pk").values_list("pk", flat=True))


class OwnRowsAdmin(ModelAdmin):  # type: ignore[misc]
    """Rows of one's own tenant; of all tenants for superusers, and only those without a tenant."""

    @property
    def by_tenant(self) -> bool:
        """Whether each of these rows belongs to a tenant."""
        return _has_field(self.model, "tenant")

    def has_view_permission(self, request: HttpRequest, obj: object = None) -> bool:
        may_see = self.by_tenant or request.user.is_superuser
        return may_see and super().has_view_permission(request, obj)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request)
        if request.user.is_superuser:
            return rows
        if not self.by_tenant:
            return rows.none()
        return rows.filter(tenant=request.user.tenant_id)  # type: ignore[union-attr]

    def get_list_filter(self, request: HttpRequest) -> list[Any]:
        filters = list(super().get_list_filter(request))
        if request.user.is_superuser and self.by_tenant:
            filters.append(dropdown("tenant", lambda _: tenants()))
        return filters


class ReadOnlyAdmin(OwnRowsAdmin):
    """Rows to look at, and to act upon by commands.

    Lists are read along an index and never counted. `search_fields` are compared as a whole, so
    that an index answers; a name may still be searched by a part of it with `name__icontains`.
    """

    reads: ClassVar[str] = "operations"
    """The scope that may read, besides Django's view permission."""
    shown_as: ClassVar[Mapping[str, Show]] = {}
    """What a row's own page shows in place of a column."""
    kept_back: ClassVar[frozenset[str]] = frozenset({"personal"})
    """Columns for superusers alone."""
    icon: ClassVar[str] = "table_rows"

    list_display: Any
    list_filter: Any = ()
    ordering: Any = ("-pk",)
    sortable_by: Any = ()
    actions: Any = ()
    list_per_page = 50
    list_filter_submit = True
    list_disable_select_all = True
    list_fullwidth = True
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = InfinitePaginator
    change_form_outer_before_template = "backoffice/about.html"

    def has_view_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return allowed(request, self.reads) or super().has_view_permission(request, obj)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        found: dict[str, Any] = super().get_actions(request)
        return {
            name: action
            for name, action in found.items()
            if (scope := getattr(action[0], "scope", None)) and allowed(request, scope)
        }

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        names = [field.name for field in self.opts.concrete_fields if field.name != "id"]
        if not request.user.is_superuser:
            names = [name for name in names if name not in self.kept_back]
        return [self._shown(name) for name in names]

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Refuse to filter by what is kept back: the length of a list would tell it."""
        if lookup.partition("__")[0] in self.kept_back and not request.user.is_superuser:
            return False
        return bool(super().lookup_allowed(lookup, value, request))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        return self.get_fields(request, obj)

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return [
            name if callable(name) or name in self.shown_as else self._shown(name)
            for name in super().get_list_display(request)
        ]

    def _shown(self, name: str) -> Show:
        if name in self.shown_as:
            return self.shown_as[name]
        match self.opts.get_field(name) if _has_field(self.model, name) else None:
            case DateTimeField():
                return instant(name)
            case JSONField():
                return structured(name)
        return name

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        if search_term and self.by_tenant and request.user.is_superuser:
            # The indexes begin with the tenant.
            queryset = queryset.filter(tenant__in=tenants())
        found: tuple[QuerySet[Any], bool] = super().get_search_results(
            request, queryset, search_term
        )
        return found

    def get_search_fields(self, request: HttpRequest) -> list[str]:
        return [
            field if "__" in field else f"{field}__exact"
            for field in super().get_search_fields(request)
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        title = {"title": capfirst(str(self.opts.verbose_name_plural))}
        page: HttpResponse = super().changelist_view(request, title | (extra_context or {}))
        return page

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        about = {
            "show_history": False,  # its messages are its history
            "links": links(row, request) if row else [],
            "row_actions": [
                (name, description) for _, name, description in self.get_actions(request).values()
            ],
        }
        page: HttpResponse = super().change_view(
            request, object_id, form_url, about | (extra_context or {})
        )
        return page


def allowed(request: HttpRequest, scope: str) -> bool:
    """Whether a member of staff has a scope."""
    user: Any = request.user
    return user.is_active and user.is_staff and scope in user.scopes()


def _has_field(model: type[Model], name: str) -> bool:
    try:
        model._meta.get_field(name)
    except FieldDoesNotExist:
        return False
    return True
