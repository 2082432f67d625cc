"""Imports the ``tasks`` module of every installed app, so that their tasks are registered."""

import logging
import pkgutil
from collections.abc import Iterator
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from django.apps import apps
from django.conf import settings
from django.utils.module_loading import module_has_submodule

from .. import compat
from .task import Task

logger = logging.getLogger("django_tasks_q.discovery")

#: Modules of a package that hold its tests, or are there to be executed.
LEFT_OUT = ("__main__", "conftest", "tests", "test_*", "*_test")


class Broken(NamedTuple):
    """A module that cannot be imported. None of its tasks is known for sure."""

    module: str
    reason: str


#: Found by the last ``discover_tasks()``, for a system check to report.
broken: list[Broken] = []
_folders: list[Path] = []


def discover_tasks() -> None:
    """Import each installed app's ``tasks`` module, or all modules of its ``tasks`` package.

    Then those that ``TASK_MODULES`` in the OPTIONS of a backend names. An app without one is passed
    over, and so are tests, and what ``EXCLUDE_TASK_MODULES`` names. A module that fails to import is
    logged and kept in ``broken``: the site does without its tasks.
    """
    broken.clear()
    _folders.clear()
    excluded = frozenset(_named("EXCLUDE_TASK_MODULES"))
    for app in apps.get_app_configs():
        if app.module is not None and module_has_submodule(app.module, "tasks"):
            failures = len(broken)
            _discover(f"{app.name}.tasks", excluded)
            if len(broken) > failures:
                _folders.append(Path(app.path))
    for name in _named("TASK_MODULES"):
        _imported(name)


def _discover(name: str, excluded: frozenset[str]) -> None:
    """Import a module, and all below it."""
    if name in excluded or (module := _imported(name)) is None:
        return
    for info in pkgutil.iter_modules(getattr(module, "__path__", ()), f"{name}."):
        own_name = info.name.rpartition(".")[2]
        if not any(fnmatchcase(own_name, pattern) for pattern in LEFT_OUT):
            _discover(info.name, excluded)


def _imported(name: str) -> ModuleType | None:
    try:
        module = import_module(name)
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}"
        broken.append(Broken(name, reason))
        logger.error("The module %s cannot be imported, and its tasks are not known: %s", name, reason)
        return None
    for value in vars(module).values():
        # Declared through another backend's task class.
        if isinstance(value, compat.Task):
            Task.adopt(value)
    return module


def _named(option: str) -> Iterator[str]:
    """Yield the names in an option of all backends; a system check reports unusable ones."""
    for backend in getattr(settings, "TASKS", {}).values():
        names = backend.get("OPTIONS", {}).get(option, ())
        yield from names if isinstance(names, list | tuple) else ()


def watch_broken(sender: Any, **kwargs: Any) -> None:
    """Add folders to Django's reloader whose modules could not be imported, and so are unknown to it."""
    for folder in _folders:
        sender.watch_dir(folder, "**/*.py")
