"""Imports the ``tasks`` module of every installed app, so that their tasks are registered."""

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

from django.apps import apps
from django.conf import settings
from django.utils.module_loading import module_has_submodule

from . import _framework as framework
from .definition import Task


def discover_tasks() -> None:
    """Import each installed app's ``tasks`` module, or all modules of its ``tasks`` package.

    Then those that ``TASK_MODULES`` in the OPTIONS of a backend names. An app without one is passed
    over; a module that fails to import raises its own error.
    """
    for app in apps.get_app_configs():
        if app.module is not None and module_has_submodule(app.module, "tasks"):
            module = import_module(f"{app.name}.tasks")
            _adopt_plain_tasks(module)
            for info in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{module.__name__}."):
                _adopt_plain_tasks(import_module(info.name))
    for name in _more_modules():
        _adopt_plain_tasks(import_module(name))


def _more_modules() -> Iterator[str]:
    """What OPTIONS name; whether they are usable at all is for a check to say."""
    for backend in getattr(settings, "TASKS", {}).values():
        names = backend.get("OPTIONS", {}).get("TASK_MODULES", ())
        yield from names if isinstance(names, list | tuple) else ()


def _adopt_plain_tasks(module: ModuleType) -> None:
    """Register tasks that the module declared through another backend's task class."""
    for value in vars(module).values():
        if isinstance(value, framework.Task):
            Task.adopt(value)
