"""What is compared: how each system is installed, configured, fed and drained."""

from __future__ import annotations

from dataclasses import dataclass

SETTINGS = """
import sys
SECRET_KEY = "benchmark"
USE_TZ = True
INSTALLED_APPS = [{apps}, "work"]
DATABASES = {{"default": {{
    "ENGINE": "django.db.backends.postgresql", "NAME": "{database}", "HOST": "{host}", "USER": "{user}",
    "CONN_MAX_AGE": None,
}}}}
TASKS = {{"default": {{"BACKEND": "{backend}"}}}}
LOGGING = {{"version": 1, "disable_existing_loggers": False,
           "loggers": {{"": {{"level": "ERROR"}}, "django": {{"level": "ERROR"}}}}}}
"""

TASKS = """
from {decorator} import task

@task
def noop(number):
    return number
"""

#: Enqueues one call at a time, and says how long that took.
ENQUEUE = """
import sys, time, django
django.setup()
from work.tasks import noop
noop.enqueue(0)
begun = time.perf_counter()
for number in range(int(sys.argv[1]) - 1):
    noop.enqueue(number)
print(time.perf_counter() - begun)
"""


@dataclass(frozen=True)
class Contender:
    name: str
    requirements: tuple[str, ...]
    apps: tuple[str, ...]
    backend: str
    decorator: str
    #: Arguments of ``django-admin`` for one worker process that ends when nothing is left.
    worker: tuple[str, ...]
    #: How many of them run at once, so that both cores have work.
    workers: int
    #: Seconds from the first start to the last finish, by the rows' own times, and how many succeeded.
    spent: str


OURS = Contender(
    name="django-tasks-q",
    requirements=(),
    apps=("django_tasks_q",),
    backend="django_tasks_q.backends.DatabaseBackend",
    decorator="django_tasks_q",
    worker=("runworker", "--batch", "--processes", "2", "--verbosity", "0"),
    workers=1,
    spent="SELECT extract(epoch FROM max(finished_at) - min(started_at)), count(*) "
    "FROM django_tasks_q_job WHERE status = 'SUCCESSFUL'",
)

DJANGO_TASKS_DB = Contender(
    name="django-tasks-db",
    requirements=("django-tasks-db==0.13.0", "django-tasks; python_version < '3.12'"),
    apps=("django_tasks_db",),
    backend="django_tasks_db.DatabaseBackend",
    decorator="{framework}",
    worker=("db_worker", "--batch", "--no-startup-delay", "--verbosity", "0"),
    workers=2,
    spent="SELECT extract(epoch FROM max(finished_at) - min(started_at)), count(*) "
    "FROM django_tasks_database_dbtaskresult WHERE status = 'SUCCESSFUL'",
)
