"""Brings up the demo's Django project, and gives names to what can be wrong with it."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import django
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, InterfaceError

from ..checks import check_framework
from .trouble import Trouble


def run(options: Namespace, folder: Path) -> int:
    """Run the demo. Answers the exit status. Raises Trouble."""
    try:
        django.setup()
        for problem in check_framework(None):
            raise Trouble(f"{problem.msg} {problem.hint}")
        # It needs models, and those need a project that is up.
        from . import steps

        return steps.run(options, folder)
    except (DatabaseError, InterfaceError, ImproperlyConfigured) as error:
        raise Trouble.of("the database cannot be used", error) from error
