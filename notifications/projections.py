"""What notifications keeps of other services, and each tenant's own texts."""

from __future__ import annotations

import msgspec

from customers.contracts import ContactSaved, NoticesChosen
from ecommerce.messaging.context import Context
from ecommerce.messaging.registry import projects

from .contracts import TemplateSaved
from .models import Contact, Template


@projects
def keep_contact(event: ContactSaved, contact: Contact | None, context: Context) -> Contact:
    """Keep how a customer can be reached."""
    contact = contact or Contact(tenant=context.tenant, customer_id=event.customer_id)
    contact.name = event.name
    contact.email = event.email
    contact.phone = event.phone
    return contact


@projects
def keep_choice(event: NoticesChosen, contact: Contact | None, context: Context) -> Contact:
    """Keep what a customer does not want to be told, and when no text messages may come."""
    contact = contact or Contact(tenant=context.tenant, customer_id=event.customer_id)
    contact.unwanted = list(event.unwanted)
    contact.quiet = msgspec.to_builtins(event.quiet)
    return contact


@projects
def keep_template(event: TemplateSaved, template: Template | None, context: Context) -> Template:
    """Keep a tenant's own texts."""
    template = template or Template(tenant=context.tenant, template_id=event.template_id)
    template.subject = event.subject
    template.text = event.text
    template.html = event.html
    return template
