"""For one run of Django's tests: one database, and the package beside the tests' own app."""

import os

from testproject.settings import database

from .. import databases

SECRET_KEY = "insecure: nothing is deployed"
USE_TZ = True
TIME_ZONE = "UTC"
INSTALLED_APPS = ["django_tasks_q", "tasks"]
DATABASES = {"default": database(databases.urls()[os.environ.get("SUITE_DATABASE", "default")])}
DATABASES["default"]["TEST"] = {"NAME": DATABASES["default"]["NAME"]}
# What the tests' module-level tasks are declared for; the tests themselves override it.
TASKS = {"default": {"BACKEND": "django_tasks_q.backends.DatabaseBackend"}}
