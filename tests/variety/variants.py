"""Settings that a project may have, each as a change to those of a plain one.

Nothing here needs settings to be imported. ``settings.py`` makes the settings of the variant that the
environment names, in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Settings = dict[str, Any]

#: What a plain project has.
APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "rest_framework",
    "django_tasks_q",
    "tests.variety.orders",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
#: Where a template shows the name of a variable that is not there.
MISSING = "no-variable-"
DOORS = "tests.variety.doors"


@dataclass(frozen=True)
class Variant:
    """One project: what its settings have, and where its doors are."""

    name: str
    change: Callable[[Settings], None]
    #: The kinds of database that a short run opens it on.
    databases: tuple[str, ...] = ("default",)
    #: What a short run visits, of "pages", "rest" and "commands"; a long one visits all.
    doors: tuple[str, ...] = ("pages", "rest", "commands")
    #: Prefixes of its admin sites and of its API, as a browser knows them.
    sites: tuple[str, ...] = ("/admin/",)
    api: str = "/api/tasks/"
    #: Whether its tables have to be made: otherwise it gets copies of those of a plain project.
    is_migrated: bool = False
    #: Whether the sentences of errors are in the language of the reference.
    is_english: bool = True
    #: Whether a short run visits it: others are much like one that it does.
    is_in_short_run: bool = True
    #: Whether a long run opens it on the other kind of database as well.
    is_for_both: bool = True


VARIANTS: dict[str, Variant] = {}
PAGES, REST = ("pages",), ("rest",)


def variant(
    *databases: str, **more: Any
) -> Callable[[Callable[[Settings], None]], Callable[[Settings], None]]:
    """Declare one, whose databases are the default one unless others are named."""

    def declare(change: Callable[[Settings], None]) -> Callable[[Settings], None]:
        name = change.__name__
        VARIANTS[name] = Variant(name, change, databases or ("default",), **more)
        return change

    return declare


postgres_only: Settings = {"is_for_both": False}


@variant("default", "postgres")
def plain(settings: Settings) -> None:
    pass


# Time, language, formats


@variant()
def without_time_zones(settings: Settings) -> None:
    settings.update(USE_TZ=False, TIME_ZONE="Asia/Kathmandu")


@variant("postgres", is_in_short_run=False)
def kathmandu(settings: Settings) -> None:
    settings.update(TIME_ZONE="Asia/Kathmandu")


@variant(is_english=False)
def german(settings: Settings) -> None:
    settings.update(LANGUAGE_CODE="de", USE_THOUSAND_SEPARATOR=True)


@variant("postgres", is_english=False, doors=PAGES)
def french(settings: Settings) -> None:
    settings.update(LANGUAGE_CODE="fr", USE_THOUSAND_SEPARATOR=True)
    settings["MIDDLEWARE"].insert(2, "django.middleware.locale.LocaleMiddleware")


@variant(is_english=False, doors=PAGES, is_in_short_run=False)
def arabic(settings: Settings) -> None:
    settings.update(LANGUAGE_CODE="ar")


@variant(doors=PAGES)
def own_formats(settings: Settings) -> None:
    settings.update(FORMAT_MODULE_PATH=["tests.variety.formats"], USE_THOUSAND_SEPARATOR=True)


@variant(doors=PAGES, is_in_short_run=False)
def without_translations(settings: Settings) -> None:
    settings.update(USE_I18N=False)


# Addresses


@variant(sites=("/admin/", "/ops/"), doors=PAGES)
def second_site(settings: Settings) -> None:
    settings.update(ROOT_URLCONF=f"{DOORS}.second_site")


@variant("postgres", sites=("/ops/",), doors=PAGES)
def only_another_site(settings: Settings) -> None:
    settings.update(ROOT_URLCONF=f"{DOORS}.another_site")


@variant(sites=("/app/back/office/",), api="/app/rest/jobs/")
def below_a_prefix(settings: Settings) -> None:
    settings.update(ROOT_URLCONF=f"{DOORS}.elsewhere", FORCE_SCRIPT_NAME="/app", STATIC_URL="/app/static/")


@variant("postgres", sites=("/en/admin/",), api="/en/api/tasks/")
def language_in_the_address(settings: Settings) -> None:
    settings.update(ROOT_URLCONF=f"{DOORS}.languages", LANGUAGE_CODE="en")
    settings["MIDDLEWARE"].insert(2, "django.middleware.locale.LocaleMiddleware")


@variant(is_in_short_run=False)
def without_append_slash(settings: Settings) -> None:
    settings.update(APPEND_SLASH=False)


@variant(api="/v1/api/tasks/", doors=REST)
def api_in_namespaces(settings: Settings) -> None:
    settings.update(ROOT_URLCONF=f"{DOORS}.namespaces")


# The framework of the REST API


@variant("postgres", doors=REST)
def api_of_other_shapes(settings: Settings) -> None:
    settings["REST_FRAMEWORK"] = {
        "DEFAULT_RENDERER_CLASSES": [f"{DOORS}.framework.Shouting"],
        "DEFAULT_PARSER_CLASSES": [f"{DOORS}.framework.Deaf"],
        "DEFAULT_CONTENT_NEGOTIATION_CLASS": f"{DOORS}.framework.Stubborn",
        "DEFAULT_METADATA_CLASS": None,
    }


@variant(doors=REST)
def api_of_other_times(settings: Settings) -> None:
    settings["REST_FRAMEWORK"] = {
        "DATETIME_FORMAT": "%d.%m.%Y",
        "DATETIME_INPUT_FORMATS": ["%d.%m.%Y"],
        "DATE_FORMAT": "%d.%m.%Y",
        "TIME_FORMAT": None,
        "COERCE_DECIMAL_TO_STRING": False,
        "COMPACT_JSON": False,
        "UNICODE_JSON": False,
        "STRICT_JSON": False,
    }


@variant(doors=REST)
def api_of_other_pages(settings: Settings) -> None:
    settings["INSTALLED_APPS"].append("django_filters")
    settings["REST_FRAMEWORK"] = {
        "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.PageNumberPagination",
        "PAGE_SIZE": 2,
        "DEFAULT_FILTER_BACKENDS": [
            "rest_framework.filters.OrderingFilter",
            "rest_framework.filters.SearchFilter",
        ],
        "SEARCH_PARAM": "status",
        "ORDERING_PARAM": "queue",
    }


@variant("postgres", doors=REST)
def api_of_other_errors(settings: Settings) -> None:
    settings["REST_FRAMEWORK"] = {
        "EXCEPTION_HANDLER": f"{DOORS}.framework.swallow",
        "NON_FIELD_ERRORS_KEY": "wrong",
    }


@variant(doors=REST)
def api_of_others(settings: Settings) -> None:
    settings["REST_FRAMEWORK"] = {
        "DEFAULT_AUTHENTICATION_CLASSES": [f"{DOORS}.framework.Header"],
        "DEFAULT_PERMISSION_CLASSES": [f"{DOORS}.framework.Nobody"],
        "DEFAULT_THROTTLE_CLASSES": [f"{DOORS}.framework.Never"],
        "DEFAULT_THROTTLE_RATES": {"anon": "1/day", "user": "1/day"},
        "DEFAULT_VERSIONING_CLASS": "rest_framework.versioning.NamespaceVersioning",
        "ALLOWED_VERSIONS": ["7"],
        "UNAUTHENTICATED_USER": None,
        "NUM_PROXIES": 0,
        "TEST_REQUEST_DEFAULT_FORMAT": "json",
    }


# Databases


@variant("postgres", **postgres_only)
def server_side_binding(settings: Settings) -> None:
    options(settings)["server_side_binding"] = True


@variant("postgres", doors=REST, **postgres_only)
def serializable(settings: Settings) -> None:
    from psycopg import IsolationLevel

    options(settings)["isolation_level"] = IsolationLevel.SERIALIZABLE


@variant("postgres", is_in_short_run=False, **postgres_only)
def repeatable_read(settings: Settings) -> None:
    from psycopg import IsolationLevel

    options(settings)["isolation_level"] = IsolationLevel.REPEATABLE_READ


@variant("postgres", doors=REST, **postgres_only)
def statement_timeout(settings: Settings) -> None:
    options(settings)["options"] = "-c statement_timeout=9s -c lock_timeout=3s -c timezone=Asia/Kathmandu"


@variant("postgres", doors=REST, is_in_short_run=False)
def lasting_connections(settings: Settings) -> None:
    settings["DATABASES"]["default"].update(CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=True)


@variant("postgres", doors=REST, **postgres_only)
def pool(settings: Settings) -> None:
    options(settings)["pool"] = {"min_size": 1, "max_size": 2}


@variant("postgres", is_migrated=True, **postgres_only)
def schema_by_search_path(settings: Settings) -> None:
    options(settings)["options"] = "-c search_path=tenant"


@variant(is_migrated=True)
def database_of_its_own(settings: Settings) -> None:
    other = dict(settings["DATABASES"]["default"], NAME=settings["OTHER_DATABASE"])
    settings["DATABASES"]["queue"] = other
    settings["TASKS"]["default"]["OPTIONS"]["DATABASE"] = "queue"
    settings["DATABASE_ROUTERS"] = [f"{DOORS}.framework.Router"]


@variant(doors=REST)
def atomic_requests(settings: Settings) -> None:
    settings["DATABASES"]["default"]["ATOMIC_REQUESTS"] = True


@variant()
def watched_cursors(settings: Settings) -> None:
    settings["INSTALLED_APPS"].append("tests.variety.watching")


@variant(is_in_short_run=False)
def small_keys(settings: Settings) -> None:
    settings.update(DEFAULT_AUTO_FIELD="django.db.models.AutoField")


# Apps


@variant(is_migrated=True)
def people_of_its_own(settings: Settings) -> None:
    settings["INSTALLED_APPS"].append("tests.variety.people")
    settings.update(AUTH_USER_MODEL="people.Person")


@variant(sites=())
def bare(settings: Settings) -> None:
    """No admin, no messages, no sessions; the REST framework is used, and no app."""
    settings["INSTALLED_APPS"] = [
        "django.contrib.contenttypes",
        "django.contrib.auth",
        "django_tasks_q",
        "tests.variety.orders",
    ]
    settings.update(MIDDLEWARE=[], TEMPLATES=[], ROOT_URLCONF=f"{DOORS}.only_api")
    settings["REST_FRAMEWORK"] = {"DEFAULT_AUTHENTICATION_CLASSES": [f"{DOORS}.framework.Header"]}


@variant("postgres", sites=())
def without_users(settings: Settings) -> None:
    """Nothing of Django's own apps: whoever asks is known to the project alone."""
    settings["INSTALLED_APPS"] = ["django_tasks_q", "tests.variety.orders"]
    settings.update(MIDDLEWARE=[], TEMPLATES=[], ROOT_URLCONF=f"{DOORS}.only_api")
    settings["REST_FRAMEWORK"] = {
        "DEFAULT_AUTHENTICATION_CLASSES": [f"{DOORS}.framework.Stranger"],
        "UNAUTHENTICATED_USER": None,
        "UNAUTHENTICATED_TOKEN": None,
    }


