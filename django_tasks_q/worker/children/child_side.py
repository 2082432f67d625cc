"""What all children have in common."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator

from ...execution.runner import Runner
from ...forks import leave_if_copy
from ...lifecycle.outcome import AttemptOutcome, Outcome
from ...storage import ClaimedJob, Note
from ..streams import Streams
from . import protocol
from .fork_server import Pipes
from .protocol import Channel

#: Seconds without a job after which idle database connections are let go.
IDLE = 1.0
#: Exceptions that a child keeps for receivers until the endings are written. Of others they get the text.
MOST_EXCEPTIONS = 16


class Child:
    """The end of the pipe at which jobs are run."""

    def __init__(self, pipes: Pipes, runner: Runner) -> None:
        self.pid = os.getpid()
        self.channel = Channel(pipes.sock, blocking=True)
        self.runner = runner
        runner.environment.send_update = self.note
        self.streams = Streams()
        #: Outcomes to tell receivers of, whose guarded write has not been confirmed yet.
        self.unconfirmed: dict[str, tuple[ClaimedJob, Outcome]] = {}
        self._failed: deque[str] = deque()

    def send(self, kind: bytes, body: bytes = b"") -> None:
        """Write to the parent, which knows nothing of copies of this process."""
        leave_if_copy(self.pid)
        self.channel.send(kind, body)

    def handed(self, body: bytes) -> Iterator[ClaimedJob]:
        """The jobs that the parent hands over."""
        return protocol.unpack_jobs(body, self.runner.clock)

    def note(self, note: Note) -> None:
        """Tell the parent what an attempt says while it runs."""
        if os.getpid() == self.pid:  # user code of a copy may go on, and is not heard
            self.send(protocol.NOTE, protocol.pack_note(note))

    def answer(self, job: ClaimedJob, outcome: Outcome) -> None:
        """Tell the parent how an attempt has ended."""
        told = outcome.aftermath is not None
        if told:
            self._remember(job, outcome)
        if outcome.kind is AttemptOutcome.SUCCESSFUL and not outcome.is_written:
            self.send(protocol.SUCCESS, protocol.pack_success(outcome, told))
        else:
            self.send(protocol.OUTCOME, protocol.pack_outcome(outcome, told))

    def _remember(self, job: ClaimedJob, outcome: Outcome) -> None:
        self.unconfirmed[job.id.hex] = (job, outcome)
        if outcome.failure is None:
            return
        # An exception keeps alive what its task had in local variables.
        self._failed.append(job.id.hex)
        if len(self._failed) > MOST_EXCEPTIONS and (known := self.unconfirmed.get(self._failed.popleft())):
            forgotten_job, forgotten = known
            self.unconfirmed[forgotten_job.id.hex] = (forgotten_job, forgotten._replace(aftermath=None))

    def announcements(self, body: bytes) -> Iterator[Callable[[], None]]:
        """What is to be told to receivers of ``task_finished``, now that endings are written."""
        for job_id, won, status in protocol.unpack(body):
            known = self.unconfirmed.pop(job_id, None)
            if not won:
                continue
            if known is not None and known[1].status == status:
                yield lambda known=known: self.runner.finished(*known)  # type: ignore[misc]
            else:
                yield lambda job_id=job_id: self.runner.finished_by_id(job_id)  # type: ignore[misc]
