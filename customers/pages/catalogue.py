"""What the shop sells: the shelves, and one product."""

from __future__ import annotations

from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from customers import queries
from ecommerce.web import live

from .visitor import show, visitor

live.topic("products", service="customers", statement=queries.WATCHED_PRODUCTS)

ON_A_PAGE = 12
SORTS = {
    "name": ("Name", ("name", "product_id")),
    "price": ("Price, low to high", ("price", "name", "product_id")),
    "-price": ("Price, high to low", ("-price", "name", "product_id")),
    "new": ("Newest first", ("-created_at", "name", "product_id")),
}
LIKE_IT = 4


@require_safe
def shelves(request: HttpRequest) -> HttpResponse:
    """The catalogue: searched, by category, sorted, page by page."""
    tenant = visitor(request).tenant
    words, category = _asked(request, "q"), _asked(request, "category")
    available = request.GET.get("available") == "1"
    sort = request.GET.get("sort", "name")
    _, columns = SORTS.get(sort, SORTS["name"])
    found = queries.products(tenant, words=words, category=category, available=available)
    facts = {
        "page": Paginator(found.order_by(*columns), ON_A_PAGE).get_page(request.GET.get("page")),
        "categories": queries.categories(tenant),
        "sorts": [(name, label) for name, (label, _) in SORTS.items()],
        "words": words,
        "category": category,
        "available": available,
        "sort": sort,
    }
    return show(request, "shelves", facts)


@require_safe
def product(request: HttpRequest, product_id: str) -> HttpResponse:
    """One product, how many there are, and what stands beside it."""
    tenant = visitor(request).tenant
    found = queries.product(tenant, product_id)
    if found is None:
        raise Http404(f"there is no product {product_id!r}")
    beside = queries.products(tenant, category=found.category).exclude(pk=found.pk)
    facts = {
        "product": found,
        "beside": beside.order_by("name")[:LIKE_IT],
        "live": live.address("products", tenant, found.product_id),
    }
    return show(request, "product", facts)


def _asked(request: HttpRequest, name: str) -> str:
    """A text of the query. PostgreSQL's text has no NUL."""
    return request.GET.get(name, "").replace("\0", "")[:100]
