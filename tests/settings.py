"""The shop's settings, with a database of each kind."""

from testproject.settings import *  # noqa: F403
from testproject.settings import INSTALLED_APPS, database

from . import databases

DATABASE_URLS = databases.urls()
DATABASES = {alias: database(url) for alias, url in DATABASE_URLS.items()}
for config in DATABASES.values():
    # One name for all: processes that a test starts import these settings, and know of no test database.
    config["TEST"] = {"NAME": config["NAME"], "DEPENDENCIES": []}

INSTALLED_APPS = [*INSTALLED_APPS, "tests.tasksapp"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
MEDIA_ROOT = databases.directory() / "media"
