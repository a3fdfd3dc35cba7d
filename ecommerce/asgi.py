"""The application for an ASGI server, such as `granian --interface asginl ecommerce.asgi:application`.

Live streams below `/events/` are coroutines. Everything else is Django's WSGI application in a pool
of threads: its own async views are several times slower here.
"""

from __future__ import annotations

from functools import partial

from a2wsgi import WSGIMiddleware

from ecommerce.wsgi import application as pages  # sets Django up, for what follows

# isort: split

from django.urls import get_resolver

from ecommerce.web import live

THREADS = 8
"""What waits for the database does not wait for each other."""

web = WSGIMiddleware(pages, workers=THREADS)  # type: ignore[arg-type]
get_resolver().url_patterns  # noqa: B018  what can be watched is declared beside the pages


async def application(scope: live.Message, receive: live.Receive, send: live.Send) -> None:
    """Answer one connection."""
    if scope["type"] == "lifespan":
        return
    if scope["path"].startswith(live.PREFIX):
        await live.stream(scope, receive, send)
    else:
        await web(scope, partial(_next, receive), send)  # type: ignore[arg-type]


async def _next(receive: live.Receive) -> live.Message:
    """What a server's `receive` gives, as a coroutine: some servers have an awaitable only."""
    return await receive()
