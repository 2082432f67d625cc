"""Makes the Outcome of how an attempt ended, by the retry rules of its task."""

from __future__ import annotations

import traceback as traceback_module
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from ..compat import TaskResult
from ..conf import Options
from ..definition.registry import registry
from ..definition.task import Task
from ..exceptions import (
    AttemptCrashed,
    BadArguments,
    ResultUnstorable,
    ReturnTypeMismatch,
    Snooze,
    TaskCancelled,
    TaskFailure,
    TaskTimeout,
    UnserializableValue,
    WorkerLost,
    WorkerStopping,
)
from ..lifecycle.outcome import CANCELLED, AttemptOutcome, Failure, Outcome
from ..lifecycle.retry import UNCOUNTED_RESCUES, Backoff, OnLost, RetryRule, error_code
from ..payload import codec
from ..payload.signature import Parameters
from ..results import return_values
from ..results.mapper import read_options
from ..storage import ClaimedJob, LostJob
from ..validation import plain
from .job_log import user_frames

TASK_TIMEOUT = "TASK_TIMEOUT"
BAD_ARGUMENTS = "BAD_ARGUMENTS"
RESULT_UNSTORABLE = "RESULT_UNSTORABLE"
RETURN_TYPE_MISMATCH = "RETURN_TYPE_MISMATCH"
INTERNAL_ERROR = "INTERNAL_ERROR"
SERIALIZATION_FAILURE = "SERIALIZATION_FAILURE"
COMMIT_UNKNOWN = "COMMIT_UNKNOWN"
WORKER_STOPPED = "WORKER_STOPPED"
WORKER_LOST = "WORKER_LOST"
CRASHED = "CRASHED"
OUT_OF_MEMORY = "OUT_OF_MEMORY"


def restored_task(job: ClaimedJob) -> Task[..., Any]:
    """Return the task of a claimed job, under the options the job was sent with."""
    return _restored(
        registry.version,
        job.task_name,
        job.options,
        job.queue_name,
        job.priority,
        job.max_attempts,
        job.timeout,
    )


@lru_cache(maxsize=1000)
def _restored(
    version: int,
    name: str,
    options: str,
    queue_name: str,
    priority: int,
    max_attempts: int,
    timeout: float | None,
) -> Task[..., Any]:
    # Most jobs are one of a few calls that differ in nothing but their arguments.
    return Task.restored(
        name,
        read_options(options),
        queue_name=queue_name,
        priority=priority,
        max_attempts=max_attempts,
        timeout=timeout,
    )


def by_exception(
    job: ClaimedJob,
    task: Task[..., Any],
    settings: Options,
    exception: BaseException,
    duration: float | None,
    result: Callable[[], TaskResult[..., Any]] | None,
) -> Outcome:
    """Return the Outcome of an attempt that raised.

    ``result`` makes the task result that a callable backoff takes. It is None in the supervisor, which
    runs no user code: there the backend's backoff is used instead of a callable.
    """
    if isinstance(exception, Snooze):
        return Outcome.snoozed(job.id, job.fence, exception.delay, duration or 0.0)
    if isinstance(exception, TaskCancelled):
        failure = Failure.of(exception, CANCELLED, formatted(exception))
        return Outcome.cancelled(job.id, job.fence, failure, duration)
    timed_out = isinstance(exception, TaskTimeout)
    data, remark = None, ""
    if timed_out:
        code = TASK_TIMEOUT
    elif isinstance(exception, TaskFailure):
        code = exception.code
        data, remark = _data_of(exception)
    else:
        code = error_code(exception, task.error_codes, settings.error_codes) or (
            OUT_OF_MEMORY
            if isinstance(exception, MemoryError)
            else task.default_error_code or settings.default_error_code
        )
    backoff = task.backoff if task.backoff is not None else settings.backoff
    if result is None and not isinstance(backoff, Backoff):
        backoff = settings.backoff if isinstance(settings.backoff, Backoff) else Backoff()
    rule = RetryRule(
        max_attempts=job.max_attempts,
        backoff=backoff,
        retry_on=task.retry_on,
        dont_retry_on=task.dont_retry_on,
    )
    try:
        delay = rule.delay(exception, code, job.attempts, result)
    except BaseException as error:
        # The traceback shows both: the error of the rule, raised while that of the task was handled.
        error.__context__ = exception
        delay, exception = None, error
    failure = Failure.of(exception, code, formatted(exception) + remark, data=data)
    kind = AttemptOutcome.TIMEOUT if timed_out else AttemptOutcome.FAILED
    return Outcome.failed(job.id, job.fence, failure, delay, duration, kind)


