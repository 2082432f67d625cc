"""The only mapper from a job's row to the ``TaskResult`` that Django's framework hands out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, cast, overload

from django.core.exceptions import ImproperlyConfigured

from .. import compat
from ..conf import Options
from ..definition.options import DEFAULT
from ..definition.result import TaskError, TaskResult
from ..definition.task import P, R, Task
from ..exceptions import JobCancelled, JobExpired, TasksQError
from ..lifecycle.outcome import UNCOUNTED, AttemptOutcome
from ..lifecycle.retry import class_path
from ..lifecycle.states import JobStatus
from ..models import Attempt, Job
from ..payload import codec
from ..storage import NewJobs
from . import return_values

Status = compat.TaskResultStatus

STATUS: dict[str, Status] = {
    JobStatus.READY: Status.READY,
    JobStatus.SCHEDULED: Status.READY,
    JobStatus.WAITING: Status.READY,
    JobStatus.RUNNING: Status.RUNNING,
    JobStatus.SUCCESSFUL: Status.SUCCESSFUL,
    JobStatus.FAILED: Status.FAILED,
    JobStatus.CANCELLED: Status.FAILED,
    JobStatus.EXPIRED: Status.FAILED,
}


def task_result(job: Job, attempts: Sequence[Attempt] = ()) -> TaskResult[..., Any]:
    """Return the result of a job from its row and the rows of its attempts, in their order.

    Never raises for what is stored: an unknown task becomes a placeholder with the stored name.
    """
    counted = [attempt for attempt in attempts if attempt.outcome not in UNCOUNTED]
    worker_ids = [str(attempt.worker_id) for attempt in counted]
    current = job.status == JobStatus.RUNNING or job.is_finished
    if current and job.worker_id and all(attempt.fence != job.fence for attempt in counted):
        worker_ids.append(str(job.worker_id))
    task = task_of(job, vars(job))
    args, kwargs = _call_of(job.arguments)
    result: TaskResult[..., Any] = TaskResult(
        task=task,
        id=str(job.id),
        status=STATUS.get(job.status, Status.READY),  # a newer release may have put it off in another way
        enqueued_at=job.enqueued_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        last_attempted_at=job.last_attempted_at,
        args=args,
        kwargs=kwargs,
        backend=job.backend,
        errors=list(_errors(job, counted)),
        worker_ids=worker_ids,
    )
    value = None
    if job.result is not None:
        value = return_values.decoded(task, settings_of(job.backend), _stored(job.result))
    object.__setattr__(result, "_return_value", value)
    return result


def task_of(stored: Job | NewJobs, more: Mapping[str, Any]) -> Task[..., Any]:
    """Return the task of a job, under the options that the job was sent with.

    ``more`` has the columns that most jobs leave empty. An option that the task, or the settings, would
    give to a new job just so is as the task has it, so that results of one job are equal whether they
    were made when it was sent or read later.
    """
    task: Task[..., Any] = Task.restored(stored.task_name, read_options(stored.options))
    settings = settings_of(stored.backend)
    left_to_settings: dict[str, Any] = {}
    if settings is not None:
        for name in ("max_attempts", "timeout", "result_ttl"):
            if getattr(task, name) in (None, DEFAULT):
                left_to_settings[name] = getattr(settings, name)
        if not task.gives("priority"):  # which has a number also where none was given
            left_to_settings["priority"] = settings.priority
    expires = stored.enqueued_at + timedelta(seconds=task.expires) if task.expires else None
    values: dict[str, Any] = {
        "queue_name": stored.queue_name,
        "backend": stored.backend,
        "run_after": stored.run_after,
        "priority": stored.priority,
        "max_attempts": stored.max_attempts,
        "timeout": stored.timeout,
        "expires_at": None if stored.expires_at == expires else stored.expires_at,
        "retention": more.get("retention"),
        "result_ttl": more.get("result_ttl"),
    }
    changes = {
        name: value
        for name, value in values.items()
        if value != left_to_settings.get(name, getattr(task, name))
        # Not all that is read of a job has these.
        and (value is not None or name not in ("retention", "result_ttl"))
    }
    for name, kind in (("tags", list), ("metadata", dict)):
        text = more.get(name)
        if text and isinstance(kept := _stored(text), kind):
            changes[name] = tuple(kept) if kind is list else kept
    return task._copy(**changes) if changes else task


def settings_of(alias: str) -> Options | None:
    """Return the OPTIONS of a backend of ours; None where no TASKS names it any more."""
    try:
        settings: Options | None = getattr(compat.task_backends[alias], "settings", None)
    except (compat.InvalidTaskBackend, ImproperlyConfigured):
        return None
    return settings


def read_options(text: str) -> dict[str, Any] | None:
    """Return the options stored with a job; None without any that can be read."""
    options = _stored(text) if text else None
    return options if isinstance(options, dict) else None


def _call_of(text: str) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of a job; none where what is stored is no call."""
    match _stored(text):
        case [list() as args, dict() as kwargs]:
            return args, kwargs
    return [], {}


