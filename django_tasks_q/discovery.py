"""Imports the ``tasks`` module of every installed app, so that their tasks are registered."""

import pkgutil
from importlib import import_module
from types import ModuleType

from django.apps import apps
from django.utils.module_loading import module_has_submodule

from . import _framework as framework
from .definition import Task


def discover_tasks() -> None:
    """Import each installed app's ``tasks`` module, or all modules of its ``tasks`` package.

    An app without one is passed over; a module that fails to import raises its own error.
    """
    for app in apps.get_app_configs():
        if app.module is not None and module_has_submodule(app.module, "tasks"):
            module = import_module(f"{app.name}.tasks")
            _adopt_plain_tasks(module)
            for info in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{module.__name__}."):
                _adopt_plain_tasks(import_module(info.name))


def _adopt_plain_tasks(module: ModuleType) -> None:
    """Register tasks that the module declared through another backend's task class."""
    for value in vars(module).values():
        if isinstance(value, framework.Task):
            Task.adopt(value)
