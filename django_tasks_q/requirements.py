"""Whether Django's Tasks framework is installed, for modules that are loaded before system checks run."""

import importlib.util

import django


def has_framework() -> bool:
    """Return whether Django's Tasks framework, or its backport, can be imported."""
    return django.VERSION >= (6, 0) or importlib.util.find_spec("django_tasks") is not None
