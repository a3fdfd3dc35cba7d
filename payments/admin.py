"""Payments in the admin: to read, and to give the money back."""

from __future__ import annotations

from django import forms
from django.contrib import admin
from unfold.widgets import UnfoldAdminTextInputWidget

from ecommerce.messaging.acting import CommandForm
from ecommerce.messaging.backoffice import ReadOnlyAdmin, commands, labelled, money
from ecommerce.messaging.messages import Message

from .contracts import RefundPayment
from .models import Payment, SimulatedCharge, SimulatedTrouble


class RefundForm(CommandForm):
    reason = forms.CharField(max_length=200, widget=UnfoldAdminTextInputWidget)


@admin.register(Payment)
class PaymentAdmin(ReadOnlyAdmin):
    reads = "orders:read"
    icon = "credit_card"
    list_display = (
        "order_id",
        labelled("status"),
        money("amount"),
        "method",
        "code",
        "processed_at",
        "tenant",
    )
    list_filter = ("status", "processed_at")
    search_fields = ("order_id",)
    search_help_text = "A whole order id."
    shown_as = {"amount": money("amount")}
    actions = ("refund",)

    @commands("Void or refund", scope="payments:write", form=RefundForm)
    def refund(self, payment: Payment, reason: str) -> Message:
        return RefundPayment(order_id=payment.order_id, reason=reason)


@admin.register(SimulatedCharge)
class SimulatedChargeAdmin(ReadOnlyAdmin):
    """The simulated gateway's own books, of all tenants."""

    icon = "science"
    list_display = (
        "key",
        labelled("state"),
        money("amount"),
        "method",
        "calls",
        "transaction_id",
    )
    list_filter = ("state",)
    search_fields = ("key", "transaction_id")
    search_help_text = "A whole key or transaction id."
    shown_as = {"amount": money("amount")}
    ordering = ("key",)


@admin.register(SimulatedTrouble)
class SimulatedTroubleAdmin(ReadOnlyAdmin):
    icon = "bolt"
    list_display = ("kind", "until", "calls", "seconds")
    ordering = ("kind",)
