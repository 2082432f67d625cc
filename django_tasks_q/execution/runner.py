"""One run of a job: from the claimed row to its Outcome, in the process that runs user code."""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async

from ..backends import DatabaseBackend
from ..current import running
from ..definition.registry import registry
from ..definition.task import Task
from ..dependencies.resolver import Resolver
from ..exceptions import ReceiverTimeout
from ..executors import Executor, ProcessExecutor
from ..forks import OneProcess, leave
from ..lifecycle.outcome import Aftermath, Outcome
from ..lifecycle.retry import class_path
from ..loggers import robust_logger
from ..storage import ClaimedJob, Note, storage_for
from ..storage.timestamps import DatabaseClock
from . import endings
from .attempt import Attempt, Expired
from .call import Body
from .cleaning import Cleaning
from .context_variables import isolated
from .control import Control
from .environment import Environment
from .memory import has_run_out, limit_memory
from .sync_threads import SyncThreads
from .transaction import completed_in_transaction

logger = robust_logger("django_tasks_q.execution")

#: Seconds that receivers of one signal may take before ReceiverTimeout is raised in them.
HOOK_LIMIT = 30.0


class Runner:
    """Runs attempts for one backend and one worker. Threads may share it.

    ``executor`` calls the functions, by default in this process. ``database`` is the alias of the database
    that holds the jobs, by default the backend's. See Environment for the other arguments.
    """

    def __init__(
        self,
        backend: DatabaseBackend,
        worker_id: str,
        *,
        executor: Executor | None = None,
        database: str | None = None,
        in_test: bool = False,
        resolver: Resolver | None = None,
        send_update: Callable[[Note], None] | None = None,
    ) -> None:
        self.environment = Environment(
            backend,
            worker_id,
            database or backend.database,
            executor or ProcessExecutor(),
            in_test=in_test,
            send_update=send_update,
        )
        self.resolver = resolver or Resolver()
        #: The database's clock, for jobs that expire after their claim.
        self.clock = DatabaseClock()
        self._bodies: dict[tuple[int, Any], Body] = {}
        self.cleaning = None if in_test else Cleaning()

    def watch_process(self) -> None:
        """See Cleaning.watch_process()."""
        if self.cleaning is not None:
            self.cleaning.watch_process()

    def rest(self) -> None:
        """See Cleaning.rest()."""
        if self.cleaning is not None:
            self.cleaning.rest()

    def run(self, job: ClaimedJob, control: Control | None = None, hooks: Control | None = None) -> Outcome:
        """Run one attempt, and return its Outcome, whatever the task does.

        Only what ``Environment.ends_with()`` names is raised.

        ``control`` reaches into the task's code, ``hooks`` into receivers of ``task_started``.
        """
        if self.cleaning is not None:
            self.cleaning.before(job.id)
        # A copy, so that what the task leaves in context variables (language, time zone) ends with it.
        context = contextvars.copy_context()
        try:
            outcome = context.run(self._isolated, job, control or Control(), hooks or Control())
        except BaseException as error:  # an exception that cannot be handled, or a mistake of this package
            if os.getpid() != self.environment.pid:
                leave(error)
            if self.environment.ends_with(error):
                raise
            outcome = context.run(self._with_aftermath, endings.by_internal_error(job, error), error)
        if os.getpid() != self.environment.pid:
            leave(None)
        if self.cleaning is not None:
            self.cleaning.after(job.id, job.task_name, has_own_thread=True)
        return outcome

    def _is_too_late(self, job: ClaimedJob) -> bool:
        return job.expires_at is not None and self.clock.is_past(job.expires_at)

    def _isolated(self, job: ClaimedJob, control: Control, hooks: Control) -> Outcome:
        with isolated():
            if self._is_too_late(job):
                return endings.by_expiry(job)
            attempt = Attempt(self.environment, job, control, self.body_of)
            outcome = self._run(attempt, job, control, hooks)
            return self._with_aftermath(outcome, self._seen(attempt))

    def _seen(self, attempt: Attempt) -> BaseException | None:
        """Return what an attempt has raised. This process ends if it was for want of memory."""
        exception = attempt.exception
        if exception is not None and self.cleaning is not None and has_run_out(exception):
            self.cleaning.end_for_memory(attempt.job.task_name)
        return exception

    def _with_aftermath(self, outcome: Outcome, exception: BaseException | None) -> Outcome:
        """Return the outcome, with what receivers of ``task_finished`` are given, if there are any for it."""
        if not self.environment.signals.is_observed(outcome):
            return outcome
        failure = outcome.failure
        if failure is None or failure.exception_class != class_path(type(exception)):
            exception = None  # it is not what the job has failed with
        return outcome._replace(aftermath=Aftermath(exception, contextvars.copy_context()))

    def _run(self, attempt: Attempt, job: ClaimedJob, control: Control, hooks: Control) -> Outcome:
        if (refusal := attempt.bind()) is not None:
            return refusal
        if self.environment.signals.has_start_receivers:
            self.call_receivers(hooks, lambda: self.environment.signals.started(job))
        running.set(attempt)
        task_code = attempt.call if job.expires_at is None else self._in_time(attempt)

        def call() -> Any:
            return control.run(task_code, is_coroutine=attempt.body.is_coroutine)

        limited = call if attempt.memory is None else partial(limit_memory, attempt.memory, call)
        if attempt.task.atomic:
            return completed_in_transaction(storage_for(self.environment.database), attempt, limited)
        return attempt.outcome_of(limited)

    async def arun(self, job: ClaimedJob, control: Control, threads: SyncThreads) -> Outcome:
        """See run(). Blocking code that the coroutine calls in a proper way runs in one of ``threads``."""
        if self.cleaning is not None:
            self.cleaning.before(job.id)
        try:
            outcome = await self._aisolated(job, control, threads)
        except BaseException as error:
            if os.getpid() != self.environment.pid:
                leave(error)
            outcome = self._with_aftermath(endings.by_internal_error(job, error), error)
        if os.getpid() != self.environment.pid:
            leave(None)
        if self.cleaning is not None:
            self.cleaning.after(job.id, job.task_name, has_own_thread=False)
        return outcome

    async def _aisolated(self, job: ClaimedJob, control: Control, threads: SyncThreads) -> Outcome:
        with isolated():
            if self._is_too_late(job):
                return endings.by_expiry(job)
            attempt = Attempt(self.environment, job, control, self.body_of)
            outcome = await self._arun(attempt, job, control, threads)
            return self._with_aftermath(outcome, self._seen(attempt))

    async def _arun(
        self, attempt: Attempt, job: ClaimedJob, control: Control, threads: SyncThreads
    ) -> Outcome:
        if (refusal := attempt.bind()) is not None:
            return refusal
        if self.environment.signals.has_start_receivers:
            await self.acall_receivers(threads, lambda: self.environment.signals.started(job))
        task_code = attempt.call if job.expires_at is None else self._in_time(attempt)
        async with threads.lend():
            running.set(attempt)
            return await attempt.aoutcome_of(lambda: control.awaited(task_code))

    def _in_time(self, attempt: Attempt) -> Callable[[], Any]:
        """Return a call of the attempt that refuses to begin once its job has expired.

        Receivers, the transaction of an atomic task and an event loop take their time before it.
        """

        def call() -> Any:
            if self._is_too_late(attempt.job):
                raise Expired
            return attempt.call()

        return call

    def body_of(self, task: Task[..., Any]) -> Body:
        """Return what is called for the jobs of a task. Raises what unusable middleware raises."""
        key = (registry.version, task.func)
        if (body := self._bodies.get(key)) is None:
            body = self._bodies[key] = Body(
                task, self.environment.backend.settings, self.environment.executor, self.resolver
            )
        return body

    def _clean(self) -> None:
        if self.cleaning is not None:
            self.cleaning.clean_thread()

    @property
    def altered(self) -> str:
        """What a task has changed in this process, so that no other job may run there; empty if none has."""
        return "" if self.cleaning is None else self.cleaning.altered

    # Receivers of signals

    def call_receivers(self, hooks: Control, announce: Callable[[], None]) -> None:
        """Call receivers of a signal. What they raise is logged, and does not affect the job."""
        try:
            with OneProcess():
                hooks.run(announce, is_coroutine=False)
        except ReceiverTimeout:
            logger.error("A receiver of a task signal took longer than %g seconds.", HOOK_LIMIT)
        except BaseException:  # SystemExit, GeneratorExit: send_robust() lets them through
            logger.exception("A receiver of a task signal raised.")

    async def acall_receivers(self, threads: SyncThreads, announce: Callable[[], None]) -> None:
        """See call_receivers()."""
        with suppress(TimeoutError):
            async with asyncio.timeout(HOOK_LIMIT), threads.lend():
                await sync_to_async(self.call_receivers)(Control(), announce)
                return
        logger.error("A receiver of a task signal took longer than %g seconds.", HOOK_LIMIT)

    def ended(self, job: ClaimedJob, outcome: Outcome) -> None:
        """Call the receivers of the end of an attempt, once its outcome is stored."""
        after = outcome.aftermath
        context = contextvars.copy_context() if after is None else after.context
        context.run(self.environment.signals.ended, job, outcome)
        self._clean()

    def ended_by_id(self, job_id: str, kind: str, *, is_final: bool) -> None:
        """Call the receivers of the end of an attempt that another process ran, as the job's row shows it."""
        contextvars.copy_context().run(self._ended_by_id, job_id, kind, is_final)
        self._clean()

    def _ended_by_id(self, job_id: str, kind: str, is_final: bool) -> None:
        with isolated():
            self.environment.signals.ended_by_id(job_id, kind, is_final=is_final)
