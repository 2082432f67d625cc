"""The shop with django-unfold before Django's own admin. DATABASE_URL names its database."""

from testproject.settings import *  # noqa: F403
from testproject.settings import INSTALLED_APPS

ALLOWED_HOSTS = ["127.0.0.1", "localhost", "testserver"]
INSTALLED_APPS = ["unfold", *INSTALLED_APPS, "tests.browser", "tests.themed"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