# Pages


@variant(doors=PAGES)
def strict_policy(settings: Settings) -> None:
    settings["MIDDLEWARE"] = [f"{DOORS}.framework.Policy", *settings["MIDDLEWARE"]]
    settings.update(
        SECURE_SSL_REDIRECT=True,
        SESSION_COOKIE_SECURE=True,
        CSRF_COOKIE_SECURE=True,
        CSRF_USE_SESSIONS=True,
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        MESSAGE_STORAGE="django.contrib.messages.storage.cookie.CookieStorage",
    )


@variant()
def other_middleware(settings: Settings) -> None:
    settings["MIDDLEWARE"] = [
        "django.middleware.gzip.GZipMiddleware",
        "django.middleware.http.ConditionalGetMiddleware",
        *settings["MIDDLEWARE"],
        "django.middleware.locale.LocaleMiddleware",
        "django.contrib.auth.middleware.LoginRequiredMiddleware",
    ]
    settings["REST_FRAMEWORK"] = {"DEFAULT_AUTHENTICATION_CLASSES": [f"{DOORS}.framework.Header"]}


@variant("postgres", doors=PAGES)
def manifest_of_files(settings: Settings) -> None:
    settings["STORAGES"] = {
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"},
    }


@variant()
def debug(settings: Settings) -> None:
    settings.update(DEBUG=True, INTERNAL_IPS=["127.0.0.1"])
    settings["TEMPLATES"][0]["OPTIONS"]["context_processors"].append(
        "django.template.context_processors.debug"
    )


