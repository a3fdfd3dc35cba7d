"""What people write into the shop's forms."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.contrib.auth import password_validation
from django.contrib.auth.forms import AuthenticationForm

from ecommerce.identity.models import User
from ecommerce.values import Address

from .contracts import ChooseNotices, Notice, QuietHours, SaveContact
from .handlers import MOST_OF_A_PRODUCT
from .models import Customer

CARDS = [
    ("card_approved", "Harbor Visa •••• 4242", "Pays at once"),
    ("card_slow", "Slow Coast Debit •••• 0707", "Pays after a moment"),
    ("card_error", "Foggy Bank •••• 0503", "Fails twice, then pays"),
    ("card_answer_lost", "Lost Letter Credit •••• 0404", "Pays, but its first answer is lost"),
    ("card_declined", "Empty Purse •••• 0002", "Is declined"),
    ("card_unavailable", "Closed Counter •••• 0911", "Is never there; the order is given up"),
    ("card_timeout", "Silent Bank •••• 0408", "Never answers; the order is given up"),
]
"""Test cards: token, name, and what happens. The simulated gateway knows the tokens."""


class _Styled(forms.Form):
    """Fields that look like ours."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.widget.attrs.setdefault("class", "input")


def _line(label: str, autocomplete: str, most: int, **options: Any) -> forms.CharField:
    widget = forms.TextInput(attrs={"autocomplete": autocomplete})
    return forms.CharField(label=label, max_length=most, widget=widget, **options)


class QuantityForm(forms.Form):
    """So many of a product."""

    product = forms.CharField(max_length=80)
    quantity = forms.IntegerField(min_value=0, max_value=MOST_OF_A_PRODUCT)


class ContactForm(_Styled):
    """Who somebody is, and where their parcels go."""

    name = _line("Full name", "name", 200)
    email = forms.EmailField(
        label="E-mail",
        max_length=200,
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
        help_text="Where the confirmation goes.",
    )
    phone = forms.CharField(
        label="Phone",
        max_length=40,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "tel", "type": "tel"}),
        help_text="For word from the carrier.",
    )
    street = _line("Street and number", "address-line1", 200)
    zip_code = _line("Postal code", "postal-code", 20)
    city = _line("City", "address-level2", 200)
    state = _line("State or region", "address-level1", 100, required=False)
    country = _line("Country", "country-name", 60, min_length=2, initial="US")

    @classmethod
    def known(cls, customer: Customer | None) -> dict[str, Any]:
        """What we know of them already."""
        if customer is None:
            return {}
        contact = {"name": customer.name, "email": customer.email, "phone": customer.phone}
        return {
            name: value for name, value in (contact | (customer.address or {})).items() if value
        }

    def given(self) -> dict[str, Any]:
        """What was written, in the form of `known`."""
        fields = ContactForm.base_fields
        return {
            name: value for name, value in self.cleaned_data.items() if value and name in fields
        }

    def address(self) -> Address:
        """The address that was given."""
        given = self.cleaned_data
        return Address(
            street=given["street"],
            city=given["city"],
            state=given["state"],
            zip_code=given["zip_code"],
            country=given["country"],
        )

    def command(self, customer_id: str) -> SaveContact:
        """The command that saves it."""
        given = self.cleaned_data
        return SaveContact(
            customer_id=customer_id,
            name=given["name"],
            email=given["email"],
            phone=given["phone"],
            address=self.address(),
        )


NOTICES = [
    ("payment_receipt.email", "Receipts", "By e-mail, when your payment has arrived."),
    ("shipment.sms", "Parcels", "By text message, with the tracking number."),
]
"""What a customer may do without: its name in messages, and what it is called and says here."""
HOURS = [("", "Never")] + [(str(hour), f"{hour:02}:00") for hour in range(24)]


class NoticesForm(_Styled):
    """What somebody wants to be told, and when no text messages may come."""

    wanted = forms.MultipleChoiceField(
        choices=[(notice, name) for notice, name, _ in NOTICES], required=False
    )
    quiet_from = forms.ChoiceField(label="Quiet from", choices=HOURS, required=False)
    quiet_until = forms.ChoiceField(label="Until", choices=HOURS, required=False)

    @classmethod
    def known(cls, customer: Customer) -> dict[str, Any]:
        """What they chose before."""
        quiet = customer.quiet or {"begin": "", "end": ""}
        return {
            "wanted": [notice for notice, _, _ in NOTICES if notice not in customer.unwanted],
            "quiet_from": str(quiet["begin"]),
            "quiet_until": str(quiet["end"]),
        }

    @property
    def notices(self) -> list[tuple[str, str, str, bool]]:
        """Each that may be done without, and whether it is wanted."""
        wanted = self["wanted"].value() or []
        return [(*notice, notice[0] in wanted) for notice in NOTICES]

    def clean(self) -> dict[str, Any]:
        """Refuse hours that do not begin or do not end."""
        given = super().clean() or self.cleaned_data
        begin, end = given.get("quiet_from"), given.get("quiet_until")
        if bool(begin) != bool(end) or (begin and begin == end):
            self.add_error("quiet_until", "Choose two different hours, or never for both.")
        return given

    def command(self, customer_id: str, zone: str) -> ChooseNotices:
        """The command that saves it; the hours are those of a time zone."""
        given = self.cleaned_data
        quiet = None
        if given["quiet_from"]:
            quiet = QuietHours(int(given["quiet_from"]), int(given["quiet_until"]), zone)
        unwanted = tuple(
            cast(Notice, notice) for notice, _, _ in NOTICES if notice not in given["wanted"]
        )
        return ChooseNotices(customer_id=customer_id, unwanted=unwanted, quiet=quiet)


class CheckoutForm(ContactForm):
    """An order. `token` is the same for every click on one form; `total` is what was shown."""

    card = forms.ChoiceField(
        choices=[(token, name) for token, name, _ in CARDS], initial="card_approved"
    )
    token = forms.UUIDField(widget=forms.HiddenInput)
    total = forms.IntegerField(widget=forms.HiddenInput, min_value=0)


class SignInForm(AuthenticationForm):
    """E-mail and password."""

    username = forms.CharField(
        label="E-mail or user name",
        widget=forms.TextInput(
            attrs={"class": "input", "autocomplete": "username", "autocapitalize": "none"}
        ),
    )
    password = forms.CharField(
        label="Password",
        strip=False,
        widget=forms.PasswordInput(attrs={"class": "input", "autocomplete": "current-password"}),
    )


class SignUpForm(_Styled):
    """A new account."""

    name = _line("Full name", "name", 200)
    email = forms.EmailField(
        label="E-mail",
        max_length=200,
        widget=forms.EmailInput(attrs={"autocomplete": "username"}),
        help_text="You sign in with it.",
    )
    password = forms.CharField(
        label="Password",
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="Eight characters or more; not only digits, and not one of the common ones.",
    )

    def clean_email(self) -> str:
        """Refuse an address that somebody signs in with."""
        email: str = self.cleaned_data["email"]
        if User.objects.filter(email__iexact=email, email_login=True).exists():
            raise forms.ValidationError("There is an account with this address. Sign in instead.")
        return email

    def clean(self) -> dict[str, Any]:
        """Refuse a password that is easy to guess."""
        given = super().clean() or self.cleaned_data
        if "password" in given:
            person = User(email=given.get("email", ""), first_name=given.get("name", ""))
            try:
                password_validation.validate_password(given["password"], person)
            except forms.ValidationError as error:
                self.add_error("password", error)
        return given
