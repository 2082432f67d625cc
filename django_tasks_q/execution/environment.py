"""What all attempts of one process have in common."""

from __future__ import annotations

import os
from collections.abc import Callable

from ..backends import DatabaseBackend
from ..executors import Executor
from ..storage import Note
from .task_signals import TaskSignals


class Environment:
    """The backend and the worker that attempts run for, and what calls their functions.

    With ``in_test`` the attempts use the caller's connections and transaction, which are not cleaned up.
    ``send_update`` takes the progress and the log lines of running attempts; without it they are discarded.
    """

    def __init__(
        self,
        backend: DatabaseBackend,
        worker_id: str,
        database: str,
        executor: Executor,
        *,
        in_test: bool = False,
        send_update: Callable[[Note], None] | None = None,
    ) -> None:
        self.backend = backend
        self.worker_id = worker_id
        self.database = database
        self.executor = executor
        self.in_test = in_test
        self.send_update = send_update or _discard
        self.signals = TaskSignals(backend, worker_id, database)
        #: A copy of this process that comes back from user code ends there: see ``forks``.
        self.pid = os.getpid()

    def ends_with(self, error: BaseException) -> bool:
        """Return whether an exception ends the whole run, and not one job: Ctrl-C in a project's test."""
        return self.in_test and isinstance(error, KeyboardInterrupt)


def _discard(update: Note) -> None:
    """Stand in for a worker where there is none."""
