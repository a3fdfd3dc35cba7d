"""The policies that a test declares instead of the shop's."""

from __future__ import annotations

from collections.abc import Sequence

from ecommerce.messaging.policies import Policy

POLICIES: Sequence[Policy] = ()
PATH = f"{__name__}.POLICIES"
