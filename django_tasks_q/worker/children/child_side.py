"""The base class of the child's sides of the pipe to the supervisor."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from ...execution.control import Control
from ...execution.runner import Runner
from ...forks import flush_streams, leave_if_copy
from ...lifecycle.outcome import AttemptOutcome, Outcome
from ...lifecycle.states import FINAL
from ...storage import ClaimedJob, Note
from ..streams import Streams
from . import protocol
from .fork_server import Pipes
from .protocol import Channel

#: Seconds without a job after which idle database connections are closed.
IDLE = 1.0
#: Exceptions that a child keeps for receivers until the endings are written. Of others it keeps the text.
MAX_EXCEPTIONS = 16


class ChildSide:
    """The child's end of the pipe. ``capacity`` is the number of jobs that it runs at a time."""

    def __init__(self, pipes: Pipes, make_runner: Callable[..., Runner], capacity: int) -> None:
        self.pid = os.getpid()
        self.channel = Channel(pipes.sock, blocking=True)
        self.runner = make_runner(send_update=self.send_update)
        self.capacity = capacity
        self.streams = Streams()
        #: Outcomes for receivers of signals, until the supervisor confirms that they are written.
        self.unconfirmed: dict[str, tuple[ClaimedJob, Outcome]] = {}
        self._failed: deque[str] = deque()
        #: When running tasks are to be interrupted because the worker stops, on ``time.monotonic()``.
        self.stop_at = float("inf")

    def run(self) -> None:
        """Run jobs. Raise EOFError or another OSError of the pipe once the supervisor is gone."""
        raise NotImplementedError

    @property
    def must_retire(self) -> bool:
        """Whether tasks have left this process in a state that no other job may run in."""
        return self.streams.are_closed or bool(self.runner.altered)

    def send(self, kind: bytes, body: bytes = b"") -> None:
        """Send a frame to the supervisor, which does not know copies of this process."""
        leave_if_copy(self.pid)
        self.channel.send(kind, body)

    def jobs_in(self, body: bytes) -> tuple[int, list[ClaimedJob]]:
        """Return the serial number of the first offer of a frame of the supervisor, and its jobs."""
        return protocol.unpack_jobs(body, self.runner.clock)

    def stop(self, body: bytes, running: Iterable[Control]) -> None:
        """Let running tasks know that the worker is stopping, as a frame of the supervisor says."""
        self.stop_at = float(body)
        for control in running:
            control.changes()

    def send_update(self, update: Note) -> None:
        """Send a progress update, or a line of a job's log, of a running attempt."""
        if os.getpid() == self.pid:  # a copy made by user code may run on, but sends nothing
            self.send(protocol.PROGRESS, protocol.pack_update(update))

    def send_outcome(self, job: ClaimedJob, outcome: Outcome) -> None:
        """Send how an attempt has ended."""
        flush_streams()  # what a job has printed is in the log when it has ended
        has_receivers = outcome.aftermath is not None
        if has_receivers:
            self._remember(job, outcome)
        if outcome.kind is AttemptOutcome.SUCCESSFUL and not outcome.is_written:
            self.send(protocol.SUCCESS, protocol.pack_success(outcome, has_receivers))
        else:
            self.send(protocol.OUTCOME, protocol.pack_outcome(outcome, has_receivers))

    def _remember(self, job: ClaimedJob, outcome: Outcome) -> None:
        self.unconfirmed[job.id.hex] = (job, outcome)
        if outcome.failure is None:
            return
        # An exception keeps alive what its task had in local variables.
        self._failed.append(job.id.hex)
        if len(self._failed) > MAX_EXCEPTIONS and (known := self.unconfirmed.get(self._failed.popleft())):
            forgotten_job, forgotten = known
            aftermath = forgotten.aftermath and forgotten.aftermath._replace(exception=None)
            self.unconfirmed[forgotten_job.id.hex] = (forgotten_job, forgotten._replace(aftermath=aftermath))

    def announcements(self, body: bytes) -> Iterator[Callable[[], None]]:
        """Return the calls of receivers for a frame of endings that are written."""
        for job_id, won, status, kind in protocol.unpack(body):
            known = self.unconfirmed.pop(job_id, None)
            if not won:
                continue
            if known is not None and known[1].status == status:
                yield partial(self.runner.ended, *known)
            else:
                is_final = not status or status in FINAL
                yield partial(self.runner.ended_by_id, job_id, kind, is_final=is_final)
