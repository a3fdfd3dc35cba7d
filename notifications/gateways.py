"""The providers that carry notifications, one for each channel.

    ProviderError
    ├── ProviderRefused       never deliverable; the text says why
    └── ProviderUnavailable   no answer, or a passing fault: send again with the same key

The settings NOTIFICATION_EMAIL_PROVIDER and NOTIFICATION_SMS_PROVIDER name the adapters.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from smtplib import SMTPException, SMTPRecipientsRefused, SMTPResponseException
from typing import NamedTuple, Protocol

import psycopg
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMultiAlternatives, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.db import router
from django.db.models import F

from ecommerce.messaging.database import connection

from .contracts import Channel
from .models import Mail, MailFault

TIMEOUT = 8
"""Seconds to wait for a mail server: less than a worker's claim to an effect lasts."""
PATIENCE = 3
"""Seconds for which further mails are sent over one connection."""


class ProviderError(Exception):
    """Base of what a provider may answer besides a result."""


class ProviderRefused(ProviderError):
    """The provider will never deliver this."""


class ProviderUnavailable(ProviderError):
    """The provider did not answer, or asks to try later; it may have delivered."""


class Posting(NamedTuple):
    """What a provider is to deliver, once for its key."""

    key: str
    recipient: str
    subject: str
    text: str
    html: str


Answer = str | ProviderError
"""The provider's id for a posting, or why it was not delivered."""


class Provider(Protocol):
    """A provider's interface."""

    def send(self, postings: Sequence[Posting]) -> list[Answer]:
        """Deliver each of them. Returns an answer for each."""
        ...


def provider(channel: Channel) -> Provider:
    """The provider of a channel.

    Raises ImproperlyConfigured when its setting names no adapter.
    """
    setting = f"NOTIFICATION_{channel.upper()}_PROVIDER"
    name = getattr(settings, setting)
    adapters = ADAPTERS[channel]
    if name not in adapters:
        raise ImproperlyConfigured(
            f"{setting} is {name!r}. Use one of: {', '.join(sorted(adapters))}."
        )
    return adapters[name](channel)


_KEEP = """
    INSERT INTO notifications_mail (channel, key, recipient, subject, text, html)
    SELECT %b::text, unnest(%b::text[]), unnest(%b::text[]), unnest(%b::text[]), unnest(%b::text[]),
        unnest(%b::text[])
    ON CONFLICT (key) DO UPDATE SET key = excluded.key RETURNING key, id
"""


class Mailbox:
    """Keeps what it is given in a table, to be read in the console.

    It misbehaves as the recipient asks for: `bounce@…` is refused, `flaky@…` fails twice and then
    works, `down@…` never answers.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    def send(self, postings: Sequence[Posting]) -> list[Answer]:
        faults = [_fault(posting) for posting in postings]
        # Sorted, those that put in the same keys at the same time wait for each other in turn.
        taken = sorted(
            {p.key: p for p, fault in zip(postings, faults, strict=True) if not fault}.items()
        )
        try:
            kept = self._keep([posting for _, posting in taken]) if taken else {}
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            return [fault or ProviderUnavailable(str(error)) for fault in faults]
        return [
            fault or f"mailbox-{kept[posting.key]}"
            for posting, fault in zip(postings, faults, strict=True)
        ]

    def _keep(self, postings: Sequence[Posting]) -> dict[str, int]:
        """Put them into the table, once for each key, in one statement; return their rows' ids."""
        columns = [list(column) for column in zip(*postings, strict=True)]
        with connection(router.db_for_write(Mail)) as box:
            return dict(box.execute(_KEEP, (self.channel, *columns)).fetchall())


def _fault(posting: Posting) -> ProviderError | None:
    match posting.recipient.partition("@")[0]:
        case "bounce":
            return ProviderRefused("The mailbox refused the recipient: no such address.")
        case "down":
            return ProviderUnavailable("The mailbox did not answer in time.")
        case "flaky" if _happened(posting.key) <= 2:
            return ProviderUnavailable("The mailbox answered 503 Service Unavailable.")
    return None


class DjangoMail:
    """Sends through Django's mail backend, over one connection.

    SMTP knows no idempotency: a repeated message carries the same Message-ID, by which mail
    servers and clients drop the copy.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    def send(self, postings: Sequence[Posting]) -> list[Answer]:
        server = get_connection(timeout=TIMEOUT)
        until = time.monotonic() + PATIENCE
        try:
            server.open()
            return [_sent(posting, server, until) for posting in postings]
        except (SMTPException, OSError) as fault:
            return [ProviderUnavailable(_reason(fault))] * len(postings)
        finally:
            with suppress(SMTPException, OSError):
                server.close()


def _sent(posting: Posting, server: BaseEmailBackend, until: float) -> Answer:
    """Send one, unless it is too late for that."""
    if time.monotonic() > until:
        return ProviderUnavailable("The mail server takes too long for so many.")
    digest = hashlib.blake2b(posting.key.encode(), digest_size=16).hexdigest()
    host = settings.DEFAULT_FROM_EMAIL.rpartition("@")[2].strip(" >")
    message_id = f"<{digest}@{host}>"
    mail = EmailMultiAlternatives(
        posting.subject,
        posting.text,
        to=[posting.recipient],
        headers={"Message-ID": message_id},
        connection=server,
    )
    if posting.html:
        mail.attach_alternative(posting.html, "text/html")
    try:
        mail.send()
    except (SMTPException, OSError) as fault:
        return (ProviderRefused if _final(fault) else ProviderUnavailable)(_reason(fault))
    return message_id


def _final(fault: Exception) -> bool:
    """Whether sending again will not help."""
    if isinstance(fault, SMTPRecipientsRefused):
        return all(code >= 500 for code, _ in fault.recipients.values())
    return isinstance(fault, SMTPResponseException) and 500 <= fault.smtp_code < 600


def _reason(error: Exception) -> str:
    """What the mail server said, without the address, which must not get into logs."""
    if isinstance(error, SMTPRecipientsRefused):
        codes = sorted({code for code, _ in error.recipients.values()})
        return f"The mail server refused the recipient ({', '.join(map(str, codes))})."
    if isinstance(error, SMTPResponseException):
        return f"The mail server answered {error.smtp_code}."
    return f"The mail server did not answer ({type(error).__name__})."


def _happened(key: str) -> int:
    """Count a fault, and tell how often it has happened with this one."""
    MailFault.objects.bulk_create([MailFault(key=key)], ignore_conflicts=True)
    MailFault.objects.filter(key=key).update(times=F("times") + 1)
    return MailFault.objects.get(key=key).times


ADAPTERS: dict[Channel, dict[str, Callable[[Channel], Provider]]] = {
    "email": {"mailbox": Mailbox, "django": DjangoMail},
    "sms": {"mailbox": Mailbox},
}
