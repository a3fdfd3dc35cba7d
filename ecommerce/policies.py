"""What this shop decides about its messages: see `messaging.policies`. The first that fits decides.

Tags stand on the contracts: `money` on calls to the payment gateway, `mail` on what goes to the
customers' mailboxes and phones.
"""

from ecommerce.messaging.policies import Policy, worth
from ecommerce.values import Money

LARGE = worth(Money(1_000_00, "USD"), Money(1_000_00, "EUR"), Money(1_000_00, "GBP"))

POLICIES = [
    # Four minutes of patience instead of fourteen seconds, well within what stock is held for.
    Policy(
        name="large-payments",
        tags={"money"},
        where=LARGE,
        retry=(2, 4, 8, 15, 30, 60, 120),
    ),
    # Mail servers take few connections of one sender; the mailbox of development takes any number.
    # Nothing waits for a mail, so its workers may be kept apart from those that move money.
    Policy(name="mail", environments={"production"}, tags={"mail"}, concurrency=8, topic="mail"),
]
