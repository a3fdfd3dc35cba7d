"""Every setting, from the environment, with defaults for development.

`SHOP_ENV=production` turns the defaults off: it refuses to start without a secret key, allowed
hosts and a database, and sends cookies over HTTPS only. Durations are in seconds.
"""

import os
import sys
from importlib.util import find_spec
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import psycopg
import structlog
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static
from django.urls import reverse_lazy
from psycopg.conninfo import conninfo_to_dict

from ecommerce import embedded

BASE_DIR = Path(__file__).resolve().parent.parent


def _flag(name: str, *, default: bool) -> bool:
    value = os.environ.get(name, "").strip().lower()
    if value not in {"", "0", "1", "false", "true", "no", "yes", "off", "on"}:
        raise ImproperlyConfigured(f"{name} is {value!r}. Use 1 or 0.")
    return value in {"1", "true", "yes", "on"} if value else default


def _number(name: str, *, default: int) -> int:
    value = os.environ.get(name, "").strip() or str(default)
    if not value.isdecimal():
        raise ImproperlyConfigured(f"{name} is {value!r}. Use a whole number.")
    return int(value)


def _list(name: str, *, default: str = "") -> list[str]:
    return [item.strip() for item in os.environ.get(name, default).split(",") if item.strip()]


def _seconds(name: str, default: str) -> tuple[float, ...]:
    given = _list(name, default=default)
    try:
        found = tuple(float(each) for each in given)
    except ValueError:
        found = (0,)
    if any(not 0 < each < float("inf") for each in found):
        raise ImproperlyConfigured(f"{name} is {','.join(given)!r}. Use seconds, with commas.")
    return found


# Where it runs

ENVIRONMENT = os.environ.get("SHOP_ENV", "").strip() or "development"
if ENVIRONMENT not in {"development", "production"}:
    raise ImproperlyConfigured(f"SHOP_ENV is {ENVIRONMENT!r}. Use development or production.")
PRODUCTION = ENVIRONMENT == "production"
DEVELOPMENT_KEY = "development-only-this-key-is-public-and-signs-nothing-of-value"

DEBUG = _flag("DEBUG", default=not PRODUCTION)
SECRET_KEY = os.environ.get("SECRET_KEY", "" if PRODUCTION else DEVELOPMENT_KEY)
ALLOWED_HOSTS = _list("ALLOWED_HOSTS", default="" if PRODUCTION else "localhost,127.0.0.1,[::1]")
DATABASE_URL = os.environ.get("DATABASE_URL", "")


def _refuse_unsafe_production() -> None:
    if not SECRET_KEY:
        raise ImproperlyConfigured(
            "SECRET_KEY is not set. In production, set it to a long random value that only the "
            "servers know: python -c 'import secrets; print(secrets.token_urlsafe(50))'"
        )
    if SECRET_KEY == DEVELOPMENT_KEY or len(SECRET_KEY) < 32:
        raise ImproperlyConfigured(
            "SECRET_KEY is public or shorter than 32 characters. In production, set it to a long "
            "random value: python -c 'import secrets; print(secrets.token_urlsafe(50))'"
        )
    if not ALLOWED_HOSTS or "*" in ALLOWED_HOSTS:
        raise ImproperlyConfigured(
            "ALLOWED_HOSTS is not set, or allows every host. In production, set it to the host "
            "names of the shop, with commas: ALLOWED_HOSTS=shop.example.com,www.example.com"
        )
    if not DATABASE_URL:
        raise ImproperlyConfigured(
            "DATABASE_URL is not set. The embedded server is for development; in production, set "
            "it to a server of yours: DATABASE_URL=postgresql://user:password@host:5432/name"
        )
    if DEBUG:
        raise ImproperlyConfigured(
            "DEBUG is on. It shows source code and settings to visitors: unset it in production."
        )


if PRODUCTION:
    _refuse_unsafe_production()

# What it consists of: one line per application

