"""One run of a job: from the claimed row to its Outcome, in the process that runs user code."""

from __future__ import annotations

import contextvars
import logging
import time
from typing import Any

from django.db import Error
from django.utils import timezone

from .. import _framework as framework
from .. import codec
from ..backends import DatabaseBackend
from ..exceptions import JobFailed, TaskFailure
from ..failpoints import failpoint
from ..models import Attempt, Job
from ..outcomes import Outcome
from ..results import Status, TaskResult, task_result
from ..states import JobStatus
from ..storage import ClaimedJob
from . import endings
from .connections import clean_connections, drop_dead_connections
from .context import TaskContext
from .deadline import call
from .sessions import watch_sessions

logger = logging.getLogger("django_tasks_q.execution")


class Runner:
    """Runs attempts one after the other for one backend and one worker.

    With ``in_test`` the attempts use the caller's connections and transaction, which are not cleaned
    up, and the caller's main thread, in which no timeout is raised.
    """

    def __init__(
        self,
        backend: DatabaseBackend,
        worker_id: str,
        *,
        database: str | None = None,
        in_test: bool = False,
    ) -> None:
        self.backend = backend
        self.worker_id = worker_id
        self.database = database or backend.database
        self.in_test = in_test
        if not in_test:
            watch_sessions()

    def run(self, job: ClaimedJob) -> Outcome:
        """Run one attempt. Never raises: whatever the task does becomes its Outcome."""
        if not self.in_test:
            drop_dead_connections()
        # A copy, so that what the task leaves in context variables (language, time zone) ends with it.
        try:
            outcome = contextvars.copy_context().run(self._run, job)
        except BaseException as error:  # a hostile exception or receiver, or a mistake of this package
            outcome = endings.by_internal_error(job, error)
        self._clean()
        return outcome

    def _run(self, job: ClaimedJob) -> Outcome:
        task = endings.restored_task(job)
        try:
            args, kwargs = codec.loads(job.arguments)
            task.check_arguments(args, kwargs)
        except (TypeError, ValueError) as error:
            return endings.by_bad_arguments(job, error)

        def result() -> TaskResult[..., Any]:
            return self.result(job)

        framework.task_started.send_robust(type(self.backend), task_result=result())
        if task.takes_context:
            args = [TaskContext(job, task, self.worker_id, result), *args]
        settings = self.backend.settings
        failpoint("attempt.received")
        begun = time.perf_counter()
        try:
            value = call(task.func, args, kwargs, None if self.in_test else job.timeout)
            failpoint("attempt.returned")
            if isinstance(value, TaskFailure):
                raise value
        except BaseException as exception:
            duration = time.perf_counter() - begun
            return endings.by_exception(job, task, settings, exception, duration, result)
        return endings.by_value(job, settings, value, time.perf_counter() - begun)

    def _clean(self) -> None:
        if not self.in_test:
            clean_connections()

    def finished(self, job: ClaimedJob, outcome: Outcome) -> None:
        """Tell the receivers of ``task_finished``, once the outcome stands in the database."""
        self._announce(self.result(job, outcome))

    def finished_elsewhere(self, job_id: str) -> None:
        """The same for a job whose own process is gone: its row knows all."""
        try:
            self._announce(self.backend.get_result_from(self.database, job_id))
        except (Error, framework.TaskResultDoesNotExist):
            logger.exception(
                "Job id=%s has finished, but its result cannot be read to tell receivers", job_id
            )
            self._clean()

    def _announce(self, result: TaskResult[..., Any]) -> None:
        if not result.is_finished:
            return  # somebody has retried it in the meantime
        try:
            if result.status == Status.FAILED and result.errors:
                raise _shown(result)
            framework.task_finished.send_robust(type(self.backend), task_result=result)
        except JobFailed:
            # The framework's own receiver, and error monitors, log the exception being handled.
            framework.task_finished.send_robust(type(self.backend), task_result=result)
        self._clean()

    def result(self, job: ClaimedJob, outcome: Outcome | None = None) -> TaskResult[..., Any]:
        """The job as a TaskResult: from the database if it ran before, else from what is at hand."""
        if job.attempts + job.crashes > 1:
            try:
                return self.backend.get_result_from(self.database, str(job.id))
            except (Error, framework.TaskResultDoesNotExist):
                self._clean()  # then this run is all that can be told of
        row = Job(**job._asdict(), backend=self.backend.alias, worker_id=self.worker_id)
        row.status = JobStatus.RUNNING
        if outcome is None:
            return task_result(row)
        row.status, row.result, row.finished_at = outcome.status, outcome.result, timezone.now()
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
        )
        return task_result(row, [attempt])


def _shown(result: TaskResult[..., Any]) -> JobFailed:
    """The last attempt's exception as one that can be raised: nothing stored is imported for it."""
    last = result.errors[-1]
    error = JobFailed(f"Task {result.task.name} ({result.id}) failed: {last.exception_class_path}")
    error.add_note(last.traceback)
    return error
