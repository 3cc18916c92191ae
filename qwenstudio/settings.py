"""All settings, driven by the environment (the list stands in `docs/operations.md`)."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from qwenstudio.databases import VARIABLES, database_from_url, read_urls, role_of
from qwenstudio.env import Env, EnvError
from qwenstudio.mail import email_settings
from qwenstudio.release import release_name

BASE_DIR = Path(__file__).resolve().parent.parent
env = Env()

# Which part of the studio this process is; `manage.py` and the supervisor set it. It decides the database role.
PROCESSES = ("web", "stream", "worker", "errands", "ticker", "owner")
LOOPBACK = ("127.0.0.0/8", "::1/128")
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")


def networks(name: str, default: Sequence[str] = ()) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """A list of IP networks, `10.0.0.0/8` or a single address."""
    found = []
    for word in env.words(name, default):
        try:
            found.append(ipaddress.ip_network(word))
        except ValueError as error:
            raise EnvError(f"{name}: {error}") from None
    return found


try:
    PROCESS = env.choice("STUDIO_PROCESS", default="web", choices=PROCESSES)
    DEBUG = env.flag("DEBUG", default=False)
    STUDIO_VAR = env.path("STUDIO_VAR", BASE_DIR / "var")
    STUDIO_MEDIA = env.path("STUDIO_MEDIA", STUDIO_VAR / "media")
    STUDIO_PORT = env.integer("STUDIO_PORT", default=8000, low=1, high=65535)
    STUDIO_STREAM_PORT = env.integer("STUDIO_STREAM_PORT", default=STUDIO_PORT, low=1, high=65535)
    # The demo chat model of `make run`, on loopback. A hundred apart, for a second copy listens one port further.
    STUDIO_CHAT_DEMO = env.flag("STUDIO_CHAT_DEMO", default=True)
    STUDIO_CHAT_PORT = env.integer(
        "STUDIO_CHAT_PORT", default=STUDIO_PORT + (100 if STUDIO_PORT < 65436 else -100), low=1, high=65535
    )
    STUDIO_URL = env.text("STUDIO_URL", f"http://127.0.0.1:{STUDIO_PORT}").rstrip("/")
    # Whether the guard (qwenstudio/guard) stops a start. A public address says so by itself; the variable is for a
    # server whose address is http by mistake, and for a laptop behind a tunnel.
    PRODUCTION = env.flag("STUDIO_PRODUCTION", default=STUDIO_URL.startswith("https://"))
    DB_POOL = env.integer("STUDIO_DB_POOL", default=3, low=1, high=100)  # connections of a web or stream process
    WEB_PROCESSES = env.integer("STUDIO_WEB_PROCESSES", default=1, low=1, high=256)  # of one lane
    STREAMS_PER_CALLER = env.integer("STUDIO_STREAMS", default=40, low=1, high=100_000)  # in one process
    STUDIO_LANE = env.choice("STUDIO_LANE", default="blue", choices=("blue", "green"))
    STUDIO_MODELS = env.path("STUDIO_MODELS", BASE_DIR / "deploy" / "models.toml")
    STUDIO_UPSTREAMS = env.path("STUDIO_UPSTREAMS", BASE_DIR / "deploy" / "upstreams.toml")
    STUDIO_SIGNUP = env.choice("STUDIO_SIGNUP", default="invited", choices=("open", "invited", "closed"))
    # Whom to ask for an account: an e-mail address or a sentence.
    STUDIO_CONTACT = env.text("STUDIO_CONTACT", "")
    # Staff must have a second factor before the admin lets them in.
    STUDIO_STAFF_2FA = env.flag("STUDIO_STAFF_2FA", default=False)
    STUDIO_STORAGE = env.choice("STUDIO_STORAGE", default="file", choices=("file",))
    STUDIO_OFFLOAD = env.choice("STUDIO_OFFLOAD", default="none", choices=("none", "model", "group", "sequential"))
    # Where nginx serves STUDIO_MEDIA internally (`X-Accel-Redirect`); empty: the studio sends files itself.
    STUDIO_ACCEL_PREFIX = env.text("STUDIO_ACCEL_PREFIX", "")
    STUDIO_TRUSTED_PROXIES = networks("STUDIO_TRUSTED_PROXIES")
    # nginx in front (qwenstudio/proxy): where it listens, whom it lets in where, how much one address may do.
    STUDIO_HTTP_PORT = env.integer("STUDIO_HTTP_PORT", default=80, low=1, high=65535)
    STUDIO_LISTEN = env.words("STUDIO_LISTEN")
    STUDIO_ADMIN_NETWORKS = networks("STUDIO_ADMIN_NETWORKS", [*LOOPBACK, *PRIVATE])
    # Read by /metrics itself as well: everybody else finds no such page.
    STUDIO_METRICS_NETWORKS = networks("STUDIO_METRICS_NETWORKS", LOOPBACK)
    STUDIO_ADDRESS_RATE = env.integer("STUDIO_ADDRESS_RATE", default=200, low=1, high=100_000)
    STUDIO_ADDRESS_CONNECTIONS = env.integer("STUDIO_ADDRESS_CONNECTIONS", default=500, low=1, high=65_535)
    STUDIO_NGINX_TEST = env.text("STUDIO_NGINX_TEST", "nginx -t -q")
    STUDIO_NGINX_RELOAD = env.text("STUDIO_NGINX_RELOAD", "systemctl reload nginx")
    # The certificate (PEM) of HTTPS for doctor, daily and /metrics; empty: what nginx on this machine shows.
    STUDIO_CERTIFICATE = env.path("STUDIO_CERTIFICATE", BASE_DIR) if env.text("STUDIO_CERTIFICATE") else None
    # Callers may come from these only; empty: from anywhere.
    STUDIO_NETWORKS = networks("STUDIO_NETWORKS")
    HF_HUB_OFFLINE = env.choice("HF_HUB_OFFLINE", default="1", choices=("0", "1")) == "1"
    EMAIL = email_settings(env.secret("EMAIL_URL"), outbox=STUDIO_VAR / "mail")
    EMAIL_DOMAIN = urlsplit(STUDIO_URL).hostname or "localhost"
    DEFAULT_FROM_EMAIL = env.text("EMAIL_FROM", f"QwenStudio <studio@{EMAIL_DOMAIN}>")
    LOG_FORMAT = env.choice("STUDIO_LOG", default="json", choices=("json", "console"))
    SECRET_KEY = env.secret("SECRET_KEY")
    # What these have signed is still good; nothing is signed with them any more.
    SECRET_KEY_FALLBACKS = env.secret("SECRET_KEY_FALLBACKS").replace(",", " ").split()
    # Newest first: the first encrypts, all of them decrypt.
    STUDIO_ENCRYPTION_KEYS = env.secret("STUDIO_ENCRYPTION_KEYS").replace(",", " ").split()
    REDIS_URL = env.secret("REDIS_URL")
    # Small letters: Django's settings, which a debug page may show, do not have them.
    database_urls, missing_urls = read_urls(env)
    _role = role_of(PROCESS)
    if _role in missing_urls:
        raise EnvError(missing_urls[_role])
    _database: dict[str, Any] = (
        database_from_url(VARIABLES[_role], database_urls[_role])
        if database_urls[_role]
        # No services yet (`up` before it starts them, `makemigrations`, type checks): the first query says so.
        else {"ENGINE": "qwenstudio.nodb", "NAME": "missing"}
    )
    ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", ["127.0.0.1", "localhost", "[::1]", urlsplit(STUDIO_URL).hostname or ""])
except EnvError as error:
    raise ImproperlyConfigured(str(error)) from None

globals().update(EMAIL)
RELEASE = release_name(BASE_DIR)
STAFF_ROLE = "studio_staff"
# What `manage.py release` moves the machine with (generation/releases/tools.py).
RELEASE_TOOLS = "qwenstudio.releasing:make_tools"

INSTALLED_APPS = [
    "accounts",
    "generation",
    "qwenstudio.apps.StudioConfig",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_htmx",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "django_rq",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]

MIDDLEWARE = [
    "qwenstudio.middleware.RequestMiddleware",
    "qwenstudio.metrics.middleware.MetricsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "accounts.web.middleware.TenantMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "accounts.web.ask.AskMiddleware",
    "accounts.web.wrong_method.WrongMethodMiddleware",
]

ROOT_URLCONF = "qwenstudio.urls"
WSGI_APPLICATION = "qwenstudio.wsgi.application"
AUTH_USER_MODEL = "accounts.User"
SILENCED_SYSTEM_CHECKS = [
    "auth.E003",  # the address is unique in lower case (a functional constraint), which the check does not see
    "security.W002",  # qwenstudio/headers.py says it for every answer
    "security.W004",  # HSTS and the way from http to https are nginx's
    "security.W008",
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "qwenstudio" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "accounts.web.context.studio",
            ]
        },
    }
]

_pool = {"min_size": 1, "max_size": DB_POOL, "timeout": 30, "max_idle": 60}
# Requests never hold a transaction open while a page is rendered: each domain function is its own (docs/data.md).
DATABASES: dict[str, dict[str, Any]] = {
    "default": _database
    | {
        "ATOMIC_REQUESTS": False,
        "CONN_MAX_AGE": 0,
        "DISABLE_SERVER_SIDE_CURSORS": True,
        "OPTIONS": {
            "application_name": f"qwenstudio-{PROCESS}-{STUDIO_LANE}",
            "connect_timeout": 5,
            # A host that vanished is noticed after ten seconds, not after the kernel's quarter of an hour. Over a
            # Unix socket these mean nothing.
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,  # ms; for what was sent and not acknowledged (libpq: Linux only)
            **_database.get("OPTIONS", {}),
            # A new connection takes longer than most answers: 19 ms, and a process of the server's.
            **({"pool": _pool} if PROCESS in ("web", "stream") else {}),
            # A worker keeps its connection, so what it asks again and again is planned once (accounts/domain/sql.py).
            **({"prepare_threshold": 5} if PROCESS == "worker" else {}),
        },
    }
}
if DATABASES["default"]["ENGINE"] != "django.db.backends.postgresql":
    DATABASES["default"].pop("OPTIONS")

REDIS_TIMEOUT_S = 1.0
RQ_QUEUES = {
    f"errands-{lane}": {
        "URL": REDIS_URL or "redis://127.0.0.1:1/0",
        "DEFAULT_TIMEOUT": 600,
        "REDIS_CLIENT_KWARGS": {"socket_timeout": REDIS_TIMEOUT_S, "socket_connect_timeout": REDIS_TIMEOUT_S},
    }
    for lane in ("blue", "green")
}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "accounts.domain.passwords.MinimumLength", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
    {"NAME": "accounts.domain.passwords.EndSessions"},  # not a check: it hears of every change
]
PASSWORD_RESET_TIMEOUT = 4 * 3600
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "studio"
LOGOUT_REDIRECT_URL = "sign-in"

# Sign-in, verification, reset and second factors go through django-allauth; pages, mails and throttles are ours
# (docs/accounts.md).
ACCOUNT_ADAPTER = "accounts.web.adapters.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_EMAIL_CONFIRMATION_EXPIRE_DAYS = 3
ACCOUNT_LOGIN_ON_EMAIL_CONFIRMATION = True  # in the browser that signed up, nowhere else
ACCOUNT_CHANGE_EMAIL = True  # one address each; a new one takes its place once it is verified
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_RATE_LIMITS = False  # theirs count by e-mail address alone: accounts/web/throttle.py counts instead
ACCOUNT_PASSWORD_RESET_TOKEN_GENERATOR = "django.contrib.auth.tokens.PasswordResetTokenGenerator"  # noqa: S105
ACCOUNT_FORMS = {
    "add_email": "accounts.web.account_forms.NewEmailForm",
    "change_password": "accounts.web.account_forms.ChangePasswordForm",
    "reauthenticate": "accounts.web.account_forms.ConfirmForm",
    "reset_password": "accounts.web.account_forms.AskResetForm",
    "reset_password_from_key": "accounts.web.account_forms.NewPasswordForm",
    "set_password": "accounts.web.account_forms.NewPasswordForm",
}
MFA_ADAPTER = "accounts.web.adapters.FactorAdapter"
MFA_ALLOW_UNVERIFIED_EMAIL = True  # nobody gets in unverified; a second factor must not forbid a new address
MFA_TOTP_TOLERANCE = 1  # a clock may be half a minute off
MFA_FORMS = {
    "activate_totp": "accounts.web.account_forms.SetUpForm",
    "authenticate": "accounts.web.account_forms.CodeForm",
    "reauthenticate": "accounts.web.account_forms.ConfirmCodeForm",
}

# A process's own counts of tries (accounts/web/throttle.py), for when Valkey is away, are all that is kept here. The
# default bound of 300 would let somebody who has a hundred addresses push out the counts of the rest.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "OPTIONS": {"MAX_ENTRIES": 200_000},  # 60 MB at worst
    }
}

LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("zh-hans", _("Simplified Chinese"))]
LOCALE_PATHS = [BASE_DIR / "qwenstudio" / "locale"]
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True
FORMAT_MODULE_PATH = ["qwenstudio.formats"]

STATIC_URL = "/static/"
STATIC_ROOT = STUDIO_VAR / "static"
STATICFILES_DIRS = [BASE_DIR / "qwenstudio" / "static"]
WHITENOISE_USE_FINDERS = True
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "qwenstudio.statics.HashedFiles"},
}
MEDIA_ROOT = STUDIO_MEDIA

_secure = STUDIO_URL.startswith("https://")
# A trusted proxy's word only: the outermost middleware takes it from everybody else's requests.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SESSION_COOKIE_NAME = "studio_session"
SESSION_COOKIE_SECURE = _secure
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_NAME = "studio_csrf"
CSRF_COOKIE_SECURE = _secure
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_TRUSTED_ORIGINS = [STUDIO_URL]
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# A JSON body of the API, and what a form holds besides its files. The admin's form of a person may name each
# permission.
DATA_UPLOAD_MAX_MEMORY_SIZE = 1_048_576
DATA_UPLOAD_MAX_NUMBER_FIELDS = 400
DATA_UPLOAD_MAX_NUMBER_FILES = 8
# Requests that may hold pictures: three of 10 MB and a mask. nginx and the async process read their bounds here too.
PICTURE_BODY_BYTES = 32_000_000
PICTURE_BODY_PATHS = ("/api/v1/images", "/api/v1/estimates", "/api/v1/grids", "/api/v1/inputs", "/v1/images/edits")

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.api.authentication.KeyAuthentication",
        "accounts.api.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.api.permissions.HasScope"],
    "DEFAULT_PARSER_CLASSES": ["accounts.api.parsers.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["accounts.api.renderers.OrjsonRenderer"],
    "DEFAULT_SCHEMA_CLASS": "accounts.api.schema.StudioSchema",
    "EXCEPTION_HANDLER": "accounts.api.problems.answer_exception",
    "UNAUTHENTICATED_USER": None,
    "UNAUTHENTICATED_TOKEN": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "QwenStudio API",
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "persistAuthorization": False, "defaultModelsExpandDepth": 0},
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": None,
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "PATH_CONVERTER_OVERRIDES": {"id": {"type": "string", "format": "uuid"}},
    "POSTPROCESSING_HOOKS": ["accounts.api.schema.add_problem"],
}

LOGGING_CONFIG = "qwenstudio.logs.configure"
LOGGING: dict[str, Any] = {"format": LOG_FORMAT}
