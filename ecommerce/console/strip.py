"""How the shop fares while it is disturbed: orders that come in and end, and what the auditor says."""

from __future__ import annotations

from dataclasses import dataclass

from orders.queries import traffic

from . import auditing, crowds
from .models import DONE, FAILED, Audit, Crowd


@dataclass(frozen=True)
class Strip:
    """One shop, now."""

    placed: int
    under_way: int
    crowd: Crowd | None
    audit: Audit | None

    @property
    def texts(self) -> dict[str, str]:
        """What the page says, by where it says it."""
        texts = {"placed": f"{self.placed:,}", "open": f"{self.under_way:,}"}
        if self.crowd:
            texts |= {
                "crowd.placed": f"{self.crowd.placed:,}",
                "crowd.ended": f"{self.crowd.ended:,}",
                "crowd.unmeant": f"{self.crowd.unmeant:,}",
            }
        return texts | {"verdict": self.verdict[0]}

    @property
    def digest(self) -> str:
        """The same as long as nothing but texts changes."""
        crowd = self.crowd
        return f"{crowd.pk} {crowd.state} {crowd.stopping}" if crowd else ""

    @property
    def verdict(self) -> tuple[str, str]:
        """What the newest audit says, and its tone."""
        audit = self.audit
        if audit is None:
            return "Not asked yet", "plain"
        if audit.state == FAILED:
            return "Not finished", "warn"
        if audit.state != DONE:
            return f"{audit.asked} of {audit.total} asked" if audit.total else "Waiting", "info"
        if audit.wrong:
            return f"{audit.wrong} of {audit.total} are broken", "bad"
        return f"All {audit.total} hold", "good"


def strip(tenant: str) -> Strip:
    """A shop's strip. To be called while acting for that tenant."""
    (found,) = traffic([tenant])
    audit = next(iter(auditing.newest(tenant, 1)), None)
    return Strip(found.placed, found.under_way, crowds.newest(tenant), audit)
