"""What a task that takes a context is given."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar, overload

from asgiref.sync import sync_to_async

from .. import compat
from ..backends import DatabaseBackend
from ..definition.enqueue import enqueue
from ..definition.options import checked_metadata
from ..definition.result import TaskResult
from ..definition.task import Task
from ..exceptions import JobTaken, TaskCancelled
from ..models import Job
from ..payload import codec
from ..storage import ClaimedJob, storage_for
from .control import Control
from .environment import Environment
from .job_logger import JobLogger, LogBook
from .progress import Reporter

T = TypeVar("T")


class RunningAttempt(Protocol):
    """What a context shows of its attempt."""

    @property
    def environment(self) -> Environment: ...
    @property
    def job(self) -> ClaimedJob: ...
    @property
    def task(self) -> Task[..., Any]: ...
    @property
    def control(self) -> Control: ...
    @property
    def reporter(self) -> Reporter: ...
    @property
    def log_book(self) -> LogBook | None: ...


class TaskContext(compat.GenericTaskContext[Any, Any]):
    """The running attempt, as its task sees it."""

    def __init__(self, attempt: RunningAttempt) -> None:
        # Not by attribute: the framework's class is frozen.
        self.__dict__["_attempt"] = attempt

    if TYPE_CHECKING:
        _attempt: RunningAttempt

    # What it is

    @property
    def job_id(self) -> str:
        """Id of the job: the same in every attempt, so it may serve as an idempotency key."""
        return str(self._attempt.job.id)

    @property
    def worker_id(self) -> str:
        """Id of the worker's boot."""
        return self._attempt.environment.worker_id

    @property
    def task(self) -> Task[..., Any]:
        """The task under the options of this job."""
        return self._attempt.task

    @property
    def backend(self) -> DatabaseBackend:
        """The backend that the job was enqueued to; its settings are in ``backend.options``."""
        return self._attempt.environment.backend

    @property
    def attempt(self) -> int:
        """Number of this run, counted from 1, crashed ones included."""
        job = self._attempt.job
        return job.attempts + job.crashes

    @property
    def is_last_attempt(self) -> bool:
        """Whether a failure of this attempt is the end of the job, whatever the retry rules say."""
        job = self._attempt.job
        return job.attempts >= job.max_attempts

    @cached_property
    def task_result(self) -> TaskResult[..., Any]:  # type: ignore[override]
        """The job as a TaskResult, built when it is first asked for."""
        attempt = self._attempt
        return attempt.environment.signals.result(attempt.job)

    @cached_property
    def logger(self) -> JobLogger:
        """A logger named after the task's module, whose records carry job id, task and attempt."""
        fields = {"job_id": self.job_id, "task_name": self.task.name, "attempt": self.attempt}
        return JobLogger(logging.getLogger(self.task.func.__module__), fields, self._attempt.log_book)

    # Its row

    @cached_property
    def job(self) -> Job:
        """The job's row, read when it is first asked for. In a coroutine, await ``ajob()`` before."""
        attempt = self._attempt
        return Job.objects.using(attempt.environment.database).get(id=attempt.job.id)

    async def ajob(self) -> Job:
        """See job."""
        return await sync_to_async(lambda: self.job)()

    def refresh(self) -> None:
        """Read the row again, and its metadata. Changes that were not saved are lost."""
        for name in ("job", "metadata", "task_result"):
            self.__dict__.pop(name, None)
        self.job  # noqa: B018 - reads it

    async def arefresh(self) -> None:
        """See refresh()."""
        await sync_to_async(self.refresh)()

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """The job's metadata, to be changed in place and kept by ``save_metadata()``."""
        row = self.__dict__.get("job")
        text = self._attempt.job.metadata if row is None else row.metadata
        return dict(codec.loads(text)) if text else {}

    def save_metadata(self) -> None:
        """Store the metadata, for later attempts and other readers of the job.

        Raises TypeError or ValueError for what JSON cannot hold, JobTaken when the attempt has lost its
        job to another one.
        """
        attempt = self._attempt
        text = codec.dumps(checked_metadata(self.metadata), what="metadata")
        if not storage_for(attempt.environment.database).progress.save_metadata(
            attempt.job.id, attempt.job.fence, text
        ):
            raise JobTaken(
                "The metadata was not saved: this attempt has lost its job, which another worker runs by now."
            )

    async def asave_metadata(self) -> None:
        """See save_metadata()."""
        await sync_to_async(self.save_metadata)()

    # Its end

    @property
    def deadline(self) -> float | None:
        """When TaskTimeout will be raised, on ``time.monotonic()``; None without a timeout."""
        return self._attempt.control.deadline

    def remaining(self) -> float:
        """Return the seconds left until the deadline; infinity without one."""
        return self._attempt.control.remaining

    @property
    def cancel_requested(self) -> bool:
        """Whether the job is to be cancelled. A task in a thread has to check this, and end."""
        return self._attempt.control.cancel_requested

    @property
    def stopping(self) -> bool:
        """Whether the worker is stopping. A task that can end early should, and be run again later."""
        return self._attempt.control.stopping

    def sleep(self, seconds: float) -> None:
        """Sleep for ``seconds``. Raises TaskCancelled, TaskTimeout or WorkerStopping as soon as it is due."""
        self._attempt.control.sleep(seconds)

    async def asleep(self, seconds: float) -> None:
        """See sleep()."""
        await self._attempt.control.asleep(seconds)

    def cancel(self, reason: str = "") -> NoReturn:
        """End this job as CANCELLED, by raising TaskCancelled."""
        raise TaskCancelled(reason)

    # Progress, and other jobs

    def set_progress(self, current: float, total: float | None = None, message: str = "") -> None:
        """Show how far the job is: ``current`` of ``total``, with up to 255 characters of text.

        Written a few times a second at most, and outside of the task's transaction.
        """
        for value in (current, total):
            if value is not None:
                _check_number(value, "set_progress() takes numbers for current and total")
        self._attempt.reporter.set(current, total, codec.printable(str(message), 1000))

    @overload
    def progress(self, items: Iterable[T], total: float | None = None, message: str = "") -> Iterator[T]: ...
    @overload
    def progress(
        self, items: AsyncIterable[T], total: float | None = None, message: str = ""
    ) -> AsyncIterator[T]: ...
    def progress(self, items: Any, total: float | None = None, message: str = "") -> Any:
        """Yield the items, and show how many are done. ``total`` is their length by default."""
        if total is not None:
            _check_number(total, "progress() takes a number for total")
        reporter = self._attempt.reporter
        if isinstance(items, AsyncIterable):
            return reporter.aover(items, total, message)
        return reporter.over(items, total, message)

    def enqueue(self, name: str, /, *args: Any, **kwargs: Any) -> TaskResult[..., Any]:
        """Enqueue a call of the task of that name. Raises TaskNotRegistered and what ``enqueue`` raises."""
        return enqueue(name, args, kwargs)

    async def aenqueue(self, name: str, /, *args: Any, **kwargs: Any) -> TaskResult[..., Any]:
        """See enqueue()."""
        return await sync_to_async(self.enqueue)(name, *args, **kwargs)


def _check_number(value: Any, rule: str) -> None:
    """Raise TypeError or ValueError, with the text of ``rule``, unless the value is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{rule}, not {value!r:.100}.")
    try:
        is_finite = math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        is_finite = False
    if not is_finite:
        raise ValueError(f"{rule} that are finite, not {value!r:.100}.")
