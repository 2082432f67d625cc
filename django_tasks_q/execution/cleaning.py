"""What is done between two attempts of one process, so that the next one starts as the first did."""

from __future__ import annotations

from uuid import UUID

from django.db import close_old_connections, connections

from ..loggers import robust_logger
from ..storage import remember_inherited
from .altered_sessions import watch_sessions
from .connections import clean_connections, drop_dead_connections
from .other_threads import (
    clean_other_threads,
    cleans_itself,
    prepare_other_threads,
    rest_other_threads,
)
from .process_state import ProcessState
from .wrappers import any_made, watch_wrappers

logger = robust_logger("django_tasks_q.execution")


def start_anew() -> None:
    """Drop the connection objects that a new process has of the one that it was forked from."""
    for connection in connections.all(initialized_only=True):
        del connections[connection.alias]
    remember_inherited()


class Cleaning:
    """Cleans up between attempts. Threads of a process that run attempts at the same time share it."""

    def __init__(self) -> None:
        watch_sessions()
        watch_wrappers()
        #: What a task has changed for which this process ends; empty if none has.
        self.altered = ""
        self._state: ProcessState | None = None
        self._running: set[UUID] = set()

    def watch_process(self) -> None:
        """Compare the state of this process from now on. It is the child's, which is ready for attempts."""
        self._state = ProcessState()

    def before(self, job_id: UUID) -> None:
        """An attempt of a job begins."""
        self._running.add(job_id)
        if any_made():
            drop_dead_connections()
            prepare_other_threads(is_alone=len(self._running) == 1)

    def after(self, job_id: UUID, task_name: str, *, has_own_thread: bool) -> None:
        """The attempt has ended. With ``has_own_thread`` it has run in this thread alone."""
        self._running.discard(job_id)
        is_alone = not self._running
        altered = ""
        if any_made():
            if has_own_thread:
                self.clean_thread()
            if clean_other_threads(is_alone=is_alone):
                altered = "database session of a thread that is still there"
        if (state := self._state) is not None:
            altered = state.changed() or altered
            if is_alone:
                state.restore()
        if altered and not self.altered:
            self.altered = altered
            logger.warning(
                "Task %s has changed its process (%s), so it ends. The next jobs run in a new one.",
                task_name,
                altered,
            )

    def end_for_memory(self, task_name: str) -> None:
        """No memory was left for a task. What else has failed for want of it is not known."""
        if not self.altered:
            self.altered = "memory"
            logger.warning(
                "Task %s has run out of memory, so its process ends. The next jobs run in a new one.",
                task_name,
            )

    def clean_thread(self) -> None:
        """Clean the connections of this thread."""
        if any_made():
            cleans_itself()
            clean_connections()

    def rest(self) -> None:
        """Close connections, as ``CONN_MAX_AGE`` says: there are no jobs."""
        close_old_connections()
        if any_made():
            rest_other_threads()
