"""The inventory service over HTTP: the catalogue for everyone, the stock for staff."""

from __future__ import annotations

from django.http import HttpResponse
from ninja import Query

from ecommerce.messaging.bus import Outcome
from ecommerce.messaging.errors import NotFound
from ecommerce.web import ApiRequest, Page, PageOf, Paging, Router, allow, page, public, reads, run

from . import queries
from .contracts import AdjustInventory, RestockInventory
from .models import InventoryLevel, Product, StockItem
from .schemas import (
    Adjustment,
    LevelOut,
    LowStock,
    NewProduct,
    ProductOut,
    Restock,
    StockOut,
)

router = Router(tags=["inventory"])


@router.get("/products", auth=public, response=PageOf[ProductOut])
@reads("inventory")
def list_products(request: ApiRequest, paging: Query[Paging]) -> Page[Product]:
    """The products for sale, newest first."""
    return page(queries.products(request.auth.tenant), paging)


@router.get("/products/{product_id}", auth=public, response=ProductOut)
@reads("inventory")
def get_product(request: ApiRequest, product_id: str) -> Product:
    """One product."""
    product = queries.product(request.auth.tenant, product_id)
    if product is None:
        raise NotFound(f"there is no product {product_id!r}")
    return product


@router.post("/products", auth=allow("inventory:write"), response={201: ProductOut})
def create_product(request: ApiRequest, product: NewProduct) -> HttpResponse:
    """Add a product to the catalogue."""
    location = f"/api/products/{product.product_id}"
    return run(request, product.command(), location=location, body=_created)


@router.get("/inventory", auth=allow("inventory:read"), response=PageOf[LevelOut])
@reads("inventory")
def list_inventory(request: ApiRequest, paging: Query[Paging]) -> Page[InventoryLevel]:
    """The stock of all products, by product id."""
    return page(queries.levels(request.auth.tenant), paging, by="product_id", descending=False)


@router.get("/inventory/low-stock", auth=allow("inventory:read"), response=PageOf[LevelOut])
@reads("inventory")
def list_low_stock(request: ApiRequest, low: Query[LowStock]) -> Page[InventoryLevel]:
    """Products that are running out, the scarcest first."""
    scarce = queries.low_stock(request.auth.tenant, low.threshold)
    return page(scarce, low, by="available", descending=False)


@router.get("/inventory/{product_id}", auth=allow("inventory:read"), response=LevelOut)
@reads("inventory")
def get_inventory(request: ApiRequest, product_id: str) -> InventoryLevel:
    """The stock of one product."""
    level = queries.level(request.auth.tenant, product_id)
    if level is None:
        raise NotFound(f"there is no product {product_id!r}")
    return level


@router.post("/inventory/{product_id}/restock", auth=allow("inventory:write"), response=StockOut)
def restock_product(request: ApiRequest, product_id: str, arrived: Restock) -> HttpResponse:
    """Add units that arrived."""
    command = RestockInventory(product_id=product_id, quantity=arrived.quantity)
    return run(request, command, status=200, body=_stock)


@router.post("/inventory/{product_id}/adjust", auth=allow("inventory:write"), response=StockOut)
def adjust_product(request: ApiRequest, product_id: str, counted: Adjustment) -> HttpResponse:
    """Correct the count, with the reason; never below what orders hold."""
    command = AdjustInventory(product_id=product_id, change=counted.change, reason=counted.reason)
    return run(request, command, status=200, body=_stock)


def _created(outcome: Outcome) -> ProductOut:
    product = ProductOut.model_validate(outcome.row(Product))
    return product.model_copy(update={"available": outcome.row(StockItem).available})


def _stock(outcome: Outcome) -> StockOut:
    return StockOut.of(outcome.row(StockItem))
