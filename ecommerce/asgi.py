"""The application for an ASGI server. Django's own views are several times slower here than in `ecommerce.wsgi`."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ecommerce.settings")
os.environ.setdefault("DATABASE_POOL_SIZE", "10")  # as in ecommerce.wsgi

from django.core.asgi import get_asgi_application

application = get_asgi_application()
