"""The backends that a command works with."""

from __future__ import annotations

from contextlib import suppress

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from .. import compat
from ..access import database
from ..backends import DatabaseBackend
from ..storage import storage_for
from ..validation import suggestion


def chosen(alias: str | None) -> list[DatabaseBackend]:
    """Return the backend with this alias, or all backends that store jobs. Raise CommandError."""
    if alias is not None:
        return [stored(alias)]
    try:
        found = [backend for backend in compat.task_backends.all() if isinstance(backend, DatabaseBackend)]
    except ImproperlyConfigured as error:
        raise CommandError(str(error)) from error
    if not found:
        raise CommandError(
            "TASKS has no backend that stores jobs: use django_tasks_q.backends.DatabaseBackend."
        )
    return [stored(backend.alias) for backend in found]


def stored(alias: str) -> DatabaseBackend:
    """Return the backend with this alias, whose OPTIONS are valid. Raise CommandError."""
    try:
        if alias not in compat.task_backends:
            raise CommandError(f"TASKS has no backend {alias!r}.{suggestion(alias, compat.task_backends)}")
        backend = compat.task_backends[alias]
        if isinstance(backend, DatabaseBackend):
            backend.settings  # noqa: B018 - raises for invalid OPTIONS
            backend.storage  # noqa: B018 - raises for a driver that cannot be used
            return backend
    except ImproperlyConfigured as error:
        raise CommandError(str(error)) from error
    raise CommandError(
        f"TASKS[{alias!r}] is {type(backend).__module__}.{type(backend).__qualname__}, which stores no jobs "
        "to run. Use django_tasks_q.backends.DatabaseBackend."
    )


def commit_at_once(command: BaseCommand) -> None:
    """Make a command that was started as a program commit its changes at once, even without autocommit.

    A command that other code calls is part of the transaction of that code.
    """
    if not getattr(command, "_called_from_command_line", False):
        return
    with suppress(ImproperlyConfigured):  # the code that uses the backend reports the error
        ours = [each for each in compat.task_backends.all() if isinstance(each, DatabaseBackend)]
        for alias in {database(), *(backend.database for backend in ours)}:
            storage_for(alias).session.commit_at_once()
