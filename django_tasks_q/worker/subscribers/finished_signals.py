"""The signals of finished jobs: which child calls the receivers of ``task_finished`` for which job."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from uuid import UUID

from ... import signals
from ...events import AttemptsEnded, ChildExited, EndingsWritten
from ...execution.task_signals import LOST, is_retry
from ...lifecycle.outcome import AttemptOutcome
from ...lifecycle.states import FINAL, JobStatus
from ...loggers import robust_logger
from ..children.parent_side import FinishedJob, ParentSide

logger = robust_logger("django_tasks_q.worker")

#: Finished jobs that a child is sent at once. It has a minute for the receivers of all of them.
FRAME = 16
#: Stands for the child that ran a job without receivers.
NO_CHILD = 0


class FinishedSignals:
    """Makes the receivers of every final ending run once: in the child that ran the job, or in another."""

    def __init__(self, children: Mapping[int, ParentSide]) -> None:
        self.children = children
        #: Finished jobs whose own child is gone and that no other has been sent.
        self.unsent: list[FinishedJob] = []
        #: The key of the child that ran an attempt which is being written, by job and fence.
        self._ran_by: dict[tuple[UUID, int], int] = {}

    def ended(self, event: AttemptsEnded) -> None:
        """Note which child ran attempts whose endings are to be written now."""
        child = self.children[event.child]
        for outcome, has_receivers in event.outcomes:
            if has_receivers:
                self._ran_by[outcome.job_id, outcome.fence] = child.key
                child.expect_confirmation()
            else:
                self._ran_by[outcome.job_id, outcome.fence] = NO_CHILD

    def written(self, event: EndingsWritten) -> None:
        """Send to children which of their endings were written."""
        frames: dict[int, list[FinishedJob]] = {}
        for outcome, _ in event.endings:
            key = self._ran_by.pop((outcome.job_id, outcome.fence), None)
            status = event.written.get(outcome.job_id, outcome.status)
            if key == NO_CHILD:
                if outcome.is_final or status not in FINAL:
                    continue
                key = None  # a job whose cancellation was requested has ended, and is not run again
            if key is not None and key in self.children:
                self.children[key].confirmed()
            if status not in FINAL and not _is_observed(outcome.kind):
                continue
            won = outcome.job_id in event.written
            finished = FinishedJob(outcome.job_id.hex, won, str(status), kind=str(outcome.kind))
            if key is not None and key in self.children:
                frames.setdefault(key, []).append(finished)
            elif finished.won:
                self.unsent.append(finished)
        for key, frame in frames.items():
            for start in range(0, len(frame), FRAME):
                self.children[key].send_finished(frame[start : start + FRAME])
        self.send()

    def add(self, ids: Iterable[UUID]) -> None:
        """Add jobs that have ended without an attempt of this worker."""
        self.unsent += [FinishedJob(id.hex, True) for id in ids]

    def rescued(self, states: Mapping[UUID, JobStatus]) -> None:
        """Add jobs of lost workers, which have ended or will be run again."""
        self.unsent += [
            FinishedJob(id.hex, True, str(status), kind=str(AttemptOutcome.LOST))
            for id, status in states.items()
            if status in FINAL or _is_observed(AttemptOutcome.LOST)
        ]

    def send(self) -> None:
        """Send the jobs whose own child is gone to others."""
        able = [child for child in self.children.values() if child.accepts]
        while self.unsent and able:
            frame, self.unsent = self.unsent[:FRAME], self.unsent[FRAME:]
            min(able, key=lambda child: (len(child.unsent), child.held)).send_finished(frame)

    def exited(self, event: ChildExited) -> None:
        """Leave to other children what one has not done, unless that is what children die of."""
        child = self.children[event.child]
        # A child that was killed for another reason has not died of its receivers.
        is_suspect = not event.was_running and child.kill_reason in ("", "hook")
        suspect = child.unsent[0] if child.unsent and is_suspect else []
        for frame in child.unsent:
            for finished in frame:
                died = finished.died + (frame is suspect)
                if died < 2:
                    self.unsent.append(finished._replace(died=died))
                else:
                    logger.error("Receivers of task_finished end their process: job id=%s", finished.job_id)

    def forget(self) -> None:
        """Drop the attempts that are being written, which belong to other workers."""
        self._ran_by.clear()
        for child in self.children.values():
            child.forget_confirmations()


def _is_observed(kind: AttemptOutcome) -> bool:
    """Return whether there are receivers for the end of an attempt after which the job runs again."""
    signal = signals.task_lost if kind in LOST else signals.task_retrying
    return bool(signal.receivers) and (kind in LOST or is_retry(kind))
