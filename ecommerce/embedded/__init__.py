"""A PostgreSQL server that comes with the checkout, so that nothing has to be installed to run it.

Used when DATABASE_URL is not set. The data is under `.local/` of the checkout; the server listens
on a unix socket that only its owner may open. Any process that connects starts it, and it stops
when the last such process has gone:

- every process that uses the server holds a shared lock on `users.lock` for its life (`attachment`);
- a keeper process owns the server and stops it when it gets that lock for itself (`keeper`);
- the server stops cleanly when the keeper dies, however it dies (`child`).

Locks and that signal are kept by the operating system, so `kill -9` of anything leaves nothing
stale behind. Start reading at `attachment`. `postgres.server` runs throw-away servers for tests.
"""

from .attachment import detach, ensure_running
from .errors import EmbeddedServerError
from .places import database_url

__all__ = ["EmbeddedServerError", "database_url", "detach", "ensure_running"]
