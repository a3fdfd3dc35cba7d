"""What the providers promise, and what notifications makes of their answers."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from smtplib import SMTPDataError, SMTPRecipientsRefused, SMTPServerDisconnected
from typing import Any

import msgspec
import pytest
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMultiAlternatives
from django.core.mail.backends.base import BaseEmailBackend
from django.db import connection
from pytest_django import Settings

from ecommerce.messaging.context import Context
from ecommerce.messaging.errors import Retry
from ecommerce.messaging.registry import Call
from notifications import gateways
from notifications.contracts import RecordNotification, SendNotification
from notifications.gateways import (
    DjangoMail,
    Mailbox,
    Posting,
    Provider,
    ProviderError,
    ProviderRefused,
    ProviderUnavailable,
    provider,
)
from notifications.handlers import send_notification
from notifications.models import Mail, Notification
from notifications.queries import INVARIANTS, mailbox

pytestmark = pytest.mark.django_db(transaction=True)


def posting(recipient: str = "ada@example.com", key: str = "main/n1") -> Posting:
    return Posting(key, recipient, "Thank you", "Paid", "<p>Paid</p>")


def send(to: Provider, recipient: str = "ada@example.com", key: str = "main/n1") -> str:
    """Send one, and raise what comes instead of an answer."""
    (answer,) = to.send([posting(recipient, key)])
    if isinstance(answer, ProviderError):
        raise answer
    return answer


def test_the_mailbox_keeps_what_it_is_given() -> None:
    provider_id = send(Mailbox("email"))

    kept = Mail.objects.get()
    assert provider_id == f"mailbox-{kept.pk}"
    assert (kept.key, kept.channel, kept.recipient) == ("main/n1", "email", "ada@example.com")
    assert (kept.subject, kept.text, kept.html) == ("Thank you", "Paid", "<p>Paid</p>")


def test_the_same_key_is_delivered_once() -> None:
    first = send(Mailbox("email"))

    assert send(Mailbox("email")) == first
    assert Mail.objects.count() == 1


def test_what_goes_wrong_with_one_costs_the_others_nothing() -> None:
    people = ("zoe", "bounce", "ada", "down")

    answers = Mailbox("email").send([posting(f"{name}@example.com", name) for name in people])

    ids = dict(Mail.objects.values_list("key", "pk"))
    assert sorted(ids) == ["ada", "zoe"]
    assert [answers[0], answers[2]] == [f"mailbox-{ids['zoe']}", f"mailbox-{ids['ada']}"]
    assert [type(answers[1]), type(answers[3])] == [ProviderRefused, ProviderUnavailable]


def test_a_key_that_is_given_twice_at_a_time_is_delivered_once() -> None:
    first, again = Mailbox("email").send([posting(), posting()])

    assert first == again
    assert Mail.objects.count() == 1


def test_many_senders_with_one_key_deliver_once() -> None:
    senders = 8
    start = threading.Barrier(senders)
    answers: list[str] = []

    def deliver() -> None:
        start.wait()
        answers.append(send(Mailbox("email")))
        connection.close()

    threads = [threading.Thread(target=deliver) for _ in range(senders)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(answers) == senders
    assert len(set(answers)) == 1
    assert Mail.objects.count() == 1


def test_the_mailbox_refuses_a_bouncing_recipient() -> None:
    with pytest.raises(ProviderRefused, match="no such address"):
        send(Mailbox("email"), "bounce@example.com")

    assert not Mail.objects.exists()


def test_a_flaky_recipient_works_the_third_time() -> None:
    for _ in range(2):
        with pytest.raises(ProviderUnavailable):
            send(Mailbox("email"), "flaky@example.com")
        assert not Mail.objects.exists()

    send(Mailbox("email"), "flaky@example.com")

    assert Mail.objects.count() == 1


def test_a_recipient_that_is_down_never_works() -> None:
    for _ in range(4):
        with pytest.raises(ProviderUnavailable):
            send(Mailbox("email"), "down@example.com")

    assert not Mail.objects.exists()


def test_django_sends_text_and_html_under_an_id_that_stays(settings: Settings) -> None:
    settings.DEFAULT_FROM_EMAIL = "Shop <shop@example.com>"

    first, again = send(DjangoMail("email")), send(DjangoMail("email"))

    assert first == again
    assert first.endswith("@example.com>")
    sent = mail.outbox[0]
    assert isinstance(sent, EmailMultiAlternatives)
    assert (sent.to, sent.subject, sent.body) == (["ada@example.com"], "Thank you", "Paid")
    assert sent.extra_headers == {"Message-ID": first}
    assert [tuple(alternative) for alternative in sent.alternatives] == [
        ("<p>Paid</p>", "text/html")
    ]


class MailServer(socketserver.ThreadingTCPServer):
    """Speaks as much SMTP as it takes: knows no `nobody@…`, and hangs up on `hangup@…`."""

    daemon_threads = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.connections = 0
        self.taken: list[str] = []


class Conversation(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        self.server.connections += 1
        self._say("220 ready")
        recipient = ""
        for line in self.rfile:
            verb, _, rest = line.decode().strip().partition(" ")
            if verb == "rcpt":
                recipient = rest.removeprefix("TO:")
                if recipient.startswith("<hangup"):
                    return
                self._say("550 unknown" if recipient.startswith("<nobody") else "250 ok")
            elif verb == "data":
                self._say("354 go on")
                while self.rfile.readline() != b".\r\n":
                    pass
                self.server.taken.append(recipient)
                self._say("250 taken")
            elif verb == "quit":
                self._say("221 bye")
                return
            else:
                self._say("250 ok")

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


class BrokenBackend(BaseEmailBackend):
    """A mail server that answers with `error`."""

    error: Exception

    def send_messages(self, email_messages: Any) -> int:
        raise self.error


@pytest.mark.parametrize(
    ("error", "expected", "text"),
    [
        (
            SMTPRecipientsRefused({"ada@example.com": (550, b"unknown")}),
            ProviderRefused,
            "The mail server refused the recipient (550).",
        ),
        (
            SMTPRecipientsRefused({"ada@example.com": (451, b"greylisted")}),
            ProviderUnavailable,
            "The mail server refused the recipient (451).",
        ),
        (SMTPDataError(554, b"spam"), ProviderRefused, "The mail server answered 554."),
        (SMTPDataError(452, b"full"), ProviderUnavailable, "The mail server answered 452."),
        (
            SMTPServerDisconnected("ada@example.com"),
            ProviderUnavailable,
            "The mail server did not answer (SMTPServerDisconnected).",
        ),
        (
            TimeoutError("ada@example.com"),
            ProviderUnavailable,
            "The mail server did not answer (TimeoutError).",
        ),
    ],
)
def test_a_mail_servers_faults_are_told_apart_and_name_nobody(
    error: Exception,
    expected: type[Exception],
    text: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.EMAIL_BACKEND = f"{__name__}.BrokenBackend"
    monkeypatch.setattr(BrokenBackend, "error", error, raising=False)

    with pytest.raises(expected) as raised:
        send(DjangoMail("email"))

    assert str(raised.value) == text


@pytest.fixture
def mail_server(settings: Settings) -> Iterator[MailServer]:
    server = MailServer(("localhost", 0), Conversation)
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = server.server_address[:2]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_many_mails_go_over_one_connection(mail_server: MailServer) -> None:
    people = ("ada", "nobody", "ben")

    answers = DjangoMail("email").send([posting(f"{n}@example.com", n) for n in people])

    assert mail_server.connections == 1
    assert mail_server.taken == ["<ada@example.com>", "<ben@example.com>"]
    assert [isinstance(answer, str) for answer in answers] == [True, False, True]
    assert isinstance(answers[1], ProviderRefused)
    assert str(answers[1]) == "The mail server refused the recipient (550)."


def test_a_connection_that_breaks_costs_only_what_was_not_taken(mail_server: MailServer) -> None:
    people = ("ada", "hangup", "ben")

    answers = DjangoMail("email").send([posting(f"{n}@example.com", n) for n in people])

    assert mail_server.taken == ["<ada@example.com>"]
    assert [type(answer) for answer in answers] == [str, ProviderUnavailable, ProviderUnavailable]


def test_what_a_slow_server_leaves_no_time_for_is_sent_later(
    mail_server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateways, "PATIENCE", -1)

    answers = DjangoMail("email").send([posting()])

    assert [str(answer) for answer in answers] == ["The mail server takes too long for so many."]
    assert mail_server.taken == []


def test_a_server_that_is_not_there_is_told_of_every_mail(settings: Settings) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "localhost", 1

    answers = DjangoMail("email").send([posting(key="one"), posting(key="two")])

    assert [type(answer) for answer in answers] == [ProviderUnavailable] * 2


def test_each_channels_provider_is_chosen_by_a_setting(settings: Settings) -> None:
    assert isinstance(provider("email"), Mailbox)
    assert isinstance(provider("sms"), Mailbox)

    settings.NOTIFICATION_EMAIL_PROVIDER = "django"
    assert isinstance(provider("email"), DjangoMail)

    settings.NOTIFICATION_SMS_PROVIDER = "django"
    with pytest.raises(ImproperlyConfigured, match=r"'django'\. Use one of: mailbox"):
        provider("sms")


def order_to_send(recipient: str = "ada@example.com") -> SendNotification:
    return SendNotification(
        order_id="o1",
        customer_id="cust-123",
        notification_id="o1-payment_receipt-email",
        channel="email",
        recipient=recipient,
        subject="Thank you",
        text="Paid",
        html="<p>Paid</p>",
    )


def answered(command: SendNotification, context: Context) -> RecordNotification | Retry:
    (answer,) = send_notification([Call(command, context)])
    return answer


def test_sending_twice_gives_the_same_answer_and_one_mail(context: Context) -> None:
    answer = answered(order_to_send(), context)

    assert answered(order_to_send(), context) == answer
    kept = Mail.objects.get()
    assert kept.key == "main/o1-payment_receipt-email"
    assert answer == RecordNotification(
        order_id="o1",
        notification_id="o1-payment_receipt-email",
        outcome="sent",
        provider_id=f"mailbox-{kept.pk}",
    )


def test_a_refusal_is_an_answer_and_a_passing_fault_is_tried_again(context: Context) -> None:
    assert answered(order_to_send("bounce@example.com"), context) == RecordNotification(
        order_id="o1",
        notification_id="o1-payment_receipt-email",
        outcome="refused",
        error="The mailbox refused the recipient: no such address.",
    )
    assert isinstance(answered(order_to_send("down@example.com"), context), Retry)


def test_each_channel_gets_its_own_and_each_call_its_answer(context: Context) -> None:
    text, mail = (
        msgspec.structs.replace(order_to_send(), channel=channel, notification_id=channel)
        for channel in ("sms", "email")
    )

    answers = send_notification([Call(each, context) for each in (text, mail)])

    ids = dict(Mail.objects.values_list("channel", "pk"))
    assert [answer.provider_id for answer in answers if isinstance(answer, RecordNotification)] == [
        f"mailbox-{ids['sms']}",
        f"mailbox-{ids['email']}",
    ]


def test_a_tenants_mailbox_shows_its_own_mail_only() -> None:
    for key in ("main/n1", "main/n2", "mainly/n1", "m_in/n1"):
        send(Mailbox("email"), key=key)

    assert [kept.key for kept in mailbox("main")] == ["main/n2", "main/n1"]
    assert [kept.key for kept in mailbox("main", limit=1)] == ["main/n2"]
    assert [kept.key for kept in mailbox("m_in")] == ["m_in/n1"]


def offenders() -> list[int]:
    found = []
    with connection.cursor() as cursor:
        for _, sql in INVARIANTS:
            cursor.execute(sql)
            found.append(len(cursor.fetchall()))
    return found


def test_the_invariants_find_what_is_wrong_and_nothing_else(context: Context) -> None:
    answer = answered(order_to_send(), context)
    assert isinstance(answer, RecordNotification)
    row = Notification.objects.create(
        tenant="main",
        notification_id="o1-payment_receipt-email",
        order_id="o1",
        customer_id="cust-123",
        notification_type="payment_receipt",
        channel="email",
        recipient="ada@example.com",
        status="Sent",
        provider_id=answer.provider_id,
        sent_at=context.now,
    )
    assert offenders() == [0, 0]

    Notification.objects.filter(pk=row.pk).update(recipient="eve@example.com")
    assert offenders() == [0, 1]

    Mail.objects.all().delete()
    assert offenders() == [1, 0]
