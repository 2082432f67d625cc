"""What ``manage.py check`` finds before a job is lost to it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from typing import Any

import django
from asgiref.sync import iscoroutinefunction
from django.apps import AppConfig, apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.db import connections

Apps = Sequence[AppConfig] | None


def check_framework(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Django before 6.0 has no Tasks framework of its own."""
    if django.VERSION >= (6, 0) or importlib.util.find_spec("django_tasks") is not None:
        return []
    return [
        Error(
            f"Django {django.get_version()} has no Tasks framework, and its backport is not installed.",
            hint="pip install 'django-tasks-q[backport]', or use Django 6.0 or later.",
            id="django_tasks_q.E002",
        )
    ]


def check_backends(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """The OPTIONS of each of our backends, the database behind it, and its queues."""
    from . import _framework as framework
    from .backends import DatabaseBackend

    messages: list[CheckMessage] = []
    for backend in framework.task_backends.all():
        if isinstance(backend, DatabaseBackend):
            problems = list(_option_problems(backend))
            messages += problems or [
                *_queue_problems(backend),
                *_executor_problems(backend),
                *_database_problems(backend.database),
            ]
    return messages


def _option_problems(backend: Any) -> Iterator[CheckMessage]:
    from .conf import Options

    for problem in Options.problems(backend.options):
        yield Error(f"TASKS[{backend.alias!r}]['OPTIONS']: {problem}", id="django_tasks_q.E003")
    database = backend.options.get("DATABASE")
    if isinstance(database, str) and database not in connections:
        yield Error(
            f"TASKS[{backend.alias!r}]['OPTIONS']['DATABASE'] is {database!r}, which is not in DATABASES.",
            id="django_tasks_q.E004",
        )


def _queue_problems(backend: Any) -> Iterator[CheckMessage]:
    from .registry import registry

    # The backend itself has made a set of it, in which a single name has become its letters.
    queues = settings.TASKS[backend.alias].get("QUEUES", [])
    if isinstance(queues, str) or not all(isinstance(queue, str) for queue in queues):
        yield Error(
            f"TASKS[{backend.alias!r}]['QUEUES'] must be a list of names, not {queues!r}.",
            id="django_tasks_q.E005",
        )
        return
    for task in registry:
        if task.backend == backend.alias and queues and task.queue_name not in queues:
            yield Error(
                f"Task {task.name} is sent to queue {task.queue_name!r}, which is not in "
                f"TASKS[{backend.alias!r}]['QUEUES'].",
                hint="Add the queue there, or leave QUEUES empty to allow any.",
                id="django_tasks_q.E006",
            )


def _executor_problems(backend: Any) -> Iterator[CheckMessage]:
    from .executors import executor_class
    from .registry import registry
    from .worker.groups import executor_of

    for task in registry:
        if task.backend != backend.alias:
            continue
        name = executor_of(task, backend.settings)
        try:
            kind = executor_class(name).kind
        except (ImportError, TypeError) as error:
            yield Error(
                f"Task {task.name} has the executor {name!r}, which cannot be used: {error}",
                hint="Name 'process', 'thread', 'async' or the dotted path of a subclass of one of the "
                "classes in django_tasks_q.executors.",
                id="django_tasks_q.E007",
            )
        else:
            if kind == "async" and not iscoroutinefunction(task.func):
                yield Error(
                    f"Task {task.name} is a plain function, and its executor {name!r} runs coroutines.",
                    hint="Make it async def, or choose another executor.",
                    id="django_tasks_q.E008",
                )


def _database_problems(alias: str) -> Iterator[CheckMessage]:
    from .storage import storage_for

    for advice in storage_for(alias).advice():
        yield Warning(advice.problem, hint=advice.remedy, id=f"django_tasks_q.{advice.id}")


def check_command_clash(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Channels brings a ``runworker`` too, and the app listed first wins."""
    if not apps.is_installed("channels"):
        return []
    return [
        Warning(
            "channels is installed too, and both have a command named runworker.",
            hint="Start this package's worker as manage.py tasksworker.",
            id="django_tasks_q.W003",
        )
    ]
