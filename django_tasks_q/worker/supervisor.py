"""The supervisor, the main process of a worker: claims, feeds, enforces, completes, and runs no user code.

It is one thread around one selector. Every database call of the worker is made here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from django.db import Error, connections

from ..backends import DatabaseBackend
from ..events import (
    JobsExpired,
    JobsRescued,
    OrphansReleased,
    StopRequested,
)
from ..failpoints import failpoint
from ..loggers import robust_logger
from ..maintenance.expire import expire
from ..maintenance.table import MaintenanceReport
from ..storage import Notifications
from . import shutdown
from .children.pool import PoolBroken
from .config import WorkerConfig
from .database_timeout import DatabaseTimeout
from .parts import WorkerParts
from .starts import MAX_FAILURES
from .subscribers.console import Console

if TYPE_CHECKING:
    from _typeshed import HasFileno

logger = robust_logger("django_tasks_q.worker")


class Supervisor(WorkerParts):
    """One worker, from its start to its end."""

    def __init__(self, config: WorkerConfig, backend: DatabaseBackend, console: Console) -> None:
        super().__init__(config, backend, console)
        #: Notifications that arrived while the database was busy.
        self._notifications = Notifications()

    def run(self) -> None:
        """Work until a request to stop. Raises PoolBroken, and a database Error if the start fails."""
        try:
            self._take_first_lease()
            while not self._is_done():
                self._step()
            shutdown.shut_down(self)
        except BaseException as error:
            shutdown.break_off(self, error)
            raise
        finally:
            self.wakeup.close()
            self.server.stop()
            shutdown.give_up_lease(self)
            self.signals.close()
            # The session has the worker's settings, which the caller must not inherit.
            self.storage.session.leave_worker()
            connections[self.config.database].close()
        if self.config.batch and (broken := self.pool.broken):
            raise PoolBroken(
                f"Jobs of executor {', '.join(map(repr, broken))} were not run: {MAX_FAILURES} child "
                "processes in a row died while they started."
            )

    def _take_first_lease(self) -> None:
        timeout = DatabaseTimeout()
        while not self.lease.is_taken:
            try:
                with timeout:
                    self.lease.take()
            except Error as error:
                self.signals.collect_requests()
                if self.signals.stops or not self.storage.session.is_busy(error):
                    raise
        self.database_timeout = DatabaseTimeout(self.settings.lease)  # from now on there is a lease to lose

    def _is_done(self) -> bool:
        if self.signals.stops:
            return True
        if self.pool.held or not self.completer.is_idle:
            return False
        return self.fetcher.is_over

    def _step(self) -> None:
        notifications = self.wakeup.wait(self._sources(), self._sleep())
        self._notifications |= notifications
        # Before anything else: after a freeze, whatever the children have sent comes too late.
        if self.lease.is_over and self.lease.is_taken:
            self._lose_lease()
        self.completer.add(self.pool.receive())
        if not self._may_batch():
            self.batching.end()
        if self._may_query():
            notifications, self._notifications = self._notifications, Notifications()
            try:
                with self.database_timeout:
                    self._query(notifications)
                self.outage.succeeded()
            except Error as error:  # no database error ends the worker once it runs
                self.has_failed(error)
        if self.lease.is_taken:
            self.pool.fill(self.lease.id, has_signals=bool(self.finished_signals.unsent))
            self.finished_signals.send()
            self.completer.release(self.pool.feed())
        if self._may_batch():
            self.batching.begin(self.pool.seconds_of_work)
        self.console.summarize()

    def _may_batch(self) -> bool:
        """Return whether endings may wait, because neither waiters nor children need them soon."""
        if self.signals.stops or self.waiters.are_waited_for or self.fetcher.limits:
            return False
        return self.pool.seconds_of_work > 0

    def _sleep(self) -> float:
        """Return the seconds until the next step."""
        now = time.monotonic()
        due = self.pool.deadline()
        if pause := self.batching.left:
            due = min(due, pause)
        if now < self.outage.retry_at:
            return min(due, self.outage.retry_at - now)
        due = min(due, self.lease.seconds_to_renewal)
        if self.completer.round_trip is not None:
            return min(due, self.completer.seconds_to_collect)
        if pause:
            return due
        if self.completer.unwritten:
            return 0.0
        due = min(due, self.maintenance.seconds_to_next, self.progress.seconds_to_next)
        due = min(due, self.control.seconds_to_next, self.metrics.seconds_to_next)
        if self.pool.held:
            due = min(due, self.cancellations.seconds_to_next)
        if self.fetcher.can_claim:
            due = min(due, self.fetcher.seconds_to_next)
        return due

    def _sources(self) -> Iterator[tuple[HasFileno, bool]]:
        yield from self.pool.channels(quiet=self.batching.left > 0)
        if self.completer.round_trip is not None:
            yield self.completer.round_trip, False

    def _may_query(self) -> bool:
        """Return whether the database can be used: it does one thing at a time."""
        if time.monotonic() < self.outage.retry_at:
            return False
        return self.completer.may_collect or self.lease.is_due

    def _query(self, notifications: Notifications) -> None:
        """Do the part of a step that uses the database."""
        self.completer.collect()
        self._mark_beginnings()
        self._keep_lease()
        self._follow_control(notifications.control)
        if notifications.waited:
            self.waiters.remember(notifications.waited, self.held_jobs.ids)
        self.waiters.notify()
        # The updates of an attempt are written before its end.
        self.progress.write(now=bool(self.completer.unwritten))
        report = self.maintenance.perform(
            self.lease.id,
            self.held_jobs,
            idle=self.pool.has_room
            and not (self.fetcher.seconds_to_next or notifications.jobs or self.pool.held),
            poll_interval=1.0 if self.pool.held else self.wakeup.longest_pause,
        )
        self._publish(report)
        self.metrics.write()
        self.wakeup.listen()
        self._cancel(notifications.cancels)
        notified = notifications.jobs or report.ready > 0
        if notified or self.waiters.are_waited_for or not self.batching.left:
            self.completer.send(notified)
        if self.completer.take_returned_expiring():
            # Such jobs are ready once more, and end like those that no worker has claimed.
            self._publish(MaintenanceReport(expired=expire(self.storage, self.config.backend)))
            self.maintenance.run_soon("promote")  # it finds out when the others expire
        if self.completer.round_trip is None:
            self._mark_beginnings()
            self.waiters.notify()

    def _mark_beginnings(self) -> None:
        """Mark the jobs that children are about to be given, where they need a mark."""
        if jobs := self.pool.unmarked():
            failpoint("mark.sending")
            lost = self.pool.marks.write(self.storage, jobs)
            failpoint("mark.committed")
            self.completer.release(self.pool.give_up(lost))

    def _publish(self, report: MaintenanceReport) -> None:
        """Publish what maintenance did."""
        if report.expired:
            self.events.publish(JobsExpired(report.expired))
        if report.released:
            self.events.publish(OrphansReleased(report.released))
        if report.rescued:
            self.events.publish(JobsRescued(report.rescued, report.uncounted))

    def _keep_lease(self) -> None:
        if not self.lease.is_taken:
            self.lease.take()
        elif self.lease.is_due and not self.renew():
            self._lose_lease()
            self.lease.take()

    def _follow_control(self, notified: bool) -> None:
        """Find out whether to stop, and which queues are paused or limited."""
        if not self.control.is_due(notified):
            return
        if self.control.query(self.lease.id, is_notified=self.wakeup.is_notified):
            self.fetcher.claim_soon()
            if self.control.current.stop:
                self.events.publish(StopRequested(self.lease.id))
                self.signals.request_stop()
        self.maintenance.fires_in(self.control.current.fires_in)

    def _cancel(self, notified: bool) -> None:
        """Interrupt jobs that are to be cancelled."""
        if self.cancellations.are_due(notified, self.pool.held):
            self.completer.add(self.pool.cancel(self.cancellations.query(self.lease.id)))

    # When things go wrong

    def _lose_lease(self) -> None:
        """Kill the children and drop their jobs, which other workers may run by now."""
        logger.error(
            "Worker %s has lost its lease; its %d jobs are left to others.", self.lease.id, self.pool.held
        )
        self.fetcher.forget()
        self.control.forget(self.lease.id)
        self.pool.abandon()
        self.completer.forget()
        self.lease.lose()


__all__ = ["PoolBroken", "Supervisor"]
