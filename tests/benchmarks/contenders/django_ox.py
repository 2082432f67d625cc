from __future__ import annotations

from dataclasses import replace

from .django_tasks_db import DJANGO_TASKS_DB

TASKS = """
from FRAMEWORK import task
from django_ox.bulk import enqueue_many
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
    enqueue_many(tasks[name], [((number,), {}) for number in numbers])
"""

WORKER = ["-m", "django", "ox_worker", "--verbosity", "0"]

DJANGO_OX = replace(
    DJANGO_TASKS_DB,
    name="django-ox",
    package="django-ox",
    setting="two `ox_worker`; latency with `--interval 0.1`",
    python=(3, 12),
    requirements=("django-ox", "django-tasks>=0.12"),
    apps=("django_ox",),
    backend={"default": {"BACKEND": "django_ox.backend.OxBackend"}},
    tasks=TASKS,
    draining=([*WORKER, "--batch"],) * 2,
    waiting=([*WORKER, "--interval", "0.1"],) * 2,
    spent="SELECT extract(epoch FROM max(finished_at) - min(started_at)), count(*) "
    "FROM django_ox_oxtask WHERE status = 'SUCCESSFUL'",
)
