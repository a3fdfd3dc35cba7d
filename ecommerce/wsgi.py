"""The application for a WSGI server, such as `granian --interface wsgi ecommerce.wsgi:application`."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ecommerce.settings")
# A web process serves many short requests from a few threads: a pool saves each of them a connect.
# Commands have no pool, it would only start threads for one connection.
os.environ.setdefault("DATABASE_POOL_SIZE", "10")

from django.core.wsgi import get_wsgi_application

from ecommerce.messaging import tenancy

application = get_wsgi_application()

from ecommerce.messaging.checks import refuse_mistakes  # noqa: E402  needs what is set up above

refuse_mistakes()
tenancy.confine()
