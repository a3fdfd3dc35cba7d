"""The providers that carry notifications, one for each channel.

    ProviderError
    ├── ProviderRefused       never deliverable; the text says why
    └── ProviderUnavailable   no answer, or a passing fault: send again with the same key

The settings NOTIFICATION_EMAIL_PROVIDER and NOTIFICATION_SMS_PROVIDER name the adapters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from smtplib import SMTPException, SMTPRecipientsRefused, SMTPResponseException
from typing import Protocol

import psycopg
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMultiAlternatives, get_connection
from django.db import router
from django.db.models import F

from ecommerce.messaging.database import connection

from .contracts import Channel
from .models import Mail, MailFault

TIMEOUT = 8
"""Seconds to wait for a mail server: less than a worker's claim to an effect lasts."""


class ProviderError(Exception):
    """Base of what a provider may answer besides a result."""


class ProviderRefused(ProviderError):
    """The provider will never deliver this."""


class ProviderUnavailable(ProviderError):
    """The provider did not answer, or asks to try later; it may have delivered."""


class Provider(Protocol):
    """A provider's interface."""

    def send(self, key: str, recipient: str, subject: str, text: str, html: str) -> str:
        """Deliver a notification, once for each key. Returns the provider's id for it.

        Raises ProviderRefused, ProviderUnavailable.
        """
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
    VALUES (%s, %s, %s, %s, %s, %s)
    ON CONFLICT (key) DO UPDATE SET key = excluded.key RETURNING id
"""


class Mailbox:
    """Keeps what it is given in a table, to be read in the console.

    It misbehaves as the recipient asks for: `bounce@…` is refused, `flaky@…` fails twice and then
    works, `down@…` never answers.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    def send(self, key: str, recipient: str, subject: str, text: str, html: str) -> str:
        match recipient.partition("@")[0]:
            case "bounce":
                raise ProviderRefused("The mailbox refused the recipient: no such address.")
            case "down":
                raise ProviderUnavailable("The mailbox did not answer in time.")
            case "flaky" if _happened(key) <= 2:
                raise ProviderUnavailable("The mailbox answered 503 Service Unavailable.")
        return f"mailbox-{self._keep(key, recipient, subject, text, html)}"

    def _keep(self, *mail: str) -> int:
        """Put a mail into the table, once for its key, in one statement; return its row's id."""
        try:
            with connection(router.db_for_write(Mail)) as box:
                (row,) = box.execute(_KEEP, (self.channel, *mail)).fetchone() or (0,)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise ProviderUnavailable(str(error)) from error
        return int(row)


class DjangoMail:
    """Sends through Django's mail backend.

    SMTP knows no idempotency: a repeated message carries the same Message-ID, by which mail
    servers and clients drop the copy.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    def send(self, key: str, recipient: str, subject: str, text: str, html: str) -> str:
        digest = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
        host = settings.DEFAULT_FROM_EMAIL.rpartition("@")[2].strip(" >")
        message_id = f"<{digest}@{host}>"
        mail = EmailMultiAlternatives(
            subject,
            text,
            to=[recipient],
            headers={"Message-ID": message_id},
            connection=get_connection(timeout=TIMEOUT),
        )
        if html:
            mail.attach_alternative(html, "text/html")
        try:
            mail.send()
        except SMTPRecipientsRefused as refusal:
            if any(code < 500 for code, _ in refusal.recipients.values()):
                raise ProviderUnavailable(_reason(refusal)) from refusal
            raise ProviderRefused(_reason(refusal)) from refusal
        except SMTPResponseException as answer:
            if 500 <= answer.smtp_code < 600:
                raise ProviderRefused(_reason(answer)) from answer
            raise ProviderUnavailable(_reason(answer)) from answer
        except (SMTPException, OSError) as fault:
            raise ProviderUnavailable(_reason(fault)) from fault
        return message_id


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
