"""The start of the demo's Django project, with messages for what may be wrong."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import django
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, InterfaceError

from ..checks import check_framework
from .errors import DemoError


def run(options: Namespace, folder: Path) -> int:
    """Run the demo and return the exit status. Raise DemoError."""
    try:
        django.setup()
        for problem in check_framework(None):
            raise DemoError(f"{problem.msg} {problem.hint}")
        # Models can be imported only now.
        from . import steps

        return steps.run(options, folder)
    except (DatabaseError, InterfaceError, ImproperlyConfigured) as error:
        raise DemoError.of("the database cannot be used", error) from error
