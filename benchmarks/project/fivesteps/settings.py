"""The platform's settings with one service of five steps in place of its seven."""

from ecommerce.settings import *  # noqa: F403

DEBUG = False
SERVICES = ["fivesteps"]
SERVICE_DATABASES = {"fivesteps": "default"}
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.postgres",
    "ecommerce.messaging",
    "ecommerce.identity",
    "fivesteps",
]
# Made by `migrate --run-syncdb`; the log's trigger and the days of the delivery log by contenders.platform.
MIGRATION_MODULES = {"fivesteps": None}
MESSAGING_POLICIES = "fivesteps.settings.POLICIES"
POLICIES: list[object] = []
ROOT_URLCONF = "fivesteps.settings"
urlpatterns: list[object] = []