SERVICES = [
    "orders",
    "inventory",
    "payments",
    "shipping",
    "notifications",
    "customers",
    "analytics",
]

INSTALLED_APPS = [
    # Libraries whose templates and static files come before Django's.
    "whitenoise.runserver_nostatic",
    "unfold",
    "unfold.contrib.filters",
    # Django
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "ninja",
    # The platform
    "ecommerce.embedded",
    "ecommerce.messaging",
    "ecommerce.identity",
    "ecommerce.console",
    # The services
    *SERVICES,
]

ROOT_URLCONF = "ecommerce.urls"
WSGI_APPLICATION = "ecommerce.wsgi.application"
ASGI_APPLICATION = "ecommerce.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

MIDDLEWARE = [
    "ecommerce.web.metrics.Measured",
    "ecommerce.web.middleware.RequestContext",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "ecommerce.web.middleware.TenantOfPage",
    "ecommerce.web.middleware.PageMessages",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "ecommerce.web.middleware.ContentPolicy",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [
            BASE_DIR / "ecommerce" / "templates",
            BASE_DIR / "ecommerce" / "web" / "templates",
        ],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
            "builtins": ["ecommerce.web.tags"],
        },
    },
]

# Databases

# 0 is no pool: a web process sets its own size in ecommerce.wsgi. Never for prefork workers, where
# Celery closes the pool after every task.
DATABASE_POOL_SIZE = _number("DATABASE_POOL_SIZE", default=0)
# Statements are parsed and planned once per connection from their fifth run. 0 turns that off, for
# a pooler in transaction mode in front of the server.
DATABASE_PREPARE_THRESHOLD = _number("DATABASE_PREPARE_THRESHOLD", default=5)
# Compiling plans costs more than it saves on short statements; and a transaction that somebody
# forgot must not hold back the readers of the message log.
SESSION_OPTIONS = "-c jit=off -c idle_in_transaction_session_timeout=60s"


def _database(variable: str, url: str) -> dict[str, Any]:
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        # Without the cause: its message may quote the password.
        raise ImproperlyConfigured(
            f"{variable} cannot be read. Write it as postgresql://user:password@host:5432/name"
        ) from (None if "@" in url else error)
    options: dict[str, Any] = {
        "application_name": "ecommerce",
        "connect_timeout": 5,
        "prepare_threshold": DATABASE_PREPARE_THRESHOLD or None,
        "options": f"{SESSION_OPTIONS} {parts.pop('options', '')}".strip(),
    }
    if DATABASE_POOL_SIZE:
        options["pool"] = {"min_size": 1, "max_size": DATABASE_POOL_SIZE, "timeout": 10}
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.pop("dbname", ""),
        "USER": parts.pop("user", ""),
        "PASSWORD": parts.pop("password", ""),
        "HOST": parts.pop("host", ""),
        "PORT": parts.pop("port", ""),
        # The pool keeps the connections; it refuses ones that Django keeps, too.
        "CONN_MAX_AGE": 0,
        # A restarted server costs nobody an error: the pool tries a connection before lending it.
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": options | parts,
    }


if DATABASE_URL:
    DATABASES = {"default": _database("DATABASE_URL", DATABASE_URL)}
else:
    # Started by the first process that connects: see ecommerce.embedded.
    DATABASES = {"default": _database("the embedded server", embedded.database_url(BASE_DIR))}
    DATABASES["default"]["ENGINE"] = "ecommerce.embedded.backend"

# A service moves to a database of its own by its variable alone, such as ORDERS_DATABASE_URL.
SERVICE_DATABASES = dict.fromkeys(SERVICES, "default")
for _service in SERVICES:
    _variable = f"{_service.upper()}_DATABASE_URL"
    if os.environ.get(_variable):
        DATABASES[_service] = _database(_variable, os.environ[_variable])
        SERVICE_DATABASES[_service] = _service

DATABASE_ROUTERS = ["ecommerce.messaging.routing.ServiceRouter"]

# Messaging

