"""The application for an ASGI server, such as `granian --interface asginl ecommerce.asgi:application`.

Live streams below `/events/` are coroutines. Everything else is Django's WSGI application in a pool
of threads: its own async views are several times slower here.
"""

from __future__ import annotations

from ecommerce.wsgi import application as pages  # sets Django up, for what follows

# isort: split

from django.conf import settings
from django.urls import get_resolver

from ecommerce.threads import THREADS, Message, Receive, Send, Threads
from ecommerce.web import live

web = Threads(pages, THREADS, settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
get_resolver().url_patterns  # noqa: B018  what can be watched is declared beside the pages


async def application(scope: Message, receive: Receive, send: Send) -> None:
    """Answer one connection."""
    if scope["type"] != "http":
        return
    if scope["path"].startswith(live.PREFIX):
        await live.stream(scope, receive, send)
    else:
        await web(scope, receive, send)