@variant(doors=PAGES)
def told_of_missing_variables(settings: Settings) -> None:
    settings["TEMPLATES"][0]["OPTIONS"]["string_if_invalid"] = f"{MISSING}%s"


@variant("postgres", doors=PAGES)
def unfold(settings: Settings) -> None:
    settings["INSTALLED_APPS"].insert(0, "unfold")


def options(settings: Settings) -> Settings:
    """What the default database's driver is told."""
    found: Settings = settings["DATABASES"]["default"].setdefault("OPTIONS", {})
    return found


def settings_of(name: str, database: Settings, other: str, directory: Path) -> Settings:
    """The settings of a variant, with its databases and a folder for its files."""
    settings: Settings = {
        "SECRET_KEY": "insecure: a project of the tests",
        "ALLOWED_HOSTS": ["testserver"],
        "USE_TZ": True,
        "TIME_ZONE": "UTC",
        "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
        "ROOT_URLCONF": f"{DOORS}.plain",
        "STATIC_URL": "/static/",
        "STATIC_ROOT": str(directory / "static"),
        "INSTALLED_APPS": list(APPS),
        "MIDDLEWARE": list(MIDDLEWARE),
        "TEMPLATES": [
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
        "DATABASES": {"default": database},
        "OTHER_DATABASE": other,
        "TASKS": {
            "default": {
                "BACKEND": "django_tasks_q.backends.DatabaseBackend",
                "QUEUES": [],
                "OPTIONS": {},
            }
        },
        "LOGGING_CONFIG": None,
    }
    VARIANTS[name].change(settings)
    return settings
