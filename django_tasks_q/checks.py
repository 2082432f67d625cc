"""What ``manage.py check`` finds before a job is lost to it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import django
from django.apps import AppConfig, apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.utils.module_loading import import_string

from .requirements import has_framework

Apps = Sequence[AppConfig] | None


def check_framework(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Find a missing Tasks framework, which Django has from 6.0 on and the backport before."""
    if has_framework():
        return []
    return [
        Error(
            f"Django {django.get_version()} has no Tasks framework, and its backport is not installed.",
            hint="pip install 'django-tasks-q[backport]', or use Django 6.0 or later.",
            id="django_tasks_q.E002",
        )
    ]


def check_backends(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Return the OPTIONS of each of our backends, the database behind it, and its queues."""
    from . import compat
    from .backends import DatabaseBackend

    messages: list[CheckMessage] = []
    for backend in compat.task_backends.all():
        if isinstance(backend, DatabaseBackend):
            problems = list(_option_problems(backend))
            messages += problems or [
                *_queue_problems(backend),
                *_executor_problems(backend),
                *_memory_problems(backend),
                *_return_problems(backend),
                *_signature_problems(backend),
                *_middleware_problems(backend),
                *_encoder_problems(backend),
                *_scope_problems(backend),
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


def check_modules(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Find modules of tasks that cannot be imported: the site runs, but workers do not know their tasks."""
    from .definition.discovery import broken

    return [
        Error(
            f"The module {module} cannot be imported, and its tasks are not known: {reason}",
            hint="Correct the module. If its tasks are not for Django's Tasks framework, name it in "
            "EXCLUDE_TASK_MODULES in the OPTIONS of a backend.",
            id="django_tasks_q.E017",
        )
        for module, reason in broken
    ]


def check_names(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Find two tasks under one name, also where the code that declares the second catches the error."""
    from .definition.registry import registry

    return [Error(clash, id="django_tasks_q.E009") for clash in registry.clashes]


def _tasks_of(backend: Any) -> list[Any]:
    from .definition.registry import registry

    return [task for task in registry if task.backend == backend.alias]


def _queue_problems(backend: Any) -> Iterator[CheckMessage]:
    from .definition.routing import routed

    # The backend itself has made a set of it, in which a single name has become its letters.
    queues = settings.TASKS[backend.alias].get("QUEUES", [])
    if isinstance(queues, str) or not all(isinstance(queue, str) for queue in queues):
        yield Error(
            f"TASKS[{backend.alias!r}]['QUEUES'] must be a list of names, not {queues!r}.",
            id="django_tasks_q.E005",
        )
        return
    for task in _tasks_of(backend):
        queue = task.queue_name
        if not task.gives("queue_name"):
            queue = routed(task.name, backend.settings.routes).get("queue_name", queue)
        if queues and queue not in queues:
            yield Error(
                f"Task {task.name} is sent to queue {queue!r}, which is not in "
                f"TASKS[{backend.alias!r}]['QUEUES'].",
                hint="Add the queue there, or leave QUEUES empty to allow any.",
                id="django_tasks_q.E006",
            )


def _executor_problems(backend: Any) -> Iterator[CheckMessage]:
    from .definition.routing import executor_of
    from .executors import executor_class
    from .payload.signature import Parameters

    for task in _tasks_of(backend):
        name = executor_of(task, backend.settings.executor)
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
            if kind == "async" and not Parameters.of(task.func, task.takes_context).is_coroutine:
                yield Error(
                    f"Task {task.name} is a plain function, and its executor {name!r} runs coroutines.",
                    hint="Make it async def, or choose another executor.",
                    id="django_tasks_q.E008",
                )


def _memory_problems(backend: Any) -> Iterator[CheckMessage]:
    from .definition.routing import memory_problem, routed
    from .execution.memory import can_limit_memory

    limited = []
    for task in _tasks_of(backend):
        routes = routed(task.name, backend.settings.routes)
        if task.memory is None and (task.gives("memory") or routes.get("memory") is None):
            continue
        limited.append(task.name)
        if problem := memory_problem(task, backend.settings.executor):
            yield Error(
                f"Task {task.name} has a limit of memory that cannot be enforced: {problem}",
                hint="Where ROUTES gives it the limit, name a pattern that does not match the task.",
                id="django_tasks_q.E019",
            )
    if limited and not can_limit_memory():
        yield Warning(
            f"This system cannot limit the memory of a process, so the option memory of {limited[0]} and "
            "other tasks has no effect here.",
            hint="Run the workers on Linux, or limit their memory in another way.",
            id="django_tasks_q.W006",
        )


def _return_problems(backend: Any) -> Iterator[CheckMessage]:
    from .payload.annotations import problem_of
    from .payload.signature import Parameters

    for task in _tasks_of(backend):
        strict = backend.settings.strict if task.strict is None else task.strict
        annotation = Parameters.of(task.func, task.takes_context).return_annotation
        if strict and (problem := problem_of(annotation)):
            yield Error(
                f"Task {task.name} is strict, and its return value cannot be checked: {problem}",
                hint="Annotate what it returns, '-> None' if nothing, or set strict=False.",
                id="django_tasks_q.E010",
            )


def _signature_problems(backend: Any) -> Iterator[CheckMessage]:
    from .payload.signature import Parameters

    if not backend.settings.strict_signatures:
        return
    for task in _tasks_of(backend):
        signature = Parameters.of(task.func, task.takes_context).signature
        names = [each.name for each in signature.parameters.values() if each.kind != each.KEYWORD_ONLY]
        if names:
            yield Error(
                f"Task {task.name} takes {names[0]!r} by position, and STRICT_SIGNATURES forbids that.",
                hint="Put a * before its parameters, so that calls stay readable and can be checked.",
                id="django_tasks_q.E011",
            )


def _middleware_problems(backend: Any) -> Iterator[CheckMessage]:
    from .execution.middleware import check_middleware

    specs = dict.fromkeys(backend.settings.middleware)
    for task in _tasks_of(backend):
        specs |= dict.fromkeys(task.middleware)
    for problem in check_middleware(list(specs)):
        yield Error(problem, id="django_tasks_q.E012")


def _encoder_problems(backend: Any) -> Iterator[CheckMessage]:
    from .payload.encoders import loaded

    encoders = dict.fromkeys(
        [backend.settings.encoder, *(task.result_encoder for task in _tasks_of(backend))]
    )
    for encoder in encoders:
        try:
            if encoder is not None:
                loaded(encoder)
        except (ImportError, TypeError) as error:
            yield Error(f"The encoder {encoder!r} cannot be used: {error}", id="django_tasks_q.E013")


def _scope_problems(backend: Any) -> Iterator[CheckMessage]:
    for key in ("jobs", "schedules"):
        scope = getattr(backend.settings, f"scope_{key}")
        try:
            if isinstance(scope, str) and not callable(import_string(scope)):
                raise ImportError(f"{scope!r} is no function.")
        except ImportError as error:
            yield Error(
                f"TASKS[{backend.alias!r}]['OPTIONS']['SCOPE_{key.upper()}'] cannot be used: {error}",
                hint=f"Name a function (request, {key}) by its dotted path.",
                id="django_tasks_q.E014",
            )


def _database_problems(alias: str) -> Iterator[CheckMessage]:
    from .storage import storage_for

    try:
        storage = storage_for(alias)
    except ImproperlyConfigured as error:
        yield Error(str(error), id="django_tasks_q.E018")
        return
    for advice in storage.session.advice():
        yield Warning(advice.problem, hint=advice.remedy, id=f"django_tasks_q.{advice.id}")


def check_driver(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Find both PostgreSQL drivers: Django uses psycopg 3 then, which this package requires."""
    if not all(map(importlib.util.find_spec, ("psycopg2", "psycopg"))):
        return []
    found = []
    for alias in connections:
        with suppress(ImproperlyConfigured):  # an alias whose driver is not here
            driver = getattr(connections[alias], "Database", None)  # the module that Django has taken
            if getattr(driver, "__name__", "") == "psycopg":
                found.append(alias)
    if not found:
        return []
    return [
        Warning(
            f"psycopg2 and psycopg are both installed, and Django uses psycopg, version 3, for "
            f"{', '.join(map(repr, found))}: SQL of the project that was written for psycopg2 may fail, such "
            "as IN %s with a tuple.",
            hint="See 'Coming from psycopg2' in the package's page on PostgreSQL. Uninstall psycopg2 when "
            "nothing needs it, or silence this check.",
            id="django_tasks_q.W005",
        )
    ]


def check_api(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Find what the REST API lacks without its optional packages."""
    if "django_tasks_q.api.urls" not in sys.modules:
        return []
    missing = [
        name
        for name, module in {"django-filter": "django_filters", "drf-spectacular": "drf_spectacular"}.items()
        if importlib.util.find_spec(module) is None
    ]
    if not missing:
        return []
    return [
        Warning(
            f"The REST API is included, but {' and '.join(missing)} cannot be imported: "
            "its lists have no filters without the first, and it has no OpenAPI schema without the second.",
            hint="pip install 'django-tasks-q[api]'",
            id="django_tasks_q.W004",
        )
    ]


def check_command_clash(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Find Channels, which has a command ``runworker`` too; the app listed first wins."""
    if not apps.is_installed("channels"):
        return []
    return [
        Warning(
            "channels is installed too, and both have a command named runworker.",
            hint="Start this package's worker as manage.py tasksworker.",
            id="django_tasks_q.W003",
        )
    ]


def check_schedules(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Find schedules of the code that clash with others or cannot be enqueued."""
    from .scheduling.declare import schedules

    messages: list[CheckMessage] = [Error(clash, id="django_tasks_q.E015") for clash in schedules.clashes]
    for declared in schedules:
        try:
            declared.encoded()
        except (TypeError, ValueError) as error:
            messages.append(
                Error(
                    f"The schedule {declared.name!r} ({declared.source}) cannot be enqueued: {error}",
                    id="django_tasks_q.E016",
                )
            )
    return messages