# Fixed when the tables are made: every row of the logs holds its partition's number.
MESSAGING_PARTITIONS = 64
# Off, workers still look for work once a second.
MESSAGING_NOTIFY = _flag("MESSAGING_NOTIFY", default=True)
# A broker that is named is told when there is work.
MESSAGING_WAKE = "ecommerce.celery.wake" if os.environ.get("CELERY_BROKER_URL") else ""
# How messages get from one database to another: workers copy them, or the broker carries them.
MESSAGING_TRANSPORT = os.environ.get("MESSAGING_TRANSPORT", "") or "in-process"
if MESSAGING_TRANSPORT not in {"in-process", "celery"}:
    raise ImproperlyConfigured(
        f"MESSAGING_TRANSPORT is {MESSAGING_TRANSPORT!r}. Use in-process or celery."
    )
if MESSAGING_TRANSPORT == "celery" and not MESSAGING_WAKE:
    raise ImproperlyConfigured(
        "MESSAGING_TRANSPORT is celery, but no broker is named. Set CELERY_BROKER_URL, for example "
        "to amqps://user:password@host/vhost"
    )
MESSAGING_PUBLISH = "ecommerce.celery.publish" if MESSAGING_TRANSPORT == "celery" else ""
# Those whose databases this machine reaches; all, when none is named.
WORKER_SERVICES = _list("WORKER_SERVICES")
if _unknown := sorted(set(WORKER_SERVICES) - set(SERVICES)):
    raise ImproperlyConfigured(f"WORKER_SERVICES names {_unknown}. There are {SERVICES}.")
# The topics of the calls that workers of this machine make; all, when none is named.
WORKER_TOPICS = _list("WORKER_TOPICS")
MESSAGING_POLICIES = "ecommerce.policies.POLICIES"
# What policies know this installation by, such as staging.
MESSAGING_ENVIRONMENT = os.environ.get("MESSAGING_ENVIRONMENT") or ENVIRONMENT
# Seconds before each further attempt of a delivery, or a call, whose handler and policy say nothing
# else; after the last it is a dead letter.
MESSAGING_RETRY = _seconds("MESSAGING_RETRY", "30,60,120,240,300,300,300,300,300")
MESSAGING_RETRY_CALLS = _seconds("MESSAGING_RETRY_CALLS", "2,4,8")
# When a dead letter is sent out again by itself: for each reason, the seconds before each time.
# Only what is safe at any time: a call that workers were lost in is repeated under its key.
MESSAGING_RETRY_DEAD: dict[str, tuple[float, ...]] = {"lost-calls": (300,)}

# Health: what takes a process out of service. Without workers, requests are taken and wait.

READY_NEEDS_WORKERS = _flag("READY_NEEDS_WORKERS", default=True)
READY_CANARY_SECONDS = _number("READY_CANARY_SECONDS", default=180)
READY_OLDEST_SECONDS = _number("READY_OLDEST_SECONDS", default=60)

# Metrics: from where everything may be read without a token.

METRICS_FROM = _list("METRICS_FROM", default="" if PRODUCTION else "127.0.0.0/8,::1/128")
for _network in METRICS_FROM:
    try:
        ip_network(_network)
    except ValueError as error:
        raise ImproperlyConfigured(
            f"METRICS_FROM has {_network!r}. Use addresses or networks, such as 10.0.0.0/8."
        ) from error

# Orders and their providers

RESERVATION_MINUTES = _number("RESERVATION_MINUTES", default=15)
PAYMENT_GATEWAY = os.environ.get("PAYMENT_GATEWAY") or "simulated"
SHIPPING_CARRIER = os.environ.get("SHIPPING_CARRIER") or "simulated"
NOTIFICATION_EMAIL_PROVIDER = os.environ.get("NOTIFICATION_EMAIL_PROVIDER") or "mailbox"
NOTIFICATION_SMS_PROVIDER = os.environ.get("NOTIFICATION_SMS_PROVIDER") or "mailbox"
# How slow the simulated gateway's slow card is, and how soon the simulated carrier delivers.
SIMULATED_GATEWAY_SECONDS = _number("SIMULATED_GATEWAY_SECONDS", default=1)
SIMULATED_DELIVERY_SECONDS = _number("SIMULATED_DELIVERY_SECONDS", default=30)

