"""What the dashboard is asked: which days, and which currency."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode

from django import forms

RANGES = {
    "today": ("Today", 1),
    "7d": ("7 days", 7),
    "30d": ("30 days", 30),
    "90d": ("90 days", 90),
}
"""What a range of days up to today is called, and how many it has."""
USUAL = "30d"
FIRST = date(2000, 1, 1)
MOST_DAYS = 366


@dataclass(frozen=True)
class Period:
    """Business days of the shop, both included. `name` is one of RANGES, or nothing."""

    first: date
    last: date
    today: date
    name: str = ""

    @classmethod
    def of(cls, name: str, today: date) -> Period:
        """One of RANGES."""
        _, days = RANGES[name]
        return cls(today - timedelta(days=days - 1), today, today, name)

    @property
    def days(self) -> list[date]:
        count = (self.last - self.first).days + 1
        return [self.first + timedelta(days=number) for number in range(count)]

    @property
    def before(self) -> Period:
        """As many days, just before."""
        length = self.last - self.first + timedelta(days=1)
        return Period(self.first - length, self.last - length, self.today)

    @property
    def is_going_on(self) -> bool:
        return self.first <= self.today <= self.last

    @property
    def is_today(self) -> bool:
        return self.first == self.last == self.today

    def query(self, **more: str) -> str:
        """What stands in an address that shows these days."""
        days = {"range": self.name} if self.name else {"from": self.first, "to": self.last}
        return urlencode(days | more)


class PeriodForm(forms.Form):
    """A range by its name, or the first and the last day."""

    range = forms.ChoiceField(choices=[(name, label) for name, (label, _) in RANGES.items()])

    def __init__(self, asked: Any, today: date) -> None:
        super().__init__(asked if asked.get("range") else {**asked.dict(), "range": USUAL})
        self.today = today
        self.custom = bool(asked.get("from") or asked.get("to"))
        if self.custom:
            del self.fields["range"]
            self.fields["from"] = forms.DateField(label="From")
            self.fields["to"] = forms.DateField(label="To")

    def clean(self) -> None:
        first, last = self.cleaned_data.get("from"), self.cleaned_data.get("to")
        if first is None or last is None:
            return
        if first > last:
            self.add_error("to", f"This is before the first day, {first}.")
        elif (last - first).days >= MOST_DAYS:
            self.add_error("from", f"Choose {MOST_DAYS} days at most.")
        elif first < FIRST or last.year > self.today.year + 1:
            self.add_error("from", f"Choose days from {FIRST} to today.")

    @property
    def period(self) -> Period:
        """What was asked for; the usual days when that makes no sense."""
        if not self.is_valid():
            return Period.of(USUAL, self.today)
        if self.custom:
            return Period(self.cleaned_data["from"], self.cleaned_data["to"], self.today)
        return Period.of(self.cleaned_data["range"], self.today)
