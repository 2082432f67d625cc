"""What a task that takes a context is given."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, NoReturn

from .. import _framework as framework
from ..definition import Task
from ..exceptions import TaskCancelled
from ..storage import ClaimedJob
from .control import Control


class TaskContext(framework.GenericTaskContext[Any, Any]):
    """The running attempt, as its task sees it."""

    def __init__(
        self,
        job: ClaimedJob,
        task: Task[..., Any],
        worker_id: str,
        control: Control,
        result: Callable[[], framework.TaskResult[..., Any]],
    ) -> None:
        # Past the framework's class, which is frozen.
        self.__dict__.update(_job=job, task=task, worker_id=worker_id, _control=control, _result=result)

    task: Task[..., Any]
    worker_id: str

    @property
    def job_id(self) -> str:
        """Id of the job: the same in every attempt, so it may serve as an idempotency key."""
        return str(self.__dict__["_job"].id)

    @property
    def attempt(self) -> int:
        """Number of this run, counted from 1, crashed ones included."""
        job: ClaimedJob = self.__dict__["_job"]
        return job.attempts + job.crashes

    @property
    def _controls(self) -> Control:
        control: Control = self.__dict__["_control"]
        return control

    @property
    def deadline(self) -> float | None:
        """When TaskTimeout will be raised, on ``time.monotonic()``; None without a timeout."""
        return self._controls.deadline

    def remaining(self) -> float:
        """Seconds left until the deadline; infinite without one."""
        return self._controls.remaining

    @property
    def cancel_requested(self) -> bool:
        """Whether somebody wants the job to end. A task in a thread ends only if it looks."""
        return self._controls.cancel_requested

    def sleep(self, seconds: float) -> None:
        """Sleep. Raises TaskCancelled or TaskTimeout as soon as there is a reason, in every executor."""
        self._controls.sleep(seconds)

    async def asleep(self, seconds: float) -> None:
        """See sleep()."""
        await self._controls.asleep(seconds)

    def cancel(self, reason: str = "") -> NoReturn:
        """End this job as CANCELLED, by raising TaskCancelled."""
        raise TaskCancelled(reason)

    @cached_property
    def task_result(self) -> framework.TaskResult[..., Any]:  # type: ignore[override]
        """The job as a TaskResult, built when it is first asked for."""
        result: framework.TaskResult[..., Any] = self.__dict__["_result"]()
        return result
