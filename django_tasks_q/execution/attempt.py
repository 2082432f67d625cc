"""One attempt of a job, on its way from the stored call to its Outcome."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.core.exceptions import ObjectDoesNotExist

from ..definition.task import Task
from ..exceptions import BadArguments, TaskFailure, WorkerStopping
from ..failpoints import failpoint
from ..forks import leave
from ..lifecycle.outcome import Failure, Outcome
from ..loggers import robust_logger
from ..payload import codec
from ..storage import ClaimedJob
from . import endings
from .call import Body
from .context import TaskContext
from .control import Control
from .environment import Environment
from .job_logger import LogBook, capture
from .progress import Reporter

logger = robust_logger("django_tasks_q.execution")

#: Characters of a message that are logged of an attempt which is tried again.
MAX_SHOWN = 200


class Expired(Exception):
    """The job of an attempt has expired before its code could begin."""


class _Unreadable(BadArguments):
    """Stored arguments that are not what annotations say. Tasks may raise the other for their own reasons."""


# The public class is stored.
_Unreadable.__module__, _Unreadable.__qualname__ = BadArguments.__module__, BadArguments.__qualname__
_Unreadable.__name__ = BadArguments.__name__


class Attempt:
    """One attempt while it lasts: its job, its task, its arguments and what became of it."""

    #: Keeps its log lines, if the task asks for that.
    log_book: LogBook | None = None
    _reporter: Reporter | None = None

    def __init__(
        self,
        environment: Environment,
        job: ClaimedJob,
        control: Control,
        body_of: Callable[[Task[..., Any]], Body],
    ) -> None:
        self.environment = environment
        self.job = job
        self.control = control
        self.task = endings.restored_task(job)
        self.body = body_of(self.task)
        self.args: list[Any] = []
        self.kwargs: dict[str, Any] = {}
        #: What user code raised.
        self.exception: BaseException | None = None
        self._begun = 0.0
        self._is_decoded = False
        #: Bytes that its code may use beyond those of its process; None without a limit.
        self.memory = None if self.task.memory is None else self._limit(self.task.memory)
        settings = environment.backend.settings
        if level := settings.capture_logs if self.task.capture_logs is None else self.task.capture_logs:
            capture()
            self.log_book = LogBook(job, level, environment.send_update)

    def _limit(self, memory: int) -> int | None:
        if self.environment.in_test:
            return None
        if self.environment.executor.kind == "process":
            return memory
        # Enqueueing refuses that. The code has changed since.
        logger.warning(
            "Job id=%s task=%s runs without its limit of memory, which its executor does not have.",
            self.job.id,
            self.job.task_name,
        )
        return None

    @property
    def job_id(self) -> UUID:
        return self.job.id

    @cached_property
    def context(self) -> TaskContext:
        return TaskContext(self)

    @property
    def reporter(self) -> Reporter:
        if self._reporter is None:
            self._reporter = Reporter(self.job, self.environment.send_update)
        return self._reporter

    @property
    def keeps_result(self) -> bool:
        stores = self.task.store_result
        return self.environment.backend.settings.store_result if stores is None else stores

    def bind(self) -> Outcome | None:
        """Bind the arguments to the function's signature. Return an Outcome if they do not fit."""
        try:
            self.args, self.kwargs = codec.decode(self.job.arguments)
            self.task.check_arguments(self.args, self.kwargs)
        except (TypeError, ValueError) as error:
            self.exception = BadArguments(str(error))
            return endings.by_bad_arguments(self.job, self.exception)
        self._is_decoded = not self.body.parameters.typed
        if self._is_decoded and self.task.takes_context:
            self.args = [self.context, *self.args]
        return None

    def _decode(self) -> None:
        """Turn the arguments into what their annotations say.

        This may query the database and run user code, as a part of the attempt: it counts for the timeout,
        and what it raises is retried, unless the stored arguments cannot be read.
        """
        try:
            args, kwargs = self.body.parameters.decoded(self.args, self.kwargs)
        except (TypeError, ValueError, ObjectDoesNotExist) as error:
            raise _Unreadable(str(error)) from error
        self.args = [self.context, *args] if self.task.takes_context else list(args)
        self.kwargs = dict(kwargs)
        self._is_decoded = True

    def call(self) -> Any:
        """Call user code, and return its value or an awaitable of that."""
        if not self._is_decoded:
            if self.body.is_coroutine:
                return self._acall()
            self._decode()
        if self.body.is_bare:
            return self.environment.executor.call(self.task.func, self.args, self.kwargs)
        return self.body.call(self)

    async def _acall(self) -> Any:
        if self.body.parameters.needs_database:
            await sync_to_async(self._decode)()
        else:
            self._decode()
        return await self.call()

    def outcome_of(self, call: Callable[[], Any]) -> Outcome:
        """Return the Outcome of user code, whether it returns or raises."""
        self._begin()
        try:
            value = self._checked(call())
        except BaseException as exception:
            if os.getpid() != self.environment.pid:
                leave(exception)
            if self.environment.ends_with(exception):
                raise
            return self.raised(exception)
        return self.returned(value)

    async def aoutcome_of(self, call: Callable[[], Awaitable[Any]]) -> Outcome:
        """See outcome_of()."""
        self._begin()
        try:
            value = self._checked(await call())
        except BaseException as exception:
            if os.getpid() != self.environment.pid:
                leave(exception)
            if callable(self.task.backoff or self.environment.backend.settings.backoff):
                # The rule takes a result, which may have to be read from the database.
                return await sync_to_async(self.raised)(exception)
            return self.raised(exception)
        return self.returned(value)

    def _begin(self) -> None:
        failpoint("attempt.received")
        self._begun = time.perf_counter()

    def _checked(self, value: Any) -> Any:
        failpoint("attempt.returned")
        if isinstance(value, TaskFailure):
            raise value
        return value

    @property
    def duration(self) -> float:
        """Seconds since user code began."""
        return time.perf_counter() - self._begun

    def returned(self, value: Any) -> Outcome:
        if os.getpid() != self.environment.pid:
            leave(None)
        settings, parameters = self.environment.backend.settings, self.body.parameters
        outcome = endings.by_value(self.job, self.task, parameters, settings, value, self.duration)
        if self.log_book is not None or self._reporter is not None:
            self._close()
        return outcome

    def raised(self, exception: BaseException) -> Outcome:
        duration, self.exception = self.duration, exception
        self._close()
        if isinstance(exception, Expired):
            return endings.by_expiry(self.job)
        if isinstance(exception, _Unreadable):
            return endings.by_bad_arguments(self.job, exception)
        if isinstance(exception, WorkerStopping) and self.control.stopping:
            return endings.by_orderly_stop(self.job, exception, duration)
        outcome = endings.by_exception(
            self.job,
            self.task,
            self.environment.backend.settings,
            exception,
            duration,
            lambda: self.environment.signals.result(self.job),
        )
        if outcome.failure is not None and not outcome.is_final:
            self._log_retry(outcome.failure, outcome.delay)
        return outcome

    def _log_retry(self, failure: Failure, delay: float) -> None:
        job = self.job
        logger.warning(
            "Job id=%s task=%s: attempt %d of %d failed with %s: %s. The next attempt starts in %g seconds.",
            job.id,
            job.task_name,
            job.attempts,
            job.max_attempts,
            failure.exception_class,
            failure.message.partition("\n")[0][:MAX_SHOWN].rstrip(". "),
            round(delay, 1),
            extra={"job_id": str(job.id), "task_name": job.task_name, "attempt": job.attempts},
        )

    def _close(self) -> None:
        """Keep no more log lines, and send the last progress update."""
        self.log_book = None
        if self._reporter is not None:
            self._reporter.flush()
