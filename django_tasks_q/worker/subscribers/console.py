"""The lines that an operator reads while a worker runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from uuid import UUID

from ...lifecycle.outcome import AttemptOutcome, Outcome
from ...lifecycle.states import JobStatus
from ...loggers import robust_logger
from ...storage import ClaimedJob
from ...validation import plain

logger = robust_logger("django_tasks_q.worker")

#: Seconds between two summaries.
EVERY = 10.0


class Console:
    """Writes to a terminal: summaries at verbosity 1, each job at 2, nothing at 0."""

    def __init__(self, write: Callable[[str], object], verbosity: int) -> None:
        self._write = write
        self._verbosity = verbosity
        self._since = time.monotonic()
        self._window = 0
        self.counts: dict[str, int] = {"succeeded": 0, "failed": 0, "retried": 0, "released": 0}

    def line(self, text: str, *, verbosity: int = 1) -> None:
        """Write a line, at this verbosity or a higher one."""
        if self._verbosity < verbosity:
            return
        try:
            self._write(text)
        except UnicodeEncodeError:  # a terminal of few letters
            self._write(text.encode("ascii", "backslashreplace").decode())
        except (OSError, ValueError, AttributeError):  # the reader is gone, or there is no stream
            self._verbosity = -1

    def written(
        self, endings: Iterable[tuple[Outcome, ClaimedJob | None]], written: Collection[UUID]
    ) -> None:
        """Count attempts whose endings were written, and warn about those of other workers' jobs."""
        for outcome, job in endings:
            name = "?" if job is None else job.task_name
            if outcome.job_id not in written:
                logger.warning(
                    "Outcome of job id=%s task=%s dropped: the job was taken from this worker",
                    outcome.job_id,
                    name,
                )
                continue
            self._count(outcome)
            if self._verbosity >= 2:
                self.line(_describe(outcome, name), verbosity=2)
            elif outcome.status is JobStatus.FAILED and outcome.failure is not None:
                self.line(_describe(outcome, name))

    def _count(self, outcome: Outcome) -> None:
        if outcome.kind is AttemptOutcome.RELEASED:
            self.counts["released"] += 1
            return
        self._window += 1
        if outcome.status is JobStatus.SUCCESSFUL:
            self.counts["succeeded"] += 1
        elif outcome.is_final:
            self.counts["failed"] += 1
        else:
            self.counts["retried"] += 1

    @property
    def finished(self) -> int:
        """Jobs that this worker has ended."""
        return self.counts["succeeded"] + self.counts["failed"]

    def summarize(self) -> None:
        """Write a summary of the last seconds, if it is due and an attempt ended in them."""
        elapsed = time.monotonic() - self._since
        if elapsed < EVERY:
            return
        if self._window:
            self.line(f"{self._window / elapsed:.1f} attempts/s · {self.summary()}")
        self._since, self._window = time.monotonic(), 0

    def stop_requested(self) -> None:
        """Write that an operator has stopped the worker by way of the database."""
        self.line("This worker was asked to stop.")

    def shutdown_started(self, timeout: float, held: int) -> None:
        """Write how long running jobs have to finish, if there are any."""
        if held:
            self.line(f"Stopping; waiting up to {plain(timeout)}s for running jobs.")

    def summary(self) -> str:
        """Return the counts of the worker's whole life in words."""
        return ", ".join(f"{count} {what}" for what, count in self.counts.items() if count) or "no jobs run"


def _describe(outcome: Outcome, name: str) -> str:
    took = "" if outcome.duration is None else f" in {outcome.duration:.3f}s"
    if outcome.status is JobStatus.SCHEDULED:
        what = f"{outcome.kind.value}, again in {outcome.delay:.3g}s"
    elif outcome.status is JobStatus.READY:
        what = (
            outcome.kind.value if outcome.kind is AttemptOutcome.RELEASED else f"{outcome.kind.value}, again"
        )
    else:
        what = outcome.kind.value
    reason = ""
    if outcome.failure is not None:
        first = outcome.failure.message.partition("\n")[0][:200]
        reason = f" [{outcome.failure.code}] {outcome.failure.exception_class}: {first}"
    return f"{outcome.job_id} {name} {what}{took}{reason!s}"
