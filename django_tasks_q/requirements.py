"""Whether Django's Tasks framework is there at all, for what is loaded before anybody could be told."""

import importlib.util

import django


def has_framework() -> bool:
    """Django brings it from 6.0 on, its backport before. Without either, a system check says so."""
    return django.VERSION >= (6, 0) or importlib.util.find_spec("django_tasks") is not None
