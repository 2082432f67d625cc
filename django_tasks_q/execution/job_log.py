"""Logs the endings of jobs on the framework's logger, in place of the framework's receiver.

That receiver logs a cancelled job as an error. For other backends it is called as before.
"""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Any

from .. import compat
from ..backends import DatabaseBackend
from ..exceptions import JobCancelled, JobExpired, TaskCancelled
from ..lifecycle.retry import class_path
from ..loggers import RobustLogger

logger = RobustLogger(compat.logger, {})

#: Endings without success that were asked for: the level and the state that are logged.
_WANTED = {
    class_path(TaskCancelled): (logging.INFO, "CANCELLED"),
    class_path(JobCancelled): (logging.INFO, "CANCELLED"),
    class_path(JobExpired): (logging.WARNING, "EXPIRED"),
}
_CANCELLED = {class_path(TaskCancelled), class_path(JobCancelled)}

#: Frames of these modules stand between a child and the user's code, and say nothing to a reader.
_OWN_MODULES = ("django_tasks_q.", "asgiref.")


def take_over() -> None:
    """Connect the receiver, unless the project has disconnected the framework's."""
    compat.log_endings_by(log_ending)


def is_error(task_result: Any) -> bool:
    """Return whether a job has failed, and was not cancelled and has not expired."""
    return (
        task_result.status == compat.TaskResultStatus.FAILED
        and bool(task_result.errors)
        and task_result.errors[-1].exception_class_path not in _WANTED
    )


def is_cancelled(task_result: Any) -> bool:
    """Return whether a job has ended as cancelled."""
    return (
        task_result.status == compat.TaskResultStatus.FAILED
        and bool(task_result.errors)
        and task_result.errors[-1].exception_class_path in _CANCELLED
    )


def log_ending(
    sender: type[compat.BaseTaskBackend],
    task_result: Any,
    exception: BaseException | None = None,
    **kwargs: Any,
) -> None:
    """The receiver of ``task_finished``: one record a job, with the exception if it failed."""
    if not issubclass(sender, DatabaseBackend):
        compat.log_task_finished(sender, task_result, **kwargs)
        return
    level, state, error = logging.INFO, str(task_result.status), None
    if is_error(task_result):
        level, error = logging.ERROR, exception or compat.handled_exception()
    elif task_result.status == compat.TaskResultStatus.FAILED and task_result.errors:
        level, state = _WANTED[task_result.errors[-1].exception_class_path]
    logger.log(
        level,
        "Task id=%s path=%s state=%s",
        task_result.id,
        task_result.task.module_path,
        state,
        exc_info=None if error is None else (type(error), error, user_frames(error.__traceback__)),
        extra={"job_id": task_result.id, "task_name": task_result.task.name},
    )


def user_frames(frames: TracebackType | None) -> TracebackType | None:
    """Return a traceback from the first frame of the user's code on."""
    first = frames
    while first is not None and first.tb_frame.f_globals.get("__name__", "").startswith(_OWN_MODULES):
        first = first.tb_next
    return first or frames
