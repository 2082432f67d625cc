"""The endings that are to be written, and the one exchange with the database that writes them."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..failpoints import failpoint
from ..lifecycle.outcome import AttemptOutcome, Outcome
from ..lifecycle.states import JobStatus
from ..storage import ClaimedJob, RoundTrip, Storage
from ..storage.timestamps import boot_time
from .children.pool import Pool
from .fetcher import Fetcher
from .held_jobs import first_of_each_job
from .outcome_writer import Written, record
from .subscribers.console import Report
from .subscribers.waiters import WaiterNotifications

#: Seconds after which what was sent is waited for, and nothing else is done.
LONG_PIPELINE = 1.0


class Completer:
    """Keeps every ending until it is known to be written, and then says so."""

    def __init__(
        self, storage: Storage, fetcher: Fetcher, pool: Pool, waiters: WaiterNotifications, report: Report
    ) -> None:
        self.storage = storage
        self.fetcher = fetcher
        self.pool = pool
        self.waiters = waiters
        self.report = report
        self.unwritten: list[Outcome] = []
        #: What is being written, and since when.
        self.exchange: RoundTrip | None = None
        self._writing: list[Outcome] = []
        self._sent_at = self._asked_at = 0.0
        #: A job was given back that may have expired.
        self.may_have_expired = False

    def release(self, jobs: list[ClaimedJob]) -> None:
        """Let others have jobs that have not started."""
        if jobs:
            failpoint("release.sending")
            self.unwritten += [Outcome.released(job.id, job.fence) for job in jobs]

    def send(self, notified: bool) -> None:
        """Have endings written and jobs claimed, while this process sees to its children."""
        writing, later = first_of_each_job(self.unwritten)
        unwritten = [outcome for outcome in writing if not outcome.is_written]
        if not unwritten or len(self.pool.groups) > 1 or self.fetcher.limits:
            self.write()
            self.fetcher.look(notified)
            return
        claim, limit = self.fetcher.wish(notified)
        failpoint("finish.sending")
        self._asked_at = boot_time()
        self.exchange = self.storage.exchange(unwritten, claim, limit)
        self._sent_at = time.monotonic()
        self._writing, self.unwritten = list(writing), later
        if not self.exchange.is_in_flight:
            self.collect()
            self.fetcher.look(notified=False)

    @property
    def may_collect(self) -> bool:
        """Whether nothing is on its way, or the answer has come, or it is time to wait for it."""
        if self.exchange is None or self.exchange.has_landed():
            return True
        return time.monotonic() > self._sent_at + LONG_PIPELINE

    @property
    def seconds_to_collect(self) -> float:
        """Seconds until the answer to what was sent is waited for."""
        return max(0.0, self._sent_at + LONG_PIPELINE - time.monotonic())

    def collect(self) -> None:
        """Wait for what was sent, and take it in."""
        if (exchange := self.exchange) is None:
            return
        outcomes, self.exchange, self._writing = self._writing, None, []
        # Until it is known that they are written, they are not.
        self.unwritten = outcomes + self.unwritten

        def finish(_: Sequence[Outcome]) -> Written:
            written, jobs = exchange.result()
            if exchange.limit:
                self.fetcher.granted(jobs, exchange.limit, self._asked_at)
            return written

        recorded = record(self.storage, outcomes, finish)
        del self.unwritten[: len(outcomes)]
        self._confirm(*recorded)

    def write(self) -> None:
        """Write what has ended, and wait for that."""
        self.collect()
        while self.unwritten:
            failpoint("finish.sending")
            writing, later = first_of_each_job(self.unwritten)
            recorded = record(self.storage, writing)
            self.unwritten = later
            self._confirm(*recorded)

    def _confirm(self, outcomes: list[Outcome], written: Written) -> None:
        if JobStatus.READY in written.values() or not self.pool.held or self.fetcher.limits:
            self.fetcher.look_soon()
        released = sum(outcome.kind is AttemptOutcome.RELEASED for outcome in outcomes)
        self.fetcher.taken -= released
        self.pool.finished_signals.confirm(outcomes, written)
        self.waiters.ended(written)
        endings = list(zip(outcomes, self.fetcher.holdings.settle(outcomes), strict=True))
        if released:
            self.may_have_expired |= any(job is not None and job.expires_at is not None for _, job in endings)
        self.fetcher.metrics.ended(endings, written)
        self.report.ended(endings, written)

    def forget(self) -> None:
        """The jobs that have ended are others' now, and so are their endings."""
        if self.exchange is not None:
            self.exchange = None
            self.storage.disconnect()
        self._writing.clear()
        self.unwritten.clear()
