"""What templates of every page use without loading it: icons, money, the chosen theme."""

from __future__ import annotations

from django import template
from django.http import HttpRequest
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()

ICONS = "web/vendor/lucide-1.62.0.svg"
SIGNS = {"USD": "$", "EUR": "€", "GBP": "£"}
THEMES = {"light", "dark"}


@register.simple_tag
def icon(name: str, extra: str = "") -> SafeString:
    """A picture that says nothing to screen readers: the text beside it does."""
    return format_html(
        '<svg class="icon {}" aria-hidden="true" focusable="false"><use href="{}#{}"></use></svg>',
        extra,
        static(ICONS),
        name,
    )


@register.filter
def money(amount: int, currency: str) -> str:
    """Minor units as people write them: $1,299.00, or 1,299.00 SEK."""
    sign = SIGNS.get(currency)
    text = f"{abs(amount) / 100:,.2f}" if abs(amount) < 2**50 else f"{abs(amount) // 100:,}"
    minus = "-" if amount < 0 else ""
    return f"{minus}{sign}{text}" if sign else f"{minus}{text} {currency}"


@register.simple_tag(takes_context=True)
def theme(context: template.Context) -> str:
    """The theme that this visitor chose, or nothing: then their system's."""
    request: HttpRequest | None = context.get("request")
    chosen = request.COOKIES.get("theme", "") if request else ""
    return chosen if chosen in THEMES else ""
