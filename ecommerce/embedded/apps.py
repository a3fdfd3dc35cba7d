"""The app of the embedded server: its database backend and the command `serve`."""

from django.apps import AppConfig


class EmbeddedConfig(AppConfig):
    name = "ecommerce.embedded"
    label = "embedded"
    verbose_name = "Embedded server"
