"""Sends the framework's signals for the jobs of one worker."""

from __future__ import annotations

from django.core.exceptions import SynchronousOnlyOperation
from django.db import Error
from django.dispatch import Signal
from django.utils import timezone

from .. import compat, signals
from ..backends import DatabaseBackend
from ..definition.result import TaskResult
from ..exceptions import JobFailed
from ..lifecycle.outcome import AttemptOutcome, Outcome
from ..lifecycle.states import JobStatus
from ..loggers import robust_logger
from ..models import Attempt, Job
from ..results.mapper import Status, task_result
from ..storage import ClaimedJob
from .connections import clean_connections
from .endings import restored_task
from .job_log import is_cancelled, is_error, user_frames

logger = robust_logger("django_tasks_q.execution")

#: Outcomes of attempts whose process or worker is gone.
LOST = (AttemptOutcome.CRASHED, AttemptOutcome.LOST)


def is_retry(kind: str) -> bool:
    """Return whether a job that runs again after an outcome of this kind is retried after a failure."""
    return kind in (AttemptOutcome.FAILED, AttemptOutcome.TIMEOUT)


class TaskSignals:
    """Sends the signals, each with the job as a result."""

    def __init__(self, backend: DatabaseBackend, worker_id: str, database: str) -> None:
        self.backend = backend
        self.worker_id = worker_id
        self.database = database

    @property
    def has_start_receivers(self) -> bool:
        return compat.is_observed(compat.task_started)

    def started(self, job: ClaimedJob) -> None:
        result = TaskResult.deferred(
            lambda: self.result(job), id=str(job.id), task=restored_task(job), status=Status.RUNNING
        )
        compat.task_started.send_robust(type(self.backend), task_result=result)

    def is_observed(self, outcome: Outcome) -> bool:
        """Return whether the signal of an ending has an effect. Failures of jobs are always logged."""
        if outcome.is_final:
            return outcome.status is not JobStatus.SUCCESSFUL or compat.is_observed(compat.task_finished)
        return is_retry(outcome.kind) and bool(signals.task_retrying.receivers)

    def ended(self, job: ClaimedJob, outcome: Outcome) -> None:
        """Send the signals of an outcome that is stored."""
        if not outcome.is_final:
            exception = None if outcome.aftermath is None else outcome.aftermath.exception
            self._send(signals.task_retrying, self.result(job, outcome), exception=exception)
        elif outcome.status is not JobStatus.SUCCESSFUL:
            after = outcome.aftermath
            self._finished(self.result(job, outcome), None if after is None else after.exception)
        else:
            result = TaskResult.deferred(
                lambda: self.result(job, outcome),
                id=str(job.id),
                task=restored_task(job),
                status=Status.SUCCESSFUL,
            )
            self._send_finished(result, None)

    def ended_by_id(self, job_id: str, kind: str = "", *, is_final: bool = True) -> None:
        """Send the signals of a job of which this process knows only the id.

        ``kind`` is that of the attempt's outcome, and empty where the job has ended without an attempt.
        """
        try:
            result = self.backend.get_result_from(self.database, job_id)
            if kind in LOST:
                self._send(signals.task_lost, result)
            if is_final:
                self._finished(result)
            elif is_retry(kind):
                self._send(signals.task_retrying, result, exception=None)
        except (Error, compat.TaskResultDoesNotExist):
            logger.exception(
                "The signals of the end of job id=%s are not sent: its result cannot be read", job_id
            )

    def _finished(self, result: TaskResult[..., object], exception: BaseException | None = None) -> None:
        if not result.is_finished:
            return  # it has been retried in the meantime
        if not is_error(result):
            self._send_finished(result, None)
            return
        try:
            if exception is None:
                raise _shown(result)
            raise exception.with_traceback(user_frames(exception.__traceback__))
        except BaseException:
            # As Django's backends do it: receivers, and error monitors, look for the exception being handled.
            self._send_finished(result, exception)

    def _send_finished(self, result: TaskResult[..., object], exception: BaseException | None) -> None:
        compat.task_finished.send_robust(type(self.backend), task_result=result, exception=exception)
        if signals.task_cancelled.receivers and is_cancelled(result):
            self._send(signals.task_cancelled, result, exception=exception)

    def _send(self, signal: Signal, result: TaskResult[..., object], **more: object) -> None:
        signal.send_robust(type(self.backend), task_result=result, **more)

    def result(self, job: ClaimedJob, outcome: Outcome | None = None) -> TaskResult[..., object]:
        """Return the job as a TaskResult: from the database if it ran before, else from this attempt."""
        if job.attempts + job.crashes > 1:
            try:
                return self.backend.get_result_from(self.database, str(job.id))
            except SynchronousOnlyOperation:
                pass  # in a coroutine; the result shows this attempt only
            except (Error, compat.TaskResultDoesNotExist):
                clean_connections()  # the same
        row = Job(**job.columns, backend=self.backend.alias, worker_id=self.worker_id)
        row.status, row.started_at = JobStatus.RUNNING, row.last_attempted_at
        if outcome is None:
            return task_result(row)
        row.status, row.result = outcome.status, outcome.result
        if outcome.is_final:
            row.finished_at = timezone.now()
        failure = outcome.failure
        if failure is None:
            return task_result(row)
        attempt = Attempt(
            fence=job.fence,
            worker_id=self.worker_id,
            outcome=outcome.kind,
            error_code=failure.code,
            exception_class=failure.exception_class,
            message=failure.message,
            traceback=failure.traceback,
            data=failure.data,
        )
        return task_result(row, [attempt])


def _shown(result: TaskResult[..., object]) -> JobFailed:
    """Return an exception that shows that of the last attempt, whose class is not imported."""
    last = result.errors[-1]
    error = JobFailed(f"Task {result.task.name} ({result.id}) failed: {last.exception_class_path}")
    error.add_note(last.traceback)
    return error