# People

DEFAULT_TENANT = "main"
# Open, callers on this machine may do everything without a token. Never in production.
SHOP_OPEN = _flag("SHOP_OPEN", default=True) and not PRODUCTION
AUTH_USER_MODEL = "identity.User"
LOGIN_URL = "shop-sign-in"
AUTHENTICATION_BACKENDS = ["ecommerce.identity.backends.IdentityBackend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{validator}"}
    for validator in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

# HTTP

SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# Pages have no script or style of their own, and load nothing from elsewhere.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    },
}
# What the pages of libraries need besides: styles inside, and in the admin Alpine, which makes
# functions of its attributes. No page runs a script that is not a file of ours.
CONTENT_SECURITY_POLICY_FOR = {
    "/admin/": {
        "script-src": ["'self'", "'unsafe-eval'"],
        "style-src": ["'self'", "'unsafe-inline'"],
    },
    "/api/docs": {"style-src": ["'self'", "'unsafe-inline'"]},
}
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SECURE = PRODUCTION
CSRF_COOKIE_SECURE = PRODUCTION
CSRF_TRUSTED_ORIGINS = _list("CSRF_TRUSTED_ORIGINS")
CSRF_FAILURE_VIEW = "ecommerce.web.pages.form_too_old"
SECURE_SSL_REDIRECT = _flag("SECURE_SSL_REDIRECT", default=PRODUCTION)
# asked by load balancers and scrapers, without TLS
SECURE_REDIRECT_EXEMPT = [r"^health", r"^alive$", r"^metrics$"]
SECURE_HSTS_SECONDS = _number("SECURE_HSTS_SECONDS", default=31_536_000 if PRODUCTION else 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = PRODUCTION
SECURE_HSTS_PRELOAD = PRODUCTION
if _flag("BEHIND_TLS_PROXY", default=False):
    # Only where a proxy always sets the header: otherwise visitors could claim to be on HTTPS.
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# Static files

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "ecommerce" / "web" / "static"]
# Development serves the files from where they are, so that it needs no collectstatic.
STATIC_ROOT = BASE_DIR / "staticfiles" if PRODUCTION else None
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if PRODUCTION
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = not PRODUCTION
WHITENOISE_AUTOREFRESH = DEBUG

# Language and time

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True


# Admin

UNFOLD = {
    "SITE_TITLE": "Tideline admin",
    "SITE_HEADER": "Tideline",
    "SITE_SUBHEADER": "Admin",
    "SITE_ICON": lambda _: static("web/mark.svg"),
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda _: static("web/mark.svg")}
    ],
    "STYLES": [lambda _: static("web/admin.css")],
    "SHOW_BACK_BUTTON": True,
    "DASHBOARD_CALLBACK": "ecommerce.console.dashboard.dashboard",
    "LOGIN": {"redirect_after": lambda _: reverse_lazy("admin:index")},
    "ENVIRONMENT": None if PRODUCTION else ["Development", "info"],
    "SIDEBAR": {
        "show_search": True,
        "navigation": "ecommerce.messaging.links.navigation",
    },
    "TABS": "ecommerce.messaging.links.tabs",
}

# Celery carries wake-ups, and messages between databases that no process reaches both of. The logs
# hold the truth, so a task may be lost, late or repeated.


def _refuse_missing(library: str, extra: str) -> None:
    if find_spec(library) is None:
        raise ImproperlyConfigured(
            f"CELERY_BROKER_URL needs a library that is not installed: pip install 'kombu[{extra}]'"
        )


