"""Loaded by Django under this name: see `ecommerce.embedded`."""

import shutil
from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.db.backends.postgresql import base
from django.db.backends.postgresql.client import DatabaseClient
from django.db.utils import OperationalError

from ecommerce import embedded
from ecommerce.embedded.accounts import find_binaries


class Client(DatabaseClient):
    """`manage.py dbshell`, with the psql that comes with the server if there is no other."""

    def runshell(self, parameters: Iterable[str]) -> None:
        embedded.ensure_running(settings.BASE_DIR)
        if not shutil.which(self.executable_name):
            self.executable_name = str(find_binaries() / "psql")
        super().runshell(parameters)


class DatabaseWrapper(base.DatabaseWrapper):
    client_class = Client

    def get_connection_params(self) -> dict[str, Any]:
        try:
            embedded.ensure_running(settings.BASE_DIR)
        except embedded.EmbeddedServerError as error:
            # What code expects of a database that cannot be reached.
            raise OperationalError(str(error)) from error
        params: dict[str, Any] = super().get_connection_params()
        return params
