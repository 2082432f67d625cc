"""What a task that takes a context is given."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from typing import Any

from .. import _framework as framework
from ..definition import Task
from ..storage import ClaimedJob


class TaskContext(framework.GenericTaskContext[Any, Any]):
    """The running attempt, as its task sees it."""

    def __init__(
        self,
        job: ClaimedJob,
        task: Task[..., Any],
        worker_id: str,
        result: Callable[[], framework.TaskResult[..., Any]],
    ) -> None:
        # Past the framework's class, which is frozen.
        self.__dict__.update(_job=job, task=task, worker_id=worker_id, _result=result)
        self.__dict__["_begun"] = time.monotonic()

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
    def deadline(self) -> float | None:
        """When TaskTimeout will be raised, on ``time.monotonic()``; None without a timeout."""
        job: ClaimedJob = self.__dict__["_job"]
        return None if job.timeout is None else self.__dict__["_begun"] + job.timeout

    def remaining(self) -> float:
        """Seconds left until the deadline; infinite without one."""
        return float("inf") if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    @cached_property
    def task_result(self) -> framework.TaskResult[..., Any]:  # type: ignore[override]
        """The job as a TaskResult, built when it is first asked for."""
        result: framework.TaskResult[..., Any] = self.__dict__["_result"]()
        return result
