"""DJANGO_SETTINGS_MODULE=tests.miswired.settings: two handlers too many, and no policies."""

from ecommerce.settings import *  # noqa: F403
from ecommerce.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.miswired.apps.Miswired"]
MESSAGING_POLICIES = "tests.miswired.POLICIES"
