"""The parent process: claims, feeds, enforces and records, and never runs user code.

It is one thread around one selector. Every database call of the worker is made from here.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from uuid import UUID

from django.db import Error, connections

from ..backends import DatabaseBackend
from ..failpoints import failpoint
from ..outcomes import Outcome
from ..registry import registry
from ..states import JobStatus
from ..storage import Claim, ClaimedJob, storage_for
from .child import main as child_main
from .config import WorkerConfig
from .duties import Duties
from .forkserver import ForkServer
from .lease import Lease
from .pool import Pool, PoolBroken
from .record import record
from .report import Report
from .wakeup import Signals, Wakeup

logger = logging.getLogger("django_tasks_q.worker")

#: Most jobs claimed by one statement.
BATCH = 100
#: Seconds until an idle worker's second look; each further one waits twice as long.
FIRST_PAUSE = 0.02
#: Longest wait before the database is tried again that did not answer, in seconds.
MAX_OUTAGE_PAUSE = 5.0
#: Seconds a job may wait in the parent for a child before others may have it.
BACKLOG_PATIENCE = 1.0
#: Seconds that children get to tell receivers of the last jobs before they are killed.
FAREWELL = 5.0


class Parent:
    """One worker, from its start to its end."""

    def __init__(self, config: WorkerConfig, backend: DatabaseBackend, report: Report) -> None:
        self.config = config
        self.settings = backend.settings
        self.report = report
        self.storage = storage_for(config.database)
        # First of all, while this process has no connection and no thread that a fork would copy.
        if threading.active_count() > 1:
            logger.warning("Threads were started before the worker's processes: %s", threading.enumerate())
        connections.close_all()
        self.server = ForkServer(child_main)
        self.signals = Signals()
        child_config = {"backend": config.backend, "database": config.database}
        self.pool = Pool(self.server, config.processes, self.settings, child_config)
        self.lease = Lease(self.storage, config, self.settings.lease)
        self.duties = Duties(self.storage, config.backend, self.settings)
        self.wakeup = Wakeup(self.storage, config.backend, self.signals, listen=self.settings.notify)
        self.unwritten: list[Outcome] = []
        self.names: dict[UUID, str] = {}
        self.taken = 0
        self._drained = False
        self._pause = FIRST_PAUSE
        self._look_at = 0.0
        self._outage_pause = 0.0
        self._database_at = 0.0
        self._backlog_since: float | None = None

    def run(self) -> None:
        """Work until told to stop. Raises PoolBroken, and a database Error when the start fails."""
        try:
            self.lease.take()
            self.server.renew(self.lease.kill_at)
            self.pool.fill(self.lease.id)
            while not self._is_done():
                self._step()
            self._shut_down()
        except PoolBroken:
            with suppress(Error):
                self._write()
            raise
        finally:
            self.wakeup.close()
            self.server.stop()
            self._give_up_lease()

    def _is_done(self) -> bool:
        if self.signals.stops:
            return True
        if self.pool.held or self.unwritten:
            return False
        if self.config.max_jobs is not None and self.taken >= self.config.max_jobs:
            return True
        return self.config.batch and self._drained

    def _step(self) -> None:
        hinted = self.wakeup.wait(self.pool.channels(), self._sleep())
        # Asked before anything else: after a freeze, whatever the children say comes too late.
        if self.lease.is_over and self.lease.is_taken:
            self._lose_lease()
        self.unwritten += self.pool.receive()
        if time.monotonic() >= self._database_at:
            try:
                self._keep_lease()
                self._write()
                hinted |= self.duties.perform(idle=self._is_idle(hinted))
                self._take_jobs(hinted)
                self._outage_pause = 0.0
            except Error as error:  # nothing of the database ends the worker once it runs
                self._outage(error)
        if self.lease.is_taken:
            self.pool.fill(self.lease.id)
            self.pool.tell()
            self._feed()
        self.report.progress()

    # What a step does with the database

    def _write(self) -> None:
        if not self.unwritten:
            return
        outcomes, won = record(self.storage, self.unwritten)
        self.unwritten = []
        if any(outcome.status is JobStatus.READY for outcome in outcomes) or not self.pool.held:
            self._look_at = 0.0
        self.pool.confirm(outcomes, won)
        self.report.ended(outcomes, won, self.names)

    def _keep_lease(self) -> None:
        if not self.lease.is_taken:
            self.lease.take()
        elif not self.lease.is_due:
            return
        elif not self.lease.renew():
            self._lose_lease()
            self.lease.take()
        else:
            self._give_back_strays()
        self.server.renew(self.lease.kill_at)

    def _give_back_strays(self) -> None:
        """The answer to a claim can be lost with the connection: then jobs run in this worker's name only."""
        strays = [job for job in self.storage.owned(self.lease.id) if job[0] not in self.names]
        if strays:
            logger.warning("Giving back %d jobs that a claim without an answer has taken.", len(strays))
            self.unwritten += [Outcome.released(*job) for job in strays]

    def _take_jobs(self, hinted: bool) -> None:
        wanted, now = self._wanted, time.monotonic()
        if not wanted or not (hinted or now >= self._look_at):
            return
        failpoint("claim.sending")
        jobs = self.storage.claim(self._claim, wanted)
        failpoint("claim.committed")
        self.taken += len(jobs)
        self.names.update((job.id, job.task_name) for job in jobs)
        self.pool.backlog.extend(jobs)
        if self.config.batch and not jobs and not self.pool.held:
            self._drained = not self.storage.has_work(self._claim)
        if len(jobs) == wanted:
            self._pause = FIRST_PAUSE
            self._look_at = 0.0
        else:
            # Nothing more for now: look again soon, then less and less often.
            self._pause = FIRST_PAUSE if jobs else min(self._pause * 2, self.storage.poll_interval)
            self._look_at = now + self._pause

    @property
    def _wanted(self) -> int:
        """How many jobs this worker would start soon if it had them."""
        if not self.lease.may_claim:
            return 0
        wanted = min(self.pool.room, BATCH)
        if self.config.max_jobs is not None:
            wanted = min(wanted, self.config.max_jobs - self.taken)
        return max(0, wanted)

    @property
    def _claim(self) -> Claim:
        return Claim(
            worker_id=self.lease.id,
            backend=self.config.backend,
            task_names=registry.names(),
            queues=self.config.queues,
            exclude_queues=self.config.exclude_queues,
        )

    def _feed(self) -> None:
        """Hand out the backlog; what no child gets round to for a while, other workers may have."""
        now = time.monotonic()
        if self.pool.feed() or not self.pool.backlog:
            self._backlog_since = None
        elif self._backlog_since is None:
            self._backlog_since = now
        elif now - self._backlog_since > BACKLOG_PATIENCE:
            jobs = list(self.pool.backlog)
            self.pool.backlog.clear()
            self._release(jobs)
            self._backlog_since = None

    def _release(self, jobs: list[ClaimedJob]) -> None:
        failpoint("release.sending")
        self.unwritten += [Outcome.released(job.id, job.fence) for job in jobs]
        self.taken -= len(jobs)

    # Time

    def _sleep(self) -> float:
        now = time.monotonic()
        if now < self._database_at:
            return min(self._database_at - now, self.pool.deadline())
        if self.unwritten:
            return 0.0
        due = min(self.pool.deadline(), self.lease.seconds_to_renewal, self.duties.seconds_to_next)
        if self._wanted:
            due = min(due, max(0.0, self._look_at - now))
        if self._backlog_since is not None:
            due = min(due, max(0.0, self._backlog_since + BACKLOG_PATIENCE - now))
        return due

    def _is_idle(self, hinted: bool) -> bool:
        return self.pool.room > 0 and time.monotonic() >= self._look_at and not hinted and not self.pool.held

    # When things go wrong

    def _outage(self, error: Exception) -> None:
        if not self._outage_pause:
            logger.error("The database does not answer; trying again: %s", error)
        self._outage_pause = min(MAX_OUTAGE_PAUSE, self._outage_pause * 2 or 0.1)
        self._database_at = time.monotonic() + self._outage_pause
        self.storage.connection.close()

    def _lose_lease(self) -> None:
        """Others may run these jobs by now: kill the children, write nothing more, and be a new worker."""
        logger.error(
            "Worker %s has lost its lease; its %d jobs are left to others.", self.lease.id, self.pool.held
        )
        self.taken -= self.pool.held
        self.pool.abandon()
        self.unwritten.clear()
        self.names.clear()
        self.server.renew(float("inf"))
        self.lease = Lease(self.storage, self.config, self.settings.lease)

    # The end

    def _shut_down(self) -> None:
        """Give back what has not started, wait for what runs, then give that back too."""
        stops = self.signals.stops
        deadline = time.monotonic() + (self.config.shutdown_timeout if stops <= 1 else 0.0)
        if self.pool.held:
            self.report.line(f"Stopping; waiting up to {self.config.shutdown_timeout:g}s for running jobs.")
        killed = False
        while True:
            if withdrawn := self.pool.withdraw():
                self._release(withdrawn)
            try:
                self._write()
                if self.lease.is_due and not self.lease.renew():
                    break
                self.server.renew(self.lease.kill_at)
            except Error as error:
                self._outage(error)
                if killed or time.monotonic() > deadline:
                    logger.error("Jobs could not be given back; they return when the lease ends.")
                    break
            if not self.pool.held and not self.unwritten:
                break
            if not killed and (time.monotonic() >= deadline or self.signals.stops > max(1, stops)):
                self.pool.kill()
                killed = True
            remaining = 1.0 if killed else max(0.0, min(1.0, deadline - time.monotonic()))
            self.wakeup.wait(self.pool.channels(), remaining)
            self.unwritten += self.pool.receive()
        self._dismiss_children()

    def _dismiss_children(self) -> None:
        """Give the receivers of the last signals time to be called."""
        stops, deadline = self.signals.stops, time.monotonic() + FAREWELL
        dismissed = False
        while self.signals.stops == stops and time.monotonic() < deadline:
            if self.pool.untold:
                self.pool.fill(self.lease.id)
                self.pool.tell()
            elif not dismissed:
                self.pool.dismiss()
                dismissed = True
            if not self.pool.children:
                break
            channels = [(self.server.channel, False)] if dismissed else self.pool.channels()
            self.wakeup.wait(channels, 0.2)
            self.pool.receive()

    def _give_up_lease(self) -> None:
        """With the children dead, whatever they still held can be rescued at once."""
        if self.lease.is_taken:
            try:
                self.lease.give_up()
            except Error as error:
                logger.error("The worker's lease could not be ended: %s", error)


__all__ = ["Parent", "PoolBroken"]
