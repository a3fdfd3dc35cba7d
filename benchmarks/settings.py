"""The platform's settings, but that nothing falls due by itself while a benchmark runs."""

import os

DAY = 24 * 60 * 60
os.environ.setdefault("RESERVATION_MINUTES", str(DAY // 60))
os.environ.setdefault("SIMULATED_DELIVERY_SECONDS", str(DAY))

from ecommerce.settings import *  # noqa: E402, F403

DEBUG = False
