"""The admin's form for a tenant's own texts."""

from __future__ import annotations

from notifications.admin import TemplateForm
from notifications.contracts import SaveTemplate
from notifications.models import Template

TEXTS = {"template_id": "payment_receipt.email", "subject": "Paid", "text": "", "html": ""}


def test_a_forms_texts_become_a_command() -> None:
    form = TemplateForm(TEXTS)

    assert form.is_valid(), form.errors
    assert form.command() == SaveTemplate(template_id="payment_receipt.email", subject="Paid")


def test_a_text_that_cannot_be_rendered_is_shown_at_its_field() -> None:
    form = TemplateForm(TEXTS | {"text": "{% if %}"})

    assert not form.is_valid()
    assert list(form.errors) == ["text"]
    assert "the text of payment_receipt.email cannot be rendered: line 1" in str(form.errors)


def test_a_form_without_the_id_edits_its_own_template() -> None:
    template = Template(tenant="main", template_id="shipment.sms")
    form = TemplateForm({"subject": "", "text": "Sent", "html": ""}, instance=template)
    del form.fields["template_id"]

    assert form.is_valid(), form.errors
    assert form.command() == SaveTemplate(template_id="shipment.sms", text="Sent")


def test_the_help_of_a_text_is_a_template_that_is_taken() -> None:
    shown = TemplateForm().fields["text"].help_text

    form = TemplateForm(TEXTS | {"text": shown})

    assert form.is_valid(), form.errors
