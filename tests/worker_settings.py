"""For the processes that tests start: the shop, the tests' tasks, and options from the environment."""

import json
import os

from testproject.settings import *  # noqa: F403
from testproject.settings import DATABASES, INSTALLED_APPS, TASKS, database

# Without what only serves pages: these processes are started many times.
INSTALLED_APPS = [
    *(app for app in INSTALLED_APPS if not app.startswith(("django.contrib", "rest_framework"))),
    "tests.tasksapp",
    *json.loads(os.environ.get("EXTRA_APPS", "[]")),
]
TASKS["default"]["OPTIONS"] |= json.loads(os.environ.get("TASKS_OPTIONS", "{}"))
if "DATABASE_ENGINE" in os.environ:
    DATABASES["default"]["ENGINE"] = os.environ["DATABASE_ENGINE"]
if "OTHER_DATABASE_URL" in os.environ:
    DATABASES["other"] = database(os.environ["OTHER_DATABASE_URL"])
if "ISOLATION_LEVEL" in os.environ:
    from psycopg import IsolationLevel

    level = IsolationLevel[os.environ["ISOLATION_LEVEL"]]
    DATABASES["default"].setdefault("OPTIONS", {})["isolation_level"] = level
# As a project would have it: the framework's own lines go where the worker's go.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {
        name: {"handlers": ["console"], "level": "ERROR", "propagate": False}
        for name in ("django.dispatch", "django.tasks", "django_tasks")
    },
}