def _data_of(failure: TaskFailure) -> tuple[str | None, str]:
    """Return what a failure carries, as JSON, and a remark if that is not possible."""
    if failure.data is None:
        return None, ""
    try:
        return codec.dumps(failure.data, what="data", max_bytes=codec.MAX_TEXT_BYTES), ""
    except BaseException as error:
        return None, f"\n(Its data was not stored: {error})\n"


def by_bad_arguments(job: ClaimedJob, error: BadArguments) -> Outcome:
    """Return the Outcome of an attempt whose stored arguments do not fit the function."""
    failure = Failure.of(error, BAD_ARGUMENTS)
    return Outcome.failed(job.id, job.fence, failure, None, None)


def by_internal_error(job: ClaimedJob, error: BaseException) -> Outcome:
    """Return the Outcome of an error outside of the task's code. The job fails; the child continues."""
    return Outcome.failed(job.id, job.fence, Failure.of(error, INTERNAL_ERROR, formatted(error)), None, None)


def by_value(
    job: ClaimedJob,
    task: Task[..., Any],
    parameters: Parameters,
    settings: Options,
    value: Any,
    duration: float,
) -> Outcome:
    """Return the Outcome of an attempt that returned. A value that no database can store fails the job."""
    try:
        result = return_values.encoded(task, parameters, settings, value)
    except ReturnTypeMismatch as error:
        failure = Failure.of(error, RETURN_TYPE_MISMATCH)
        return Outcome.failed(job.id, job.fence, failure, None, duration)
    except BaseException as error:
        # As Django's own backends have it: TypeError for a type that JSON lacks.
        kind = TypeError if isinstance(error, UnserializableValue) else ResultUnstorable
        failure = Failure.of(kind(str(error)), RESULT_UNSTORABLE)
        return Outcome.failed(job.id, job.fence, failure, None, duration)
    return Outcome.successful(job.id, job.fence, result, duration)


def by_timeout(job: ClaimedJob, settings: Options, duration: float) -> Outcome:
    """Return the Outcome of an attempt that was killed after its timeout and the grace."""
    error = TaskTimeout(
        f"The attempt ran longer than its timeout of {plain(job.timeout or 0)} seconds, did not end within "
        f"{plain(settings.grace)} more, and was killed."
    )
    return by_exception(job, restored_task(job), settings, error, duration, None)


def by_cancellation(job: ClaimedJob, settings: Options, duration: float | None) -> Outcome:
    """Return the Outcome of an attempt that was killed or abandoned a grace after its cancellation."""
    error = TaskCancelled(
        f"The attempt did not end within {plain(settings.grace)} seconds of its cancellation."
    )
    return Outcome.cancelled(job.id, job.fence, Failure.of(error, CANCELLED), duration)


def by_crash(
    job: ClaimedJob | LostJob,
    settings: Options,
    error: AttemptCrashed,
    duration: float | None = None,
    exit_status: int | None = None,
    *,
    has_begun: bool = True,
) -> Outcome:
    """Return the Outcome of an attempt whose process or worker is gone, as ``error`` says.

    Where its code has not begun, the first times count as nothing, and the job may run again in any case.
    """
    if not has_begun and job.rescues < UNCOUNTED_RESCUES:
        return _rescued(job, error, exit_status)
    crashes = job.crashes + 1
    poison = crashes >= settings.max_crashes
    again = not has_begun or not is_fatal_to_lose(job.options)
    described = type(error)(f"{error} (crash {crashes} of {settings.max_crashes})")
    return Outcome.crashed(job.id, job.fence, described, again, poison, duration, exit_status)


