"""What admin, REST and commands look at, decided once for all of them."""

from django.db import router

from .models import Job


def database() -> str:
    """Alias of the database that the default backend of ours writes jobs to."""
    # Not at the top: without the framework there are no backends, and a system check says so.
    from . import _framework as framework
    from .backends import DatabaseBackend

    ours = {b.alias: b for b in framework.task_backends.all() if isinstance(b, DatabaseBackend)}
    if not ours:  # a test project's jobs may run where they are sent
        return router.db_for_write(Job)
    return ours.get(framework.DEFAULT_TASK_BACKEND_ALIAS, next(iter(ours.values()))).database
