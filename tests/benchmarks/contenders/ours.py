from __future__ import annotations

from dataclasses import replace

from .base import Contender

TASKS = """
from django_tasks_q import task
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
    tasks[name].enqueue_many([(number,) for number in numbers])
"""

WORKER = ["-m", "django", "runworker", "--processes", "2", "--verbosity", "0"]
BACKEND = "django_tasks_q.backends.DatabaseBackend"

OURS = Contender(
    name="django-tasks-q",
    package="django-tasks-q",
    setting="`runworker --processes 2`, all options at their defaults",
    apps=("django_tasks_q",),
    backend={"default": {"BACKEND": BACKEND}},
    tasks=TASKS,
    draining=([*WORKER, "--batch"],),
    waiting=(WORKER,),
    spent="SELECT extract(epoch FROM max(finished_at) - min(started_at)), count(*) "
    "FROM django_tasks_q_job WHERE status = 'SUCCESSFUL'",
    rows=frozenset({"P1", "P2", "P3", "P4", "P5", "P6"}),
)

SILENT = replace(
    OURS,
    name="django-tasks-q-silent",
    setting='`"NOTIFY": False`: no wake-up hints',
    backend={"default": {"BACKEND": BACKEND, "OPTIONS": {"NOTIFY": False}}},
    rows=frozenset({"P6"}),
)

BRIEF = replace(
    OURS,
    name="django-tasks-q-brief",
    setting='`"RETENTION": 0.001`: jobs are deleted as soon as somebody looks',
    backend={"default": {"BACKEND": BACKEND, "OPTIONS": {"RETENTION": 0.001}}},
    rows=frozenset(),
)

ON_SQLITE = replace(
    OURS,
    name="django-tasks-q-sqlite",
    setting="the same, with Django's default settings for SQLite",
    sqlite=True,
    spent="",
    rows=frozenset({"P3", "P11"}),
)
