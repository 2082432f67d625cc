"""The parent process: claims, feeds, enforces and records, and never runs user code.

It is one thread around one selector. Every database call of the worker is made from here.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import Error

from ..backends import DatabaseBackend
from ..failpoints import failpoint
from ..outcomes import Outcome
from ..registry import registry
from ..states import JobStatus
from ..storage import Claim, ClaimedJob, Exchange, Hints, before_fork, storage_for
from .cancellations import Cancellations
from .children import main as child_main
from .config import WorkerConfig
from .duties import Duties
from .forkserver import ForkServer
from .groups import groups_of
from .lease import Lease
from .outage import Outage
from .patience import Patience
from .pool import Pool, PoolBroken
from .record import Written, record
from .report import Report
from .wakeup import Signals, Wakeup

if TYPE_CHECKING:
    from _typeshed import HasFileno

logger = logging.getLogger("django_tasks_q.worker")

#: Most jobs claimed by one statement.
BATCH = 100
#: Seconds after which the parent waits for what it has sent, and does nothing else.
LONG_FLIGHT = 1.0
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
        before_fork()
        if threading.active_count() > 1:
            logger.warning("Threads were started before the worker's processes: %s", threading.enumerate())
        self.server = ForkServer(child_main)
        self.signals = Signals()
        self.patience = Patience(self.settings.lease)
        self.storage.prepare_worker(self.patience.seconds)
        child_config = {"backend": config.backend, "database": config.database}
        groups = groups_of(registry, config, self.settings)
        self.pool = Pool(self.server, groups, child_config)
        self.lease = Lease(self.storage, config, self.settings.lease)
        self.duties = Duties(self.storage, config.backend, self.settings, registry.names())
        self.wakeup = Wakeup(self.storage, config.backend, self.signals, listen=self.settings.notify)
        self.cancellations = Cancellations(self.storage, listens=self.settings.notify)
        self.unwritten: list[Outcome] = []
        #: What is being written, and since when.
        self.exchange: Exchange | None = None
        self.writing: list[Outcome] = []
        self._sent_at = 0.0
        #: Hints that came while the database was busy.
        self._heard = Hints()
        self.names: dict[UUID, str] = {}
        self.taken = 0
        self._drained = False
        #: When there last was something to claim.
        self._found_at = 0.0
        self._look_at = 0.0
        self.outage = Outage()

    def run(self) -> None:
        """Work until told to stop. Raises PoolBroken, and a database Error when the start fails."""
        try:
            self._take_first_lease()
            while not self._is_done():
                self._step()
            self._shut_down()
        except PoolBroken:
            self._release(self.pool.withdraw())
            with suppress(Error), self.patience:
                self._write()
            raise
        finally:
            self.wakeup.close()
            self.server.stop()
            self._give_up_lease()

    def _take_first_lease(self) -> None:
        patience = Patience()
        while not self.lease.is_taken:
            try:
                with patience:
                    self.lease.take()
            except Error as error:
                if self.signals.stops or not self.storage.is_busy(error):
                    raise
        self.patience = Patience(self.settings.lease)  # from now on there is something to lose
        self.server.renew(self.lease.kill_at)

    def _is_done(self) -> bool:
        if self.signals.stops:
            return True
        if self.pool.held or self.unwritten or self.exchange is not None:
            return False
        if self.config.max_jobs is not None and self.taken >= self.config.max_jobs:
            return True
        return self.config.batch and self._drained

    def _step(self) -> None:
        hints = self.wakeup.wait(self._sources(), self._sleep())
        self._heard = Hints(self._heard.jobs or hints.jobs, self._heard.cancels or hints.cancels)
        # Asked before anything else: after a freeze, whatever the children say comes too late.
        if self.lease.is_over and self.lease.is_taken:
            self._lose_lease()
        self.unwritten += self.pool.receive()
        if self._may_ask():
            hints, self._heard = self._heard, Hints()
            try:
                with self.patience:
                    self._collect()
                    self._keep_lease()
                    found = self.duties.perform(
                        self.lease.id,
                        self.names,
                        idle=self._is_idle(hints.jobs),
                        pause=1.0 if self.pool.held else self.wakeup.longest_pause,
                    )
                    self.pool.telling.ended(found.ended)
                    self.wakeup.listen()
                    self._cancel(hints.cancels)
                    self._send(hints.jobs or found.ready)
                self.outage.over()
            except Error as error:  # nothing of the database ends the worker once it runs
                self._outage(error)
        if self.lease.is_taken:
            self.pool.fill(self.lease.id)
            self.pool.telling.tell()
            self._release(self.pool.feed())
        self.report.progress()

    def _sources(self) -> Iterator[tuple[HasFileno, bool]]:
        yield from self.pool.channels()
        if self.exchange is not None:
            yield self.exchange, False

    def _may_ask(self) -> bool:
        """Whether the database can be asked something: it does one thing at a time."""
        now = time.monotonic()
        if now < self.outage.retry_at:
            return False
        exchange = self.exchange
        return (
            exchange is None
            or exchange.has_landed()
            or self.lease.is_due
            or now > self._sent_at + LONG_FLIGHT
        )

    # What a step does with the database

    def _send(self, hinted: bool) -> None:
        """Have endings written and jobs claimed, while this process sees to its children."""
        unwritten = [outcome for outcome in self.unwritten if not outcome.is_written]
        if not unwritten or len(self.pool.groups) > 1:
            self._write()
            self._take_jobs(hinted)
            return
        names: list[str] = []
        limit = 0
        if self._can_claim and (hinted or time.monotonic() >= self._look_at):
            names, limit = self._common_wish()
            failpoint("claim.sending")
        failpoint("finish.sending")
        self.exchange = self.storage.exchange(unwritten, self._terms(names), limit)
        self._sent_at = time.monotonic()
        self.writing, self.unwritten = self.unwritten, []
        if not self.exchange.is_flying:
            self._collect()
            self._take_jobs(hinted=False)

    def _collect(self) -> None:
        """Wait for what was sent, and take it in."""
        if (exchange := self.exchange) is None:
            return
        outcomes, self.exchange, self.writing = self.writing, None, []
        # Until it is known that they are written, they are not.
        self.unwritten = outcomes + self.unwritten

        def finish(_: Sequence[Outcome]) -> Written:
            written, jobs = exchange.result()
            if exchange.limit:
                self._took(jobs)
                self._look_again(len(jobs), full=len(jobs) == exchange.limit)
            return written

        recorded = record(self.storage, outcomes, finish)
        del self.unwritten[: len(outcomes)]
        self._confirm(*recorded)

    def _write(self) -> None:
        """Write what has ended, and wait for that."""
        self._collect()
        if not self.unwritten:
            return
        failpoint("finish.sending")
        recorded = record(self.storage, self.unwritten)
        self.unwritten = []
        self._confirm(*recorded)

    def _confirm(self, outcomes: list[Outcome], written: Written) -> None:
        if JobStatus.READY in written.values() or not self.pool.held:
            self._look_at = 0.0
        self.pool.telling.confirm(outcomes, written)
        self.report.ended(outcomes, written, self.names)

    def _keep_lease(self) -> None:
        if not self.lease.is_taken:
            self.lease.take()
        elif not self.lease.is_due:
            return
        elif not self.lease.renew():
            self._lose_lease()
            self.lease.take()
        self.server.renew(self.lease.kill_at)

    def _take_jobs(self, hinted: bool) -> None:
        if not self._can_claim or not (hinted or time.monotonic() >= self._look_at):
            return
        names, limit = self._common_wish()
        found = self._claim(names, limit)
        full = found == limit
        if full and len(self.pool.groups) > 1:
            # What is left may be of any group, and another may have more room.
            full = False
            for names, room in self.pool.wishes():
                if limit := min(room, BATCH, self._quota):
                    claimed = self._claim(names, limit)
                    found += claimed
                    full |= claimed == limit
        if self.config.batch and not found and not self.pool.held:
            self._drained = not self.storage.has_work(self._terms(registry.names()))
        self._look_again(found, full=full)

    def _look_again(self, found: int, *, full: bool) -> None:
        """Settle when to look for jobs the next time."""
        now = time.monotonic()
        if found:
            self._found_at = now
        if full:
            self._look_at = 0.0
        else:
            # The longer nothing has come, the less often.
            self._look_at = now + self.wakeup.pause(now - self._found_at)

    def _common_wish(self) -> tuple[list[str], int]:
        names, room = self.pool.common_wish()
        return names, min(room, BATCH, self._quota)

    def _claim(self, names: list[str], limit: int) -> int:
        failpoint("claim.sending")
        jobs = self.storage.claim(self._terms(names), limit)
        self._took(jobs)
        return len(jobs)

    def _took(self, jobs: list[ClaimedJob]) -> None:
        failpoint("claim.committed")
        self.taken += len(jobs)
        self.names.update((job.id, job.task_name) for job in jobs)
        self.pool.add(jobs)

    @property
    def _quota(self) -> int:
        """How many more jobs this worker may claim in its life."""
        return BATCH if self.config.max_jobs is None else max(0, self.config.max_jobs - self.taken)

    @property
    def _can_claim(self) -> bool:
        return self.lease.may_claim and self._quota > 0 and self.pool.has_room

    def _terms(self, names: list[str]) -> Claim:
        return Claim(
            worker_id=self.lease.id,
            backend=self.config.backend,
            task_names=names,
            queues=self.config.queues,
            exclude_queues=self.config.exclude_queues,
        )

    def _cancel(self, hinted: bool) -> None:
        """End what somebody wants cancelled."""
        if self.cancellations.are_due(hinted, self.pool.held):
            self.unwritten += self.pool.cancel(self.cancellations.look(self.lease.id))

    def _release(self, jobs: list[ClaimedJob]) -> None:
        """Let others have jobs that have not started."""
        if jobs:
            failpoint("release.sending")
            self.unwritten += [Outcome.released(job.id, job.fence) for job in jobs]
            self.taken -= len(jobs)

    # Time

    def _sleep(self) -> float:
        now = time.monotonic()
        if now < self.outage.retry_at:
            return min(self.outage.retry_at - now, self.pool.deadline())
        due = min(self.pool.deadline(), self.lease.seconds_to_renewal)
        if self.exchange is not None:
            return min(due, max(0.0, self._sent_at + LONG_FLIGHT - now))
        if self.unwritten:
            return 0.0
        due = min(due, self.duties.seconds_to_next)
        if self.pool.held:
            due = min(due, self.cancellations.seconds_to_next)
        if self._can_claim:
            due = min(due, max(0.0, self._look_at - now))
        return due

    def _is_idle(self, hinted: bool) -> bool:
        return self.pool.has_room and time.monotonic() >= self._look_at and not hinted and not self.pool.held

    # When things go wrong

    def _outage(self, error: Exception) -> None:
        busy = self.storage.is_busy(error)
        # Waiting for a turn is worth a line when it begins to cost something.
        self.outage.met(error, busy=busy and self.lease.may_claim)
        if not busy:
            self.storage.disconnect()
            self.duties.look_for_strays()

    def _lose_lease(self) -> None:
        """Others may run these jobs by now: kill the children, write nothing more, and be a new worker."""
        logger.error(
            "Worker %s has lost its lease; its %d jobs are left to others.", self.lease.id, self.pool.held
        )
        self.taken -= self.pool.held
        self.pool.abandon()
        if self.exchange is not None:
            self.exchange = None
            self.storage.disconnect()
        self.writing.clear()
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
            self._release(self.pool.withdraw())
            try:
                with self.patience:
                    self._collect()
                    self._release(self.pool.withdraw())
                    self._write()
                    if self.lease.is_due and not self.lease.renew():
                        break
                self.server.renew(self.lease.kill_at)
                self.outage.over()
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
        while self.signals.stops == stops and time.monotonic() < deadline:
            if self.pool.telling.untold:
                self.pool.fill(self.lease.id)
                self.pool.telling.tell()
            else:
                self.pool.dismiss()
            if not self.pool.children:
                break
            self.wakeup.wait(self.pool.channels(), 0.2)
            self.pool.receive()

    def _give_up_lease(self) -> None:
        """With the children dead, whatever they still held can be rescued at once."""
        if self.lease.is_taken:
            try:
                with self.patience:
                    self.lease.give_up()
            except Error as error:
                logger.error("The worker's lease could not be ended: %s", error)


__all__ = ["Parent", "PoolBroken"]
