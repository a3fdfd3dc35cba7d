"""The platform's settings, but that nothing falls due by itself while a benchmark runs."""

from ecommerce.settings import *  # noqa: F403

DEBUG = False
RESERVATION_MINUTES = 24 * 60
SIMULATED_DELIVERY_SECONDS = 24 * 60 * 60
