import os
from typing import Any

from testproject.settings import *  # noqa: F403
from testproject.settings import DATABASES, INSTALLED_APPS, database

DATABASES["eu"] = database(os.environ["OTHER_DATABASE_URL"])
INSTALLED_APPS = [*INSTALLED_APPS, "tests.sharded"]
ROOT_URLCONF = "tests.sharded.urls"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def own_jobs(request: Any, jobs: Any) -> Any:
    """Show each user the jobs of the queue that has the user's name, and everything to the staff."""
    return jobs if request.user.is_superuser else jobs.filter(queue_name=request.user.get_username())


_BACKEND = "django_tasks_q.backends.DatabaseBackend"
TASKS = {
    "default": {"BACKEND": _BACKEND, "OPTIONS": {"DATABASE": "default", "SCOPE_JOBS": own_jobs}},
    "eu": {"BACKEND": _BACKEND, "OPTIONS": {"DATABASE": "eu"}},
}
