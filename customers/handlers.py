"""How customers become known, by their first order as a guest or by saving their contacts; and what
is in their carts."""

from __future__ import annotations

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ecommerce.messaging.context import Context
from ecommerce.messaging.errors import Invalid, NotFound
from ecommerce.messaging.messages import Message
from ecommerce.messaging.models import Row
from ecommerce.messaging.registry import Rows, handles
from orders.contracts import OrderCreated

from .contracts import (
    AddToCart,
    CartChanged,
    ChooseNotices,
    ContactSaved,
    CustomerRegistered,
    EmptyCart,
    NoticesChosen,
    QuietHours,
    SaveContact,
    SetQuantity,
)
from .models import Cart, Customer, Product

MOST_OF_A_PRODUCT = 99
MOST_PRODUCTS = 50
"""In one cart."""


@handles
def save_contact(
    command: SaveContact, customer: Customer | None, context: Context
) -> list[Message | Row]:
    """Set how a customer can be reached; a guest is a registered customer from then on.

    Raises Invalid without a name or an e-mail address.
    """
    name, email = command.name.strip(), command.email.strip()
    if not name:
        raise Invalid("Write the customer's name.", field="name")
    if not email:
        raise Invalid("Write the customer's e-mail address.", field="email")
    results: list[Message | Row] = []
    if customer is None:
        customer = Customer(tenant=context.tenant)
        registered = CustomerRegistered(
            customer_id=command.customer_id, guest=False, registered_at=context.now
        )
        results += [customer, customer.record(registered)]
    saved = ContactSaved(
        customer_id=command.customer_id,
        name=name,
        email=email,
        phone=command.phone.strip(),
        address=command.address,
    )
    return [*results, customer.record(saved)]


@handles
def choose_notices(command: ChooseNotices, customer: Customer) -> NoticesChosen:
    """Set what a customer does not want to be told. Raises Invalid for hours that are none."""
    if command.quiet is not None:
        _check_hours(command.quiet)
    chosen = NoticesChosen(
        customer_id=command.customer_id,
        unwanted=tuple(sorted(set(command.unwanted))),
        quiet=command.quiet,
    )
    return customer.record(chosen)


def _check_hours(quiet: QuietHours) -> None:
    if not (0 <= quiet.begin <= 23 and 0 <= quiet.end <= 23) or quiet.begin == quiet.end:
        raise Invalid("Choose two different hours, 0 to 23.", field="quiet")
    try:
        ZoneInfo(quiet.zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise Invalid(f"there is no time zone {quiet.zone!r}", field="quiet") from error


@handles
def register_guest(
    event: OrderCreated, customer: Customer | None, context: Context
) -> list[Message | Row]:
    """Whoever orders becomes known, without contacts: nobody invents those."""
    if customer is not None:
        return []
    customer = Customer(tenant=context.tenant)
    registered = CustomerRegistered(
        customer_id=event.customer_id, guest=True, registered_at=event.created_at
    )
    return [customer, customer.record(registered)]


@handles
def add_to_cart(
    command: AddToCart, cart: Cart | None, products: Rows[Product], context: Context
) -> list[Message | Row]:
    """Put products into a cart; of each it holds MOST_OF_A_PRODUCT at most.

    Raises NotFound for a product that the shop does not show, and Invalid for a quantity below 1
    or when the cart is full.
    """
    known = cart is not None
    cart = cart or Cart(tenant=context.tenant, cart_id=command.cart_id)
    quantities = cart.quantities
    for line in command.lines:
        if line.product_id not in products or products[line.product_id].created_at is None:
            raise NotFound(f"there is no product {line.product_id!r}")
        if line.quantity < 1:
            raise Invalid("must be 1 or more", field="quantity")
        wanted = quantities.get(line.product_id, 0) + line.quantity
        quantities[line.product_id] = min(wanted, MOST_OF_A_PRODUCT)
    if len(quantities) > MOST_PRODUCTS:
        raise Invalid(f"a cart holds {MOST_PRODUCTS} products at most", field="lines")
    changed = cart.holding(quantities)
    return [changed] if known else [cart, changed]


@handles
def set_quantity(command: SetQuantity, cart: Cart) -> CartChanged | None:
    """Have so many of a product that is in the cart; what is not in it stays out.

    Raises Invalid for a quantity that is negative or above MOST_OF_A_PRODUCT.
    """
    if not 0 <= command.quantity <= MOST_OF_A_PRODUCT:
        raise Invalid(f"must be between 0 and {MOST_OF_A_PRODUCT}", field="quantity")
    quantities = cart.quantities
    if quantities.get(command.product_id) in {None, command.quantity}:
        return None
    quantities[command.product_id] = command.quantity
    return cart.holding({product: count for product, count in quantities.items() if count})


@handles
def empty_cart(_: EmptyCart, cart: Cart) -> CartChanged | None:
    """Take everything out, if there is anything."""
    return cart.holding({}) if cart.lines else None
