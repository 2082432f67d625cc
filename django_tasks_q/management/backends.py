"""The backends that a command is about."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError

from .. import _framework as framework
from ..backends import DatabaseBackend


def chosen(alias: str | None) -> list[DatabaseBackend]:
    """The backend of that alias, or all of TASKS that store jobs. Raises CommandError."""
    if alias is not None:
        return [stored(alias)]
    try:
        found = [backend for backend in framework.task_backends.all() if isinstance(backend, DatabaseBackend)]
    except ImproperlyConfigured as error:
        raise CommandError(str(error)) from error
    if not found:
        raise CommandError(
            "TASKS has no backend that stores jobs: use django_tasks_q.backends.DatabaseBackend."
        )
    return [stored(backend.alias) for backend in found]


def stored(alias: str) -> DatabaseBackend:
    """The backend of that alias, with usable OPTIONS. Raises CommandError."""
    try:
        backend = framework.task_backends[alias]
        if isinstance(backend, DatabaseBackend):
            backend.settings  # noqa: B018 - raises for unusable OPTIONS
            backend.storage  # noqa: B018 - and for a driver that cannot be used
            return backend
    except ImproperlyConfigured as error:
        raise CommandError(str(error)) from error
    raise CommandError(
        f"TASKS[{alias!r}] is {type(backend).__module__}.{type(backend).__qualname__}, which stores no jobs "
        "to run. Use django_tasks_q.backends.DatabaseBackend."
    )
