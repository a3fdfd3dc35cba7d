"""How customers become known: by their first order as a guest, or by saving their contacts."""

from __future__ import annotations

from ecommerce.messaging.context import Context
from ecommerce.messaging.errors import Invalid
from ecommerce.messaging.messages import Message
from ecommerce.messaging.models import Row
from ecommerce.messaging.registry import handles
from orders.contracts import OrderCreated

from .contracts import ContactSaved, CustomerRegistered, SaveContact
from .models import Customer


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
