from __future__ import annotations

from dataclasses import replace

from .base import Contender

TASKS = """
from FRAMEWORK import task
from work import jobs

@task
def noop(number):
    return jobs.noop(number)

@task
def orm(number):
    return jobs.orm(number)

tasks = {"noop": noop, "orm": orm}

def send(name, number):
    tasks[name].enqueue(number)

def send_many(name, numbers):
    from django.db import transaction
    with transaction.atomic():
        for number in numbers:
            tasks[name].enqueue(number)
"""

WORKER = ["-m", "django", "db_worker", "--no-startup-delay", "--verbosity", "0"]

DJANGO_TASKS_DB = Contender(
    name="django-tasks-db",
    package="django-tasks-db",
    setting="two `db_worker --no-startup-delay`; latency with `--interval 0.1`; "
    "bulk by `enqueue()` in one transaction, since it has no bulk call",
    requirements=("django-tasks-db==0.13.0", "django-tasks; python_version < '3.12'"),
    apps=("django_tasks_db",),
    backend={"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}},
    tasks=TASKS,
    draining=([*WORKER, "--batch"], [*WORKER, "--batch"]),
    # It only polls. Its default is a second; this is ten times as often.
    waiting=([*WORKER, "--interval", "0.1"],) * 2,
    spent="SELECT extract(epoch FROM max(finished_at) - min(started_at)), count(*) "
    "FROM django_tasks_database_dbtaskresult WHERE status = 'SUCCESSFUL'",
    rows=frozenset({"P1", "P2", "P3", "P4", "P5"}),
)

ON_SQLITE = replace(
    DJANGO_TASKS_DB,
    name="django-tasks-db-sqlite",
    setting="two `db_worker --no-startup-delay`, with Django's default settings for SQLite",
    sqlite=True,
    spent="",
    rows=frozenset({"P11"}),
)
