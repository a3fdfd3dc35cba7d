"""Notifications and the mailbox in the admin, to read; and a tenant's own texts, to edit."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from ecommerce.messaging.backoffice import OwnRowsAdmin, ReadOnlyAdmin, dropdown, labelled
from ecommerce.messaging.bus import execute
from ecommerce.messaging.errors import Invalid

from .contracts import SaveTemplate
from .handlers import save_template
from .models import CHANNELS, PARTS, TEMPLATES, Contact, Mail, MailFault, Notification, Template


@admin.register(Notification)
class NotificationAdmin(ReadOnlyAdmin):
    reads = "orders:read"
    icon = "notifications"
    list_display = (
        "order_id",
        "notification_type",
        "channel",
        "recipient",
        labelled("status"),
        "sent_at",
        "error",
        "tenant",
    )
    list_filter = (
        "status",
        dropdown("notification_type", CHANNELS),
        dropdown("channel", PARTS),
        "sent_at",
    )
    search_fields = ("order_id",)
    search_help_text = "A whole order id."


@admin.register(Contact)
class ContactAdmin(ReadOnlyAdmin):
    reads = "customers:read"
    icon = "contact_mail"
    list_display = ("customer_id", "name", "email", "phone", "tenant")
    search_fields = ("customer_id",)
    search_help_text = "A whole customer id."


@admin.register(Mail)
class MailAdmin(ReadOnlyAdmin):
    """The simulated mailbox, of all tenants."""

    icon = "science"
    list_display = ("created_at", "channel", "recipient", "subject", "key")
    list_filter = (dropdown("channel", PARTS), "created_at")
    search_fields = ("key",)
    search_help_text = "A whole key."


@admin.register(MailFault)
class MailFaultAdmin(ReadOnlyAdmin):
    icon = "bug_report"
    list_display = ("key", "times")
    search_fields = ("key",)


PART_HELP = (
    "Empty for the shipped text. Otherwise a Jinja2 template, such as: "
    'Hello{% if name %} {{ name }}{% endif %}, you paid {{ amount }} on {{ paid_at|date("j F Y") }}. '
    "An unknown value is answered with those that there are."
)


class TemplateForm(forms.ModelForm):  # type: ignore[type-arg]
    """A tenant's texts, checked as the command that saves them checks them."""

    template_id = forms.ChoiceField(
        label="Notification",
        choices=[(name, name) for name in TEMPLATES],
        widget=UnfoldAdminSelectWidget,
    )
    subject = forms.CharField(required=False, help_text=PART_HELP, widget=UnfoldAdminTextareaWidget)
    text = forms.CharField(required=False, help_text=PART_HELP, widget=UnfoldAdminTextareaWidget)
    html = forms.CharField(
        required=False, label="HTML", help_text=PART_HELP, widget=UnfoldAdminTextareaWidget
    )

    class Meta:
        model = Template
        fields = ("template_id", "subject", "text", "html")

    def command(self) -> SaveTemplate:
        """What the form asks for."""
        # A template that exists is not renamed: the field is not in its form then.
        fields = {"template_id": self.instance.template_id} | self.cleaned_data
        return SaveTemplate(**fields)

    def clean(self) -> None:
        super().clean()
        if self.errors:
            return
        try:
            save_template(self.command())
        except Invalid as refusal:
            self.add_error(refusal.field, refusal.detail)


@admin.register(Template)
class TemplateAdmin(OwnRowsAdmin):
    icon = "draft"
    form = TemplateForm
    list_display = ("template_id", "subject", "tenant")
    list_filter = (dropdown("template_id", TEMPLATES),)
    list_filter_submit = True
    ordering = ("tenant", "template_id")

    def get_readonly_fields(self, request: HttpRequest, obj: Template | None = None) -> Any:
        return ("template_id",) if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False  # empty texts bring the shipped ones back

    def save_model(
        self, request: HttpRequest, obj: Template, form: TemplateForm, change: object
    ) -> None:
        """Save by the command, so that who changed which text when is on record."""
        execute(
            form.command(),
            tenant=obj.tenant or str(request.user.tenant_id),  # type: ignore[union-attr]
            actor=f"user:{request.user.pk}",
        )
        messages.success(request, "The texts are saved and in force within a few seconds.")

    # The projection makes the row: Django's own messages would link to one that never exists.
    def response_add(
        self, request: HttpRequest, obj: Template, post_url_continue: str | None = None
    ) -> HttpResponse:
        response: HttpResponse = self.response_post_save_add(request, obj)
        return response

    def response_change(self, request: HttpRequest, obj: Template) -> HttpResponse:
        response: HttpResponse = self.response_post_save_change(request, obj)
        return response