def by_rescue(job: LostJob, settings: Options, error: WorkerLost) -> Outcome:
    """Return the Outcome of an attempt that no worker knows of, as ``error`` says.

    It counts as a crash only if it is marked as one that begins.
    """
    if job.has_begun:
        return by_crash(job, settings, error)
    return _rescued(job, error)


def _rescued(job: ClaimedJob | LostJob, error: AttemptCrashed, exit_status: int | None = None) -> Outcome:
    described = type(error)(f"{error} (not known to have begun, and not counted)")
    code = WORKER_LOST if isinstance(error, WorkerLost) else CRASHED
    return Outcome.rescued(job.id, job.fence, Failure.of(described, code, exit_status=exit_status))


def by_expiry(job: ClaimedJob) -> Outcome:
    """Return the Outcome of a job that expired after its claim: released, it ends as unclaimed jobs do."""
    return Outcome.released(job.id, job.fence)


def by_stop(job: ClaimedJob, duration: float | None, *, has_begun: bool = True) -> Outcome:
    """Return the Outcome of an attempt that was killed with its worker or another job.

    A job whose code ``has_begun`` fails if its ``on_lost`` says so.
    """
    if not has_begun:
        return Outcome.released(job.id, job.fence)
    if not is_fatal_to_lose(job.options):
        return Outcome.released(job.id, job.fence, duration)
    error = WorkerLost(
        "The process of this job was killed for another reason than the job. It is not run again, since its "
        "on_lost is 'fail'."
    )
    failure = Failure.of(error, WORKER_STOPPED)
    return Outcome.failed(job.id, job.fence, failure, None, duration, AttemptOutcome.CRASHED)


def by_end_of_worker(
    job: ClaimedJob, settings: Options, duration: float | None, *, has_begun: bool = True
) -> Outcome:
    """Return the Outcome of an attempt whose worker ended unexpectedly, which the attempt may have caused.

    As where the whole worker is killed, that counts as nothing the first times, and then as a crash: a job
    that ends every worker would otherwise do so for ever.
    """
    if not has_begun or is_fatal_to_lose(job.options):
        return by_stop(job, duration, has_begun=has_begun)
    error = WorkerLost("The worker of this job ended unexpectedly")
    if job.rescues < UNCOUNTED_RESCUES:
        return Outcome.rescued(job.id, job.fence, Failure.of(error, WORKER_LOST))
    return by_crash(job, settings, error, duration)


def by_orderly_stop(job: ClaimedJob, error: WorkerStopping, duration: float) -> Outcome:
    """Return the Outcome of an attempt that was ended by WorkerStopping.

    Its code was interrupted like that of an attempt that is killed, so the same holds for ``on_lost="fail"``.
    """
    if not is_fatal_to_lose(job.options):
        return Outcome.released(job.id, job.fence, duration)
    failure = Failure.of(error, WORKER_STOPPED, formatted(error))
    return Outcome.failed(job.id, job.fence, failure, None, duration)


@lru_cache(maxsize=1000)
def is_fatal_to_lose(options: str) -> bool:
    """Return whether a job with these stored options is not run again once an attempt of it is lost."""
    # Read from the job: a worker that finds it lost may not know its task.
    return (read_options(options) or {}).get("on_lost") == OnLost.FAIL.value


def formatted(exception: BaseException) -> str:
    """Return the traceback as text, from the first frame of the user's code on."""
    try:
        lines = traceback_module.format_exception(
            type(exception), exception, user_frames(exception.__traceback__), limit=100
        )
        return "".join(lines)
    except BaseException as error:
        return f"<the traceback of {type(exception).__name__} cannot be shown: {type(error).__name__}>\n"
