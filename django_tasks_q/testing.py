"""For users' own tests: run what was enqueued, in this process and on this connection."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connections

from . import compat
from .backends import DatabaseBackend
from .definition.registry import registry
from .definition.result import TaskResult
from .execution.runner import Runner
from .lifecycle.outcome import Outcome
from .maintenance.promote import promote
from .storage import Claim, Note


def run_jobs(
    *, backend: str = compat.DEFAULT_TASK_BACKEND_ALIAS, limit: int = 1000
) -> list[TaskResult[..., Any]]:
    """Run every job that is due, and those they enqueue, until none is left.

    Jobs run through the worker's own code, but in the current process, connection and transaction: it
    works inside a ``TestCase``. A timeout is not enforced here, and a job that waits for its time or
    for its next attempt stays. ``limit`` bounds the runs. Returns the results in the order of the runs.

    A KeyboardInterrupt in a task is raised, as by Django's ImmediateBackend, and the job is released.
    """
    store = compat.task_backends[backend]
    if not isinstance(store, DatabaseBackend):
        raise ImproperlyConfigured(f"run_jobs() needs a DatabaseBackend; TASKS[{backend!r}] is another one.")
    worker_id = uuid.uuid4()
    updates: list[Note] = []
    runner = Runner(store, str(worker_id), in_test=True, send_update=updates.append)
    ran: list[TaskResult[..., Any]] = []
    while len(ran) < limit:
        promote(store.storage, backend)
        claim = Claim(worker_id=worker_id, backend=backend, task_names=registry.names())
        jobs = store.storage.jobs.claim(claim, 1)
        if not jobs:
            break
        try:
            with _savepoint(store.database):
                outcome = runner.run(jobs[0])
        except KeyboardInterrupt:
            store.storage.jobs.finish([Outcome.released(jobs[0].id, jobs[0].fence)])
            raise
        # After the attempt, which may have run on an event loop, or have left its transaction unusable.
        if updates:
            store.storage.progress.save(updates)
            updates.clear()
        if outcome.is_written or jobs[0].id in store.storage.jobs.finish([outcome]):
            runner.ended(jobs[0], outcome)
        ran.append(store.get_result(str(jobs[0].id)))
    return ran


@contextmanager
def _savepoint(alias: str) -> Iterator[None]:
    """Keep a database error of the task from spoiling the transaction that a TestCase runs in."""
    connection = connections[alias]
    if not connection.in_atomic_block:
        yield
        return
    savepoint: Any = connection.savepoint()
    try:
        yield
    except BaseException:
        connection.savepoint_rollback(savepoint)
        raise
    try:
        if connection.needs_rollback:
            raise DatabaseError("The task left the transaction unusable.")
        connection.savepoint_commit(savepoint)
    except DatabaseError:
        connection.needs_rollback = False
        connection.savepoint_rollback(savepoint)
