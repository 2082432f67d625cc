from dataclasses import replace

from .django_tasks_db import DJANGO_TASKS_DB

WORKER = ["-m", "django", "ox_worker"]

#: It needs Python 3.12, and the run says so on an older one. Never measured here yet: its worker is
#: stopped when all jobs have begun.
DJANGO_OX = replace(
    DJANGO_TASKS_DB,
    name="django-ox",
    package="django-ox",
    setting="two `ox_worker`, at their defaults",
    requirements=("django-ox", "django-tasks; python_version < '3.12'"),
    apps=("django_ox",),
    backend={"default": {"BACKEND": "django_ox.backend.OxBackend"}},
    draining=(),
    waiting=(WORKER, WORKER),
    spent="",
)
