"""One attempt of a job, on its way from the stored call to its Outcome."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from .. import codec
from ..exceptions import TaskFailure
from ..failpoints import failpoint
from ..outcomes import Outcome
from ..parameters import Parameters
from ..storage import ClaimedJob
from . import endings
from .context import TaskContext
from .control import Control

if TYPE_CHECKING:
    from .runner import Runner


class Attempt:
    """What is known of it while it lasts."""

    def __init__(self, runner: Runner, job: ClaimedJob, control: Control) -> None:
        self.runner = runner
        self.job = job
        self.control = control
        self.task = endings.restored_task(job)
        self.args: list[Any] = []
        self.kwargs: dict[str, Any] = {}
        #: What user code raised.
        self.exception: BaseException | None = None
        self._begun = 0.0

    @property
    def is_coroutine(self) -> bool:
        return Parameters.of(self.task.func, self.task.takes_context).is_coroutine

    def bind(self) -> Outcome | None:
        """Decode the arguments and see whether they fit the function. Answers an Outcome if not."""
        try:
            args, kwargs = codec.loads(self.job.arguments)
            self.task.check_arguments(args, kwargs)
        except (TypeError, ValueError) as error:
            return endings.by_bad_arguments(self.job, error)
        if self.task.takes_context:
            runner, job = self.runner, self.job
            context = TaskContext(
                job, self.task, runner.worker_id, self.control, lambda: runner.announcer.result(job)
            )
            args = [context, *args]
        self.args, self.kwargs = args, kwargs
        return None

    def outcome_of(self, call: Callable[[], Any]) -> Outcome:
        """The Outcome of user code, whether it returns or raises."""
        self._begin()
        try:
            value = self._checked(call())
        except BaseException as exception:
            return self.raised(exception)
        return self.returned(value)

    async def aoutcome_of(self, call: Callable[[], Awaitable[Any]]) -> Outcome:
        """See outcome_of()."""
        self._begin()
        try:
            value = self._checked(await call())
        except BaseException as exception:
            if callable(self.task.backoff or self.runner.backend.settings.backoff):
                # The rule is shown a result, which may have to be read.
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
        return endings.by_value(self.job, self.runner.backend.settings, value, self.duration)

    def raised(self, exception: BaseException) -> Outcome:
        duration, self.exception = self.duration, exception
        return endings.by_exception(
            self.job,
            self.task,
            self.runner.backend.settings,
            exception,
            duration,
            lambda: self.runner.announcer.result(self.job),
        )
