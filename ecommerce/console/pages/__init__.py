"""The operations console: what happens in the shop, and the means to mend it.

For callers with the scope `operations`; in development for everyone on this machine.
"""

from __future__ import annotations

from django.conf import settings
from django.urls import path

from . import (
    auditor,
    letter,
    letters,
    mailbox,
    messages,
    order,
    orders,
    overview,
    read_models,
    timers,
    workers,
)

urlpatterns = [
    path("console/", overview.overview, name="console"),
    path("console/workers", workers.workers, name="console-workers"),
    path("console/timers", timers.timers, name="console-timers"),
    path("console/messages", messages.search, name="console-messages"),
    path("console/messages/<service>/<message_id>", messages.message, name="console-message"),
    path("console/mailbox", mailbox.mailbox, name="console-mailbox"),
    path("console/mailbox/<notification_id>", mailbox.mail, name="console-mail"),
    path("console/mailbox/<notification_id>/body", mailbox.body, name="console-mail-body"),
    path("console/orders", orders.orders, name="console-orders"),
    path("console/orders/<order_id>", order.order, name="console-order"),
    path("console/read-models", read_models.index, name="console-read-models"),
    path("console/read-models/rebuild", read_models.rebuild, name="console-rebuild"),
    path("console/read-models/cancel", read_models.cancel, name="console-rebuild-cancel"),
    path("console/letters", letters.letters, name="console-letters"),
    path("console/letters/confirm", letters.confirm, name="console-letters-confirm"),
    path("console/letters/decide", letters.decide_about, name="console-letters-decide"),
    path("console/letters/<service>/<uuid:letter_id>", letter.letter, name="console-letter"),
    path(
        "console/letters/<service>/<uuid:letter_id>/try",
        letter.rehearse,
        name="console-letter-try",
    ),
    path(
        "console/letters/<service>/<uuid:letter_id>/edit", letter.edit, name="console-letter-edit"
    ),
    path(
        "console/letters/<service>/<uuid:letter_id>/<decision>",
        letter.decide_about_one,
        name="console-letter-decide",
    ),
    path("console/auditor", auditor.auditor, name="console-auditor"),
    path("console/auditor/ask", auditor.ask, name="console-audit"),
]
if not settings.PRODUCTION:
    from . import chaos, demo

    urlpatterns += [
        path("console/chaos", chaos.panel, name="console-chaos"),
        path("console/chaos/audit", chaos.audit, name="console-chaos-audit"),
        path("console/chaos/<action>", chaos.act, name="console-chaos-act"),
        path("console/demo", demo.demo, name="console-demo"),
        path("console/demo/start", demo.start, name="console-demo-start"),
        path("console/demo/stop", demo.stop, name="console-demo-stop"),
    ]
