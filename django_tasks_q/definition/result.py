"""The results of jobs, as Django's framework hands them out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from .. import compat
from ..exceptions import JobFailed
from ..payload.masking import masked, redacted
from ..validation import plain
from .sensitive import masked_arguments, secrets_of, sensitive_names
from .task import P, R, Task


@dataclass(frozen=True, kw_only=True)
class TaskError(compat.TaskError):  # type: ignore[misc]  # the stubs forget that it is frozen
    """Why one attempt failed; adds the code and the message to what the framework shows."""

    code: str = ""
    message: str = ""
    #: What a ``TaskFailure`` carried.
    data: Any = None


@dataclass(frozen=True, kw_only=True)
class TaskResult(compat.GenericTaskResult[P, R]):  # type: ignore[misc]
    """A job as its caller sees it: a snapshot that ``refresh()`` brings up to date."""

    @classmethod
    def deferred(cls, make: Callable[[], TaskResult[P, R]], **known: Any) -> TaskResult[P, R]:
        """Return a result of which ``known`` is set, and the other fields when one of them is first read.

        Results of sends and of signals are made for every job, and most are never read.
        """
        result = object.__new__(cls)
        result.__dict__["_make"] = make
        for name, value in known.items():
            object.__setattr__(result, name, value)
        return result

    def __getattr__(self, name: str) -> Any:
        # Python calls this for fields that are not set. Several threads may do so at once: each makes all of
        # them, and sets those that are missing still.
        if (make := self.__dict__.get("_make")) is not None:
            whole = make()
            for field in fields(self):
                try:
                    object.__getattribute__(self, field.name)
                except AttributeError:
                    object.__setattr__(self, field.name, getattr(whole, field.name, None))
            self.__dict__.pop("_make", None)
        return object.__getattribute__(self, name)

    def __repr__(self) -> str:
        """Return the fields as any dataclass does, with secrets masked."""
        name = self.task.name
        names, secrets = sensitive_names(name), secrets_of(name, self.args, self.kwargs)
        args, kwargs = masked_arguments(name, self.args, self.kwargs)
        shown: dict[str, Any] = {"task": name, "id": self.id, "status": str(self.status)}
        shown |= {"args": args, "kwargs": kwargs, "backend": self.backend}
        for moment in ("enqueued_at", "started_at", "finished_at", "last_attempted_at"):
            shown[moment] = getattr(self, moment)
        shown["errors"] = [
            redacted(f"{each.exception_class_path}: {getattr(each, 'message', '')}", secrets)
            for each in self.errors
        ]
        shown |= {"worker_ids": self.worker_ids, "_return_value": masked(self._return_value, names)}
        return f"TaskResult({', '.join(f'{key}={value!r}' for key, value in shown.items())})"

    def refresh(self) -> None:
        """Read the job again, by another backend where TASKS does not have the job's any more."""
        self._take(self._get_backend().get_result(self.id))

    async def arefresh(self) -> None:
        """See refresh()."""
        self._take(await self._get_backend().aget_result(self.id))

    def _take(self, read: Any) -> None:
        for name in compat.TASK_REFRESH_ATTRS:
            object.__setattr__(self, name, getattr(read, name))

    def _get_backend(self) -> Any:
        try:
            return self.task.get_backend()
        except compat.InvalidTaskBackend:
            for backend in compat.task_backends.all():
                if hasattr(backend, "get_result_from"):
                    return backend
            raise

    def get(self, timeout: float | None = None) -> R:
        """Wait until the job has finished, and return what the task returned.

        ``timeout`` is in seconds; None waits for ever. Raises TimeoutError when it is over, JobFailed
        when the job did not succeed, WouldNeverReturn where it is certain that the job cannot end
        meanwhile: no worker sees a job before the transaction that enqueued it has committed.
        """
        with self._waiter(timeout) as waiter:
            for pause in waiter.pauses():
                try:
                    self.refresh()
                except compat.TaskResultDoesNotExist:
                    waiter.refuse_endless_wait()
                    raise
                if self.is_finished:
                    return self._value()
                if waiter.is_first_poll:
                    waiter.refuse_endless_wait()
                waiter.sleep(pause)
        raise self._still_running(timeout)

    async def aget(self, timeout: float | None = None) -> R:  # noqa: ASYNC109 - the pair of get()
        """See get()."""
        with self._waiter(timeout) as waiter:
            for pause in waiter.pauses():
                try:
                    await waiter.aread(self.refresh)
                except compat.TaskResultDoesNotExist:
                    await sync_to_async(waiter.refuse_endless_wait)()
                    raise
                if self.is_finished:
                    return self._value()
                if waiter.is_first_poll:
                    await sync_to_async(waiter.refuse_endless_wait)()
                await waiter.asleep(pause)
        raise self._still_running(timeout)

    def _waiter(self, timeout: float | None) -> Any:
        backend = self._get_backend()
        if not hasattr(backend, "waiter"):
            raise NotImplementedError(
                f"get() cannot wait for results of the backend {self.backend!r}: it is none of "
                "django_tasks_q.backends. Call refresh() until is_finished is true."
            )
        return backend.waiter(self, timeout)

    def _value(self) -> R:
        if self.status != compat.TaskResultStatus.SUCCESSFUL:
            last = self.errors[-1] if self.errors else None
            reason = (
                f"{last.exception_class_path}: {getattr(last, 'message', '')}" if last else "no reason stored"
            )
            # A task that does not catch the error stores it with its job, where these secrets are unknown.
            shown = redacted(reason, secrets_of(self.task.name, self.args, self.kwargs))
            raise JobFailed(f"Task {self.task.name} ({self.id}) failed: {shown}")
        return self.return_value

    def _still_running(self, timeout: float | None) -> TimeoutError:
        return TimeoutError(
            f"Task {self.task.name} ({self.id}) has not finished within {plain(timeout or 0)} seconds: "
            f"it is {self.status}."
        )

    if TYPE_CHECKING:
        task: Task[P, R]
