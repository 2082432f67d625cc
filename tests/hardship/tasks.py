"""Tasks that do things to the database that others must not feel."""

import os
import time
from pathlib import Path
from typing import Any

from django.db import connection, transaction

from django_tasks_q import task
from tests.tasksapp.models import Effect


@task
def hold_write_lock(mark: str, go: str) -> None:
    """Write, and keep everybody else from writing until there is a file."""
    with transaction.atomic():
        Effect.objects.create(key="held", pid=os.getpid())
        Path(mark).touch()
        while not Path(go).exists():
            time.sleep(0.01)


@task
def say(*statements: str) -> Any:
    """Answers what the last statement did, if it has rows."""
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return cursor.fetchone()[0] if cursor.description else None


@task
def backend_of_session(pause: float = 0.0) -> list[int]:
    """Process ids of this child and of the server's end of its connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        pid = cursor.fetchone()[0]
    time.sleep(pause)
    return [os.getpid(), pid]


@task
def in_a_transaction(key: str) -> None:
    with transaction.atomic():
        Effect.objects.filter(key=key).count()
        Effect.objects.create(key=key, pid=os.getpid())


@task
def tell_time() -> float:
    return time.time()


@task
def wait_for_writer(mark: str, pipe: str) -> None:
    """Run until somebody opens a named pipe: without a look at any clock."""
    Path(mark).touch()
    with Path(pipe).open() as stream:
        stream.read()