def _stored(text: str) -> Any:
    """Return decoded JSON; None for a text that was edited and is none any more."""
    try:
        return codec.loads(text)
    except ValueError:
        return None


def new_result(send: NewJobs, index: int) -> TaskResult[..., Any]:
    """Return the result of a job that was stored this moment. All but its id is made when asked for."""

    def make() -> TaskResult[..., Any]:
        args, kwargs = codec.loads(send.arguments[index])
        return TaskResult(
            task=task_of(send, send.more),
            id=send.ids[index],
            status=Status.READY,
            enqueued_at=send.enqueued_at,
            started_at=None,
            finished_at=None,
            last_attempted_at=None,
            args=args,
            kwargs=kwargs,
            backend=send.backend,
            errors=[],
            worker_ids=[],
        )

    return TaskResult.deferred(make, id=send.ids[index])


class Results(Sequence[TaskResult[P, R]]):
    """The results of many calls, in their order. Each is made when it is first asked for, and kept."""

    def __init__(self, send: NewJobs) -> None:
        self._send = send
        #: The database and the transaction in which the jobs are stored, or after which.
        self.sent_in: tuple[str, Any] | None = None
        self._made: dict[int, TaskResult[P, R]] = {}

    def __len__(self) -> int:
        return len(self._send.ids)

    @overload
    def __getitem__(self, index: int) -> TaskResult[P, R]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[TaskResult[P, R]]: ...
    def __getitem__(self, index: int | slice) -> TaskResult[P, R] | Sequence[TaskResult[P, R]]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        index = range(len(self))[index]  # raises IndexError, and counts from the end
        if index not in self._made:
            result = new_result(self._send, index)
            result.__dict__["_sent_in"] = self.sent_in
            self._made[index] = cast("TaskResult[P, R]", result)
        return self._made[index]


def _errors(job: Job, attempts: Sequence[Attempt]) -> Iterator[TaskError]:
    for attempt in attempts:
        if attempt.exception_class:
            yield TaskError(
                exception_class_path=attempt.exception_class,
                traceback=attempt.traceback or f"{attempt.exception_class}: {attempt.message}\n",
                code=attempt.error_code,
                message=attempt.message,
                data=_stored(attempt.data) if attempt.data else None,
            )
    if attempts and attempts[-1].outcome == AttemptOutcome.CANCELLED:
        return
    # These end a job between attempts, so no attempt has an error.
    endings: dict[str, type[TasksQError]] = {JobStatus.CANCELLED: JobCancelled, JobStatus.EXPIRED: JobExpired}
    ending = endings.get(job.status)
    if ending is not None:
        yield TaskError(
            exception_class_path=class_path(ending),
            traceback=f"{class_path(ending)}: {ending.__doc__}\n",
            code=job.error_code,
            message=ending.__doc__ or "",
        )
