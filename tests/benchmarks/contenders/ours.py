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

OVER_HTTP = replace(
    OURS,
    name="django-tasks-q-http",
    setting="Django's middleware of a new project, sessions in the database, no throttle",
    apps=(
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "rest_framework",
        "django_tasks_q",
    ),
    settings="""
ROOT_URLCONF = "tests.benchmarks.site"
ALLOWED_HOSTS = ["*"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
# A throttle writes down each request of a minute: it is not what is measured.
REST_FRAMEWORK = {"DEFAULT_THROTTLE_RATES": {"django_tasks_q_enqueue": None}}
""",
    rows=frozenset(),
)
