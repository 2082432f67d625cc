"""The endings that are to be written, and the round trip to the database that writes them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from ..events import EndingsWritten, Events
from ..failpoints import failpoint
from ..lifecycle.outcome import AttemptOutcome, Outcome
from ..lifecycle.states import JobStatus
from ..storage import ClaimedJob, RoundTrip, Storage
from ..storage.timestamps import boot_time
from .children.pool import Pool
from .fetcher import Fetcher
from .held_jobs import HeldJobs, first_of_each_job
from .outcome_writer import Written, write_outcomes

#: Seconds after which a round trip is waited for, and nothing else is done.
LONG_ROUND_TRIP = 1.0


class Completer:
    """Keeps every ending until it is known to be written, and then publishes it."""

    def __init__(
        self, storage: Storage, fetcher: Fetcher, pool: Pool, held_jobs: HeldJobs, events: Events
    ) -> None:
        self.storage = storage
        self.fetcher = fetcher
        self.pool = pool
        self.held_jobs = held_jobs
        self.events = events
        self.unwritten: list[Outcome] = []
        #: The round trip that is under way.
        self.round_trip: RoundTrip | None = None
        self._writing: list[Outcome] = []
        self._sent_at = self._asked_at = 0.0
        #: Whether a job is ready once more that may have expired.
        self._has_returned_expiring = False

    @property
    def is_idle(self) -> bool:
        """Whether every ending is written."""
        return not self.unwritten and self.round_trip is None

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Add endings to be written."""
        self.unwritten += outcomes

    def release(self, jobs: list[ClaimedJob]) -> None:
        """Give back jobs that have not started."""
        if jobs:
            failpoint("release.sending")
            self.add(Outcome.released(job.id, job.fence) for job in jobs)

    def send(self, notified: bool) -> None:
        """Start to write endings and claim jobs, while the supervisor goes on."""
        writing, later = first_of_each_job(self.unwritten)
        unwritten = [outcome for outcome in writing if not outcome.is_written]
        if not unwritten or len(self.pool.groups) > 1 or self.fetcher.limits:
            self.write()
            self.fetcher.claim(notified)
            return
        claim, limit = self.fetcher.plan(notified)
        failpoint("finish.sending")
        self._asked_at = boot_time()
        self.round_trip = self.storage.jobs.round_trip(unwritten, claim, limit)
        self._sent_at = time.monotonic()
        self._writing, self.unwritten = list(writing), later
        if not self.round_trip.is_in_flight:
            self.collect()
            self.fetcher.claim(notified=False)

    @property
    def may_collect(self) -> bool:
        """Whether nothing is in flight, or it has returned, or it is time to wait for it."""
        if self.round_trip is None or self.round_trip.has_landed():
            return True
        return time.monotonic() > self._sent_at + LONG_ROUND_TRIP

    @property
    def seconds_to_collect(self) -> float:
        """Seconds until the round trip is waited for."""
        return max(0.0, self._sent_at + LONG_ROUND_TRIP - time.monotonic())

    def collect(self) -> None:
        """Wait for the round trip, and take what it returns."""
        if (round_trip := self.round_trip) is None:
            return
        outcomes, self.round_trip, self._writing = self._writing, None, []
        # Until it is known that they are written, they are not.
        self.unwritten = outcomes + self.unwritten

        def finish(_: Sequence[Outcome]) -> Written:
            written, jobs = round_trip.result()
            if round_trip.limit:
                self.fetcher.claimed(jobs, round_trip.limit, self._asked_at)
            return written

        done = write_outcomes(self.storage, outcomes, finish)
        del self.unwritten[: len(outcomes)]
        self._publish(*done)

    def write(self) -> None:
        """Write all endings, and wait for that."""
        self.collect()
        while self.unwritten:
            failpoint("finish.sending")
            writing, later = first_of_each_job(self.unwritten)
            done = write_outcomes(self.storage, writing)
            self.unwritten = later
            self._publish(*done)

    def _publish(self, outcomes: list[Outcome], written: Written) -> None:
        is_ready_again = JobStatus.READY in written.values()
        if is_ready_again or not self.pool.held or self.fetcher.limits:
            self.fetcher.claim_soon()
        released = sum(outcome.kind is AttemptOutcome.RELEASED for outcome in outcomes)
        endings = list(zip(outcomes, self.held_jobs.remove(outcomes), strict=True))
        if released:
            self.fetcher.given_back(released)
        if is_ready_again:
            self._has_returned_expiring |= any(
                job is not None and job.expires_at is not None and not outcome.is_final
                for outcome, job in endings
            )
        self.events.publish(EndingsWritten(endings, written))

    def take_returned_expiring(self) -> bool:
        """Return whether jobs that may have expired are ready once more since the last call."""
        taken, self._has_returned_expiring = self._has_returned_expiring, False
        return taken

    def forget(self) -> None:
        """Drop all endings, whose jobs belong to other workers."""
        if self.round_trip is not None:
            self.round_trip = None
            self.storage.session.disconnect()
        self._writing.clear()
        self.unwritten.clear()
