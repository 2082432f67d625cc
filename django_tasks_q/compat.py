"""The one import of Django's Tasks framework: ``django.tasks`` on 6.0 and later, its backport before."""

import logging
import sys
from typing import TYPE_CHECKING, Any

import django

from .loggers import is_wanted

if TYPE_CHECKING or django.VERSION >= (6, 0):
    from django.tasks import (
        DEFAULT_TASK_BACKEND_ALIAS,
        DEFAULT_TASK_QUEUE_NAME,
        TaskContext,
        TaskResult,
        TaskResultStatus,
        task_backends,
    )
    from django.tasks import signals as _signals
    from django.tasks.backends.base import BaseTaskBackend
    from django.tasks.backends.dummy import DummyBackend
    from django.tasks.backends.immediate import ImmediateBackend
    from django.tasks.base import (
        DEFAULT_TASK_PRIORITY,
        TASK_MAX_PRIORITY,
        TASK_MIN_PRIORITY,
        TASK_REFRESH_ATTRS,
        Task,
        TaskError,
    )
    from django.tasks.exceptions import (
        InvalidTask,
        InvalidTaskBackend,
        TaskResultDoesNotExist,
        TaskResultMismatch,
    )
    from django.tasks.signals import task_enqueued, task_finished, task_started
else:
    from django_tasks import (
        DEFAULT_TASK_BACKEND_ALIAS,
        DEFAULT_TASK_QUEUE_NAME,
        TaskContext,
        TaskResult,
        TaskResultStatus,
        task_backends,
    )
    from django_tasks import signals as _signals
    from django_tasks.backends.base import BaseTaskBackend
    from django_tasks.backends.dummy import DummyBackend
    from django_tasks.backends.immediate import ImmediateBackend
    from django_tasks.base import (
        DEFAULT_TASK_PRIORITY,
        TASK_MAX_PRIORITY,
        TASK_MIN_PRIORITY,
        TASK_REFRESH_ATTRS,
        Task,
        TaskError,
    )
    from django_tasks.exceptions import InvalidTaskBackendError as InvalidTaskBackend
    from django_tasks.exceptions import InvalidTaskError as InvalidTask
    from django_tasks.exceptions import TaskResultDoesNotExist, TaskResultMismatch
    from django_tasks.signals import task_enqueued, task_finished, task_started

if TYPE_CHECKING:
    GenericTask = Task
    GenericTaskResult = TaskResult
    GenericTaskContext = TaskContext
else:
    # Generic in the type stubs, plain in Django, generic over fewer parameters in the backport.
    class GenericTask(Task):
        __class_getitem__ = classmethod(lambda cls, parameters: cls)

    class GenericTaskResult(TaskResult):
        __class_getitem__ = classmethod(lambda cls, parameters: cls)

    class GenericTaskContext(TaskContext):
        __class_getitem__ = classmethod(lambda cls, parameters: cls)


#: The framework's own receiver of each signal, and the level at which it logs.
_LOGGED = {
    task_enqueued: (id(_signals.log_task_enqueued), logging.DEBUG),
    task_started: (id(_signals.log_task_started), logging.INFO),
    task_finished: (id(_signals.log_task_finished), logging.INFO),
}


logger = _signals.logger
log_task_finished = _signals.log_task_finished


def log_endings_by(receiver: Any) -> None:
    """Replace the framework's receiver of ``task_finished``, which logs, by ``receiver``.

    Where a project has disconnected the framework's receiver, nothing is connected.
    """
    if task_finished.disconnect(log_task_finished):
        task_finished.connect(receiver)
        _LOGGED[task_finished] = (id(receiver), logging.INFO)


def handled_exception() -> BaseException | None:
    """Return the exception that is being handled, as it is while ``task_finished`` is sent for a failure."""
    return sys.exc_info()[1]


def is_observed(signal: Any) -> bool:
    """Return whether a signal has an effect.

    It has one if there is another receiver than the framework's own, or a handler for that one's record.

    Every job sends two signals. Most projects listen to none of them, and where ``DEBUG`` is off, no handler
    of Django's default logging takes the records.
    """
    receivers, (own, level) = signal.receivers, _LOGGED[signal]
    return len(receivers) != 1 or receivers[0][0][0] != own or is_wanted(_signals.logger, level)


__all__ = [
    "DEFAULT_TASK_BACKEND_ALIAS",
    "DEFAULT_TASK_PRIORITY",
    "DEFAULT_TASK_QUEUE_NAME",
    "TASK_MAX_PRIORITY",
    "TASK_MIN_PRIORITY",
    "TASK_REFRESH_ATTRS",
    "BaseTaskBackend",
    "DummyBackend",
    "GenericTask",
    "GenericTaskContext",
    "GenericTaskResult",
    "ImmediateBackend",
    "InvalidTask",
    "InvalidTaskBackend",
    "Task",
    "TaskContext",
    "TaskError",
    "TaskResult",
    "TaskResultDoesNotExist",
    "TaskResultMismatch",
    "TaskResultStatus",
    "handled_exception",
    "is_observed",
    "log_endings_by",
    "log_task_finished",
    "logger",
    "task_backends",
    "task_enqueued",
    "task_finished",
    "task_started",
]
