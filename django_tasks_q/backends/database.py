"""Django's backend contract onto storage.

A task that is declared asks for its backend, and modules that declare tasks may be imported before Django has
loaded the apps. So what needs the models is imported by the methods that need it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.apps import apps
from django.core import checks
from django.db import router, transaction
from django.utils import timezone

from .. import compat
from ..conf import Options
from ..current import running
from ..definition.options import DEFAULT
from ..definition.registry import INTERNAL, refuse_internal
from ..definition.routing import memory_problem, routed
from ..definition.task import P, R, Task
from ..exceptions import UnstorableValue
from ..failpoints import failpoint
from ..lifecycle.admission import admit
from ..payload import codec
from ..payload.signature import Parameters
from ..validation import suggestion
from .cross_database import other_open_transaction

if TYPE_CHECKING:
    from ..definition.call import BoundTask
    from ..definition.result import TaskResult
    from ..results.mapper import Results
    from ..results.waiter import ResultWaiter
    from ..storage import NewJobs, Storage


class DatabaseBackend(compat.BaseTaskBackend):
    """Stores jobs as rows, for ``manage.py runworker`` to run."""

    task_class = Task
    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        if "QUEUES" not in params:
            self.queues = set()  # any queue: a bare BACKEND is a whole configuration

    @cached_property
    def settings(self) -> Options:
        """The backend's OPTIONS, checked. Raises ImproperlyConfigured."""
        return Options.from_settings(self.options)

    @property
    def database(self) -> str:
        """Alias of the database that holds the jobs."""
        if alias := self.settings.database:
            return alias
        from .lazy import Job

        return router.db_for_write(Job)

    @property
    def storage(self) -> Storage:
        from .lazy import storage_for

        return storage_for(self.database)

    def validate_task(self, task: compat.Task[..., Any]) -> None:
        """Raise InvalidTask, with the task's name, for a task that this backend cannot run."""
        try:
            super().validate_task(task)
        except compat.InvalidTask as error:
            name = getattr(task.func, "__qualname__", repr(task.func))
            hint = ""
            if self.queues and task.queue_name not in self.queues:
                known = ", ".join(sorted(self.queues))
                hint = (
                    f" TASKS[{self.alias!r}]['QUEUES'] has {known}.{suggestion(task.queue_name, self.queues)}"
                )
            raise compat.InvalidTask(f"{name}: {error}{hint}") from None
        # Before that, settings that are wrong would keep the task from being declared, and an executor of
        # the project may import the module that declares it.
        if isinstance(task, Task) and task.memory is not None and apps.ready:
            problem = memory_problem(task, self.settings.executor)
            if problem is not None:
                raise compat.InvalidTask(f"{task.name}: {problem}")

    def enqueue(
        self, task: compat.Task[P, R], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> TaskResult[P, R]:
        """Store one call in the caller's transaction, or after it where that is on another database.

        Raises TypeError for arguments that do not fit the function, UnserializableValue or
        UnstorableValue for what JSON or a database cannot hold, InvalidTask for a task that this
        backend refuses. Nothing is written then.
        """
        return self.enqueue_many(task, [(args, kwargs)])[0]

    def enqueue_many(
        self, task: compat.Task[P, R], calls: Iterable[tuple[Sequence[Any], Mapping[str, Any]]]
    ) -> Sequence[TaskResult[P, R]]:
        """Store many calls at once, all or none. Raises what ``enqueue`` raises."""
        from .lazy import NewJobs, Results, uuid7_texts

        ours = self._accepted(task)
        arguments = self._encoded(ours, calls)
        send = NewJobs(uuid7_texts(len(arguments)), arguments, **self._columns(ours, timezone.now()))
        return self._keep(Results(send), send)

    def enqueue_calls(self, calls: Sequence[BoundTask[..., Any]]) -> list[TaskResult[..., Any]]:
        """Store calls of several tasks at once, all or none, in the order in which they are to be claimed.

        Other backends of the calls use the same database as this one. Raises what ``enqueue`` raises.
        """
        from .lazy import NewJobs, Results, uuid7_texts

        now = timezone.now()
        chosen: dict[int, tuple[DatabaseBackend, Task[..., Any], NewJobs]] = {}
        sends: dict[tuple[Any, ...], NewJobs] = {}
        places: list[tuple[NewJobs, int]] = []
        for job_id, call in zip(uuid7_texts(len(calls)), calls, strict=True):
            task = call.task
            if id(task) not in chosen:
                backend: Any = task.get_backend()
                ours = backend._accepted(task)
                send = NewJobs([], [], **backend._columns(ours, now))
                # Calls that differ in their arguments only are stored by one statement.
                send = sends.setdefault((send.columns, send.shared), send)
                chosen[id(task)] = backend, ours, send
            backend, ours, send = chosen[id(task)]
            places.append((send, len(send.ids)))
            send.ids.append(job_id)
            send.arguments.extend(backend._encoded(ours, [(call.args, call.kwargs)]))
        kept = {id(send): Results[..., Any](send) for send in sends.values()}
        self._keep_all([(kept[id(send)], send) for send in sends.values()])
        return [kept[id(send)][place] for send, place in places]

    def _accepted(self, task: compat.Task[P, R]) -> Task[P, R]:
        """Return a task as one of ours, under the routes. Raises InvalidTask for one that is refused here."""
        self.validate_task(task)
        ours: Task[P, R] = Task.adopt(task)
        if ours.name.startswith(INTERNAL):
            refuse_internal(ours.name)
        return ours.routed(routed(ours.name, self.settings.routes)) if self.settings.routes else ours

    def _encoded(
        self, task: Task[..., Any], calls: Iterable[tuple[Sequence[Any], Mapping[str, Any]]]
    ) -> list[str]:
        """Return the arguments of each call as they are stored. Raises what ``enqueue`` raises for them."""
        limit = self.settings.max_arguments_bytes
        typed = bool(Parameters.of(task.func, task.takes_context).typed)
        arguments: list[str] = []
        for args, kwargs in calls:
            task.check_arguments(args, kwargs)
            if typed:
                args, kwargs = task.encoded(args, kwargs)  # noqa: PLW2901
            arguments.append(codec.dump_arguments(args, kwargs, limit))
        return arguments

    def enqueue_internal(
        self, task: Task[..., Any], call: Callable[[str], Mapping[str, Any]]
    ) -> TaskResult[..., Any]:
        """Store one call of a task of the package itself.

        ``call`` takes the id of the new job and returns its keyword arguments, in JSON types. Raises
        InvalidTask for a task that this backend refuses, UnstorableValue for arguments that are too large.
        """
        from .lazy import NewJobs, Results, uuid7_texts

        self.validate_task(task)
        if self.settings.routes:
            task = task.routed(routed(task.name, self.settings.routes))
        ids = uuid7_texts(1)
        arguments = codec.dump_arguments([], call(ids[0]), self.settings.max_arguments_bytes)
        send = NewJobs(ids, [arguments], **self._columns(task, timezone.now()))
        results: Results[..., Any] = self._keep(Results(send), send)
        return results[0]

    def _keep(self, results: Results[P, R], send: NewJobs) -> Results[P, R]:
        """Store jobs in the caller's transaction, or after it where that is on another database."""
        from .lazy import sent_in

        database = self.database
        other = other_open_transaction(database) if send.arguments else None
        results.sent_in = sent_in(other or database)
        if other:
            # Stored now, a job would outlive a rollback there, and could run before the commit.
            transaction.on_commit(partial(self.store, database, send, results), using=other)
        elif send.arguments:
            self.store(database, send, results)
        return results

    def _keep_all(self, kept: Sequence[tuple[Results[..., Any], NewJobs]]) -> None:
        """Store jobs of several tasks as ``_keep()`` does those of one, all or none."""
        from .lazy import sent_in

        database = self.database
        other = other_open_transaction(database)
        for results, _ in kept:
            results.sent_in = sent_in(other or database)
        if other:
            transaction.on_commit(partial(_store_all, database, kept), using=other)
        else:
            _store_all(database, kept)

    def send(self, task: Task[..., Any], arguments: list[str]) -> NewJobs:
        """Return new jobs of calls whose arguments are encoded already, to be stored without a result.

        Raises InvalidTask for a task that this backend refuses, UnstorableValue for arguments too large.
        """
        from .lazy import NewJobs, uuid7_texts

        self.validate_task(task)
        refuse_internal(task.name)
        if self.settings.routes:
            task = task.routed(routed(task.name, self.settings.routes))
        limit = self.settings.max_arguments_bytes
        if any(len(text.encode()) > limit for text in arguments):
            raise UnstorableValue(
                f"The arguments take more than {limit:,} bytes as JSON, the limit of MAX_ARGUMENTS_BYTES. "
                "Store large data elsewhere and pass a reference to it."
            )
        return NewJobs(uuid7_texts(len(arguments)), arguments, **self._columns(task, timezone.now()))

    def _columns(self, task: Task[..., Any], now: datetime) -> dict[str, Any]:
        """Return the columns of new jobs that are the same for all calls, by the fields of NewJobs."""
        options = task.stored_options()
        admission = admit(task.run_after, now=now)
        return {
            "task_name": task.name,
            "queue_name": task.queue_name,
            "backend": self.alias,
            "priority": task.priority if task.gives("priority") else self.settings.priority,
            "status": admission.status.value,
            "options": codec.dumps(options, what="options") if options else "",
            "max_attempts": task.max_attempts or self.settings.max_attempts,
            "timeout": self.settings.timeout if task.timeout is DEFAULT else task.timeout,
            "run_after": admission.at,
            "expires_at": task.expires_at
            or (now + timedelta(seconds=task.expires) if task.expires else None),
            "enqueued_at": now,
            "more": self._more(task),
        }

    def _more(self, task: Task[..., Any]) -> dict[str, Any]:
        """Return the columns that most jobs leave empty."""
        more: dict[str, Any] = {}
        if task.tags:
            more["tags"] = codec.dumps(list(task.tags), what="tags")
        if task.metadata:
            more["metadata"] = codec.dumps(task.metadata, what="metadata")
        if task.retention is not None:
            more["retention"] = task.retention
        if (ttl := self.settings.result_ttl if task.result_ttl is None else task.result_ttl) is not None:
            more["result_ttl"] = ttl
        if (parent := running.get()) is not None:
            more["parent_id"] = parent.job_id
        return more

    def store(self, database: str, send: NewJobs, results: Sequence[TaskResult[..., Any]]) -> None:
        """Store jobs in the caller's transaction, and notify workers and receivers of ``task_enqueued``."""
        self.store_quietly(database, send)
        if compat.is_observed(compat.task_enqueued):
            for result in results:
                compat.task_enqueued.send_robust(type(self), task_result=result)

    def store_quietly(self, database: str, send: NewJobs) -> None:
        """Store jobs without calling receivers, as the worker does, which runs no user code."""
        from .lazy import storage_for

        storage = storage_for(database)
        storage.jobs.enqueue(send)
        failpoint("enqueue.inserted")
        if self.settings.notify:
            storage.notifications.notify_jobs(self.alias, send.queue_name)

    def waiter(self, result: TaskResult[..., Any], timeout: float | None) -> ResultWaiter:
        """Return what ``result.get()`` waits with, at most for ``timeout`` seconds."""
        from .lazy import ResultWaiter, settings_of

        settings = settings_of(result.backend)
        return ResultWaiter(self.storage, result, timeout, notify=settings is not None and settings.notify)

    def get_result(self, result_id: str) -> TaskResult[..., Any]:
        """Return the result of a job.

        Raises TaskResultDoesNotExist, also for an id of the wrong form.
        """
        return self.get_result_from(self.database, result_id)

    def get_result_from(self, database: str, result_id: str) -> TaskResult[..., Any]:
        """Return the result of a job from the database of that alias. See get_result()."""
        from .lazy import Attempt, Job, task_result

        try:
            job_id = UUID(str(result_id))
            job = Job.objects.using(database).get(id=job_id)
        except (ValueError, Job.DoesNotExist):
            raise compat.TaskResultDoesNotExist(result_id) from None
        # Jobs of an alias that TASKS does not have any more can be read by every backend.
        if job.backend != self.alias and job.backend in compat.task_backends.settings:
            raise compat.TaskResultDoesNotExist(result_id)
        attempts: Sequence[Attempt] = ()
        if job.fence > 1 or job.error_code:
            attempts = list(Attempt.objects.using(database).filter(job_id=job.id))
        return task_result(job, attempts)

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        # Everything else is in checks.py, which only runs when the app is installed.
        if apps.is_installed("django_tasks_q"):
            return []
        return [
            checks.Error(
                "TASKS uses django_tasks_q.backends.DatabaseBackend, but the app is not installed.",
                hint="Add 'django_tasks_q' to INSTALLED_APPS and run manage.py migrate.",
                id="django_tasks_q.E001",
            )
        ]


def _store_all(database: str, kept: Sequence[tuple[Results[..., Any], NewJobs]]) -> None:
    """Store jobs of several tasks in one transaction."""
    from .lazy import storage_for

    with storage_for(database).session.transaction():
        for results, send in kept:
            backend: Any = compat.task_backends[send.backend]
            backend.store(database, send, results)