CELERY_BROKER_URL = os.environ.get("CELERY_BROKER_URL", "") or "redis://localhost:6379/0"
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULE = {
    "drain": {"task": "messaging.drain", "schedule": 1.0},
    "errands": {"task": "messaging.errands", "schedule": 5.0},
}
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
# Machines that reach other databases drain by themselves, so they have another queue to be woken by.
CELERY_TASK_DEFAULT_QUEUE = ".".join(["messaging", "drain", *sorted(WORKER_SERVICES)])
CELERY_WORKER_CONSUMER = "ecommerce.messaging.consumer:Consumer"
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
# After a lost connection Celery would ask for fewer tasks for a while, and for more from the threads
# that carry them out. These and its loop then read from one socket, and wait for each other's answers.
CELERY_WORKER_ENABLE_PREFETCH_COUNT_REDUCTION = False
# RabbitMQ refuses a second worker of the same host its queue for commands, and the worker ends.
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 10
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # a worker waits for its broker as long as it takes
CELERY_BROKER_CONNECTION_TIMEOUT = 2
CELERY_BROKER_HEARTBEAT = 10
# With the broker down, a publish gives up after 7 ms. CELERY_TASK_PUBLISH_RETRY = False looks like
# the same and takes 6 s.
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 0}
if CELERY_BROKER_URL.startswith(("redis", "rediss", "sentinel")):
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        # What a killed worker held is delivered again after a minute. A task with an ETA further
        # off than this would run twice: timers are rows in a table.
        "visibility_timeout": 60,
        # The defaults look for such tasks only every 100 s.
        "unacked_restore_interval": 2,
        "unacked_restore_throttle": 1,
        "socket_connect_timeout": 2,
        "socket_timeout": 5,
        "socket_keepalive": True,
    }
elif CELERY_BROKER_URL.startswith("amqp"):
    CELERY_BROKER_TRANSPORT_OPTIONS = {"confirm_publish": True}
    # In a cluster, quorum queues outlive their node.
    RABBITMQ_QUEUE_TYPE = os.environ.get("RABBITMQ_QUEUE_TYPE") or "classic"
    if RABBITMQ_QUEUE_TYPE not in {"classic", "quorum"}:
        raise ImproperlyConfigured(
            f"RABBITMQ_QUEUE_TYPE is {RABBITMQ_QUEUE_TYPE!r}. Use classic or quorum."
        )
    CELERY_TASK_DEFAULT_QUEUE_TYPE = CELERY_TASK_CREATE_MISSING_QUEUE_TYPE = RABBITMQ_QUEUE_TYPE
elif CELERY_BROKER_URL.startswith("sqs"):
    _refuse_missing("boto3", "sqs")
    CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 60, "wait_time_seconds": 5}
elif CELERY_BROKER_URL.startswith("azureservicebus"):
    _refuse_missing("azure", "azureservicebus")
    CELERY_BROKER_TRANSPORT_OPTIONS = {"peek_lock_seconds": 60, "wait_time_seconds": 5}

# Logs: one JSON object a line in production, readable in development

LOG_LEVEL = os.environ.get("LOG_LEVEL", "").upper() or "INFO"
_shared_processors: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]
_last_processors: list[structlog.typing.Processor] = (
    [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    if PRODUCTION
    else [
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    ]
)
structlog.configure(
    processors=[
        structlog.stdlib.filter_by_level,
        *_shared_processors,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.stdlib.BoundLogger,
    cache_logger_on_first_use=True,
)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "structured": {
            "()": structlog.stdlib.ProcessorFormatter,
            "foreign_pre_chain": _shared_processors,
            "processors": [
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_last_processors,
            ],
        },
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "structured"}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    # Django's own handlers would write what goes to the root a second time.
    "loggers": {
        "django": {"handlers": [], "propagate": True},
        "django.server": {"handlers": [], "propagate": True},
        # That a pipeline was aborted is told by the error that aborted it.
        "psycopg": {"level": "ERROR"},
        "psycopg.pool": {"level": "WARNING"},
    },
}
