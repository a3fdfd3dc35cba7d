"""What others may ask about notifications. Reads only, always within one tenant."""

from __future__ import annotations

from django.db.models import Count, QuerySet

from .models import Mail, Notification


def notifications_of(tenant: str, order_id: str) -> list[Notification]:
    """What a customer was told about an order, oldest first."""
    return list(Notification.objects.filter(tenant=tenant, order_id=order_id).order_by("id"))


def latest_notifications(
    tenant: str, *, status: str | None = None, limit: int = 50
) -> list[Notification]:
    """The newest notifications first, of all statuses or one."""
    chosen = Notification.objects.filter(tenant=tenant)
    if status is not None:
        chosen = chosen.filter(status=status)
    return list(chosen.order_by("-id")[:limit])


def notifications_by_status(tenant: str) -> dict[str, int]:
    """How many notifications there are in each status that occurs."""
    counted = Notification.objects.filter(tenant=tenant).values_list("status")
    return dict(counted.annotate(number=Count("id")).order_by("status"))


def notifications(tenant: str, *, order_id: str = "") -> QuerySet[Notification]:
    """All notifications of a tenant, or those about one order. Their ids grow with time."""
    found = Notification.objects.filter(tenant=tenant)
    return found.filter(order_id=order_id) if order_id else found


def find_notification(tenant: str, notification_id: str) -> Notification | None:
    """The notification with this id."""
    return Notification.objects.filter(tenant=tenant, notification_id=notification_id).first()


def mail(tenant: str, notification_id: str) -> Mail | None:
    """What the mailbox was given for a notification; None when it went elsewhere, or nowhere yet."""
    return Mail.objects.filter(key=f"{tenant}/{notification_id}").first()


def mailbox(tenant: str, *, limit: int = 50) -> list[Mail]:
    """What the mailbox was given to deliver, newest first."""
    return list(Mail.objects.filter(key__startswith=f"{tenant}/").order_by("-id")[:limit])


# The mailbox knows a notification as `tenant/notification_id`.
INVARIANTS: list[tuple[str, str]] = [
    (
        "A notification that the mailbox accepted is in it exactly once.",
        """
        SELECT n.tenant, n.notification_id, count(m.id)
        FROM notifications_notification n
        LEFT JOIN notifications_mail m ON m.key = n.tenant || '/' || n.notification_id
        WHERE n.status = 'Sent' AND n.provider_id LIKE 'mailbox-%'
        GROUP BY n.tenant, n.notification_id
        HAVING count(m.id) <> 1
        """,
    ),
    (
        "The mailbox holds only what was to be sent, to whom it was to be sent.",
        """
        SELECT split_part(m.key, '/', 1) AS tenant, m.key, m.recipient, n.recipient, n.status
        FROM notifications_mail m
        LEFT JOIN notifications_notification n ON m.key = n.tenant || '/' || n.notification_id
        WHERE n.id IS NULL OR n.status NOT IN ('Queued', 'Sent')
           OR m.recipient <> n.recipient OR m.channel <> n.channel
        """,
    ),
]
"""Statements that must return no row, each with what it checks."""
