"""The supervisor, the main process of a worker: claims, feeds, enforces, completes, and runs no user code.

It is one thread around one selector. Every database call of the worker is made here.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from django.db import Error, connections

from ..backends import DatabaseBackend
from ..definition.registry import registry
from ..events import (
    AttemptsEnded,
    ChildExited,
    EndingsWritten,
    Events,
    ExecutorRecovered,
    JobsClaimed,
    JobsExpired,
    JobsRescued,
    LeaseLost,
    LeaseRenewed,
    OrphansReleased,
    ProgressReceived,
    ShutdownStarted,
    StopRequested,
    WorkerStopped,
)
from ..failpoints import failpoint
from ..loggers import robust_logger
from ..maintenance.expire import expire
from ..maintenance.loop import Maintenance
from ..maintenance.orphans import release_orphans
from ..maintenance.table import MaintenanceReport
from ..storage import Notifications, before_fork, storage_for
from .batching import Batching
from .cancellations import Cancellations
from .children.exits import EXIT_TIMEOUT
from .children.fork_server import ForkServer
from .children.main import main as child_main
from .children.pool import Pool, PoolBroken
from .completer import Completer
from .config import WorkerConfig
from .control import WorkerControl
from .database_timeout import DatabaseTimeout
from .executor_groups import groups_of
from .fetcher import Fetcher
from .heartbeat_file import HeartbeatFile
from .held_jobs import HeldJobs
from .lease import Lease
from .outage import Outage
from .starts import MAX_FAILURES
from .subscribers.console import Console
from .subscribers.finished_signals import FinishedSignals
from .subscribers.metrics import Metrics
from .subscribers.progress import ProgressBuffer
from .subscribers.waiters import WaiterNotifications
from .system import resident_memory
from .wakeup import Signals, Wakeup

if TYPE_CHECKING:
    from _typeshed import HasFileno

logger = robust_logger("django_tasks_q.worker")

#: Seconds that children have for the receivers of the last jobs, and to exit, before they are killed.
DISMISSAL_TIMEOUT = 5.0 + EXIT_TIMEOUT


class Supervisor:
    """One worker, from its start to its end."""

    def __init__(self, config: WorkerConfig, backend: DatabaseBackend, console: Console) -> None:
        self.config = config
        self.settings = backend.settings
        self.storage = storage_for(config.database)
        # First of all, while this process has no connection and no thread that a fork would copy.
        before_fork()
        if threading.active_count() > 1:
            logger.warning("Threads were started before the worker's processes: %s", threading.enumerate())
        self.server = ForkServer(child_main)
        self.signals = Signals(config.stop_descriptor)
        self.database_timeout = DatabaseTimeout(self.settings.lease)
        self.storage.session.prepare_worker(self.database_timeout.seconds)
        self.events = Events()
        child_config = {"backend": config.backend, "database": config.database}
        groups = groups_of(registry, config, self.settings)
        self.pool = Pool(self.server, groups, child_config, self.events)
        self.held_jobs = HeldJobs()
        self.lease = Lease(self.storage, config, self.settings.lease, self.events)
        self.maintenance = Maintenance(self.storage, backend, registry.names())
        self.wakeup = Wakeup(self.storage, config.backend, self.signals, listen=self.settings.notify)
        self.cancellations = Cancellations(self.storage, listens=self.settings.notify)
        self.control = WorkerControl(self.storage, config.backend)
        self.fetcher = Fetcher(
            self.storage,
            config,
            self.lease,
            self.pool,
            self.held_jobs,
            self.wakeup,
            self.control,
            self.events,
        )
        self.completer = Completer(self.storage, self.fetcher, self.pool, self.held_jobs, self.events)
        self.batching = Batching()
        self.outage = Outage()
        #: Notifications that arrived while the database was busy.
        self._notifications = Notifications()
        self.console = console
        self.finished_signals = FinishedSignals(self.pool.children)
        self.metrics = Metrics(self.storage, config.backend)
        self.progress = ProgressBuffer(self.storage)
        self.waiters = WaiterNotifications(self.storage, config.backend)
        self.heartbeat_file = HeartbeatFile(config.heartbeat_file)
        self._subscribe()

    def _subscribe(self) -> None:
        """Say who is called at which event. Subscribers of one event are called in this order."""
        on, signals, metrics, console = (
            self.events.subscribe,
            self.finished_signals,
            self.metrics,
            self.console,
        )
        on(JobsClaimed, lambda event: metrics.claimed(event.jobs))
        on(AttemptsEnded, signals.ended)
        on(EndingsWritten, signals.written)
        on(EndingsWritten, lambda event: self.waiters.written(event.written))
        on(EndingsWritten, lambda event: metrics.written(event.endings, event.written))
        on(EndingsWritten, lambda event: console.written(event.endings, event.written))
        on(EndingsWritten, lambda event: self.pool.marks.ended(event.endings))
        on(JobsExpired, lambda event: signals.add(event.ids))
        on(JobsExpired, lambda event: self.waiters.ended(event.ids))
        on(JobsExpired, lambda event: metrics.expired(event.ids))
        on(JobsRescued, lambda event: signals.rescued(event.states))
        on(JobsRescued, lambda event: self.waiters.ended(event.ended))
        on(JobsRescued, lambda event: metrics.rescued(event.states, event.uncounted))
        on(OrphansReleased, lambda event: signals.add(event.ended))
        on(OrphansReleased, lambda event: self.waiters.ended(event.ended))
        on(ProgressReceived, lambda event: self.progress.append(event.update))
        on(ChildExited, signals.exited)
        on(ExecutorRecovered, lambda _: self.fetcher.claim_soon())
        on(LeaseRenewed, lambda event: self.server.renew(event.kill_at))
        on(LeaseRenewed, lambda event: self.heartbeat_file.write(self.config.name, event.seconds))
        on(LeaseLost, lambda _: self.server.renew(float("inf")))
        on(LeaseLost, lambda _: signals.forget())
        on(LeaseLost, lambda _: self.progress.forget())
        on(LeaseLost, lambda _: self.pool.marks.forget())
        on(WorkerStopped, lambda _: self.heartbeat_file.remove())
        on(StopRequested, lambda _: console.stop_requested())
        on(ShutdownStarted, lambda event: console.shutdown_started(event.timeout, event.held))

    def run(self) -> None:
        """Work until a request to stop. Raises PoolBroken, and a database Error if the start fails."""
        try:
            self._take_first_lease()
            while not self._is_done():
                self._step()
            self._shut_down()
        except BaseException:
            self._break_off()
            raise
        finally:
            self.wakeup.close()
            self.server.stop()
            self._give_up_lease()
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
                self._outage(error)
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
        elif self.lease.is_due and not self._renew():
            self._lose_lease()
            self.lease.take()

    def _renew(self) -> bool:
        """Renew the lease. Return False if it is over. Memory that processes share is counted for each."""
        children = [child.pid for child in self.pool.children.values() if child.pid is not None]
        memory = sum(map(resident_memory, [os.getpid(), self.server.pid, *children]))
        return self.lease.renew(running_jobs=self.pool.held, memory=memory or None)

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

    def _outage(self, error: Exception) -> None:
        busy = self.storage.session.is_busy(error)
        # Waiting for a lock is logged once it keeps the worker from claiming.
        self.outage.failed(error, busy=busy and self.lease.may_claim)
        if not busy:
            self.storage.session.disconnect()
            self.maintenance.run_soon("orphans")  # the reply to a claim may have been lost

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

    def _break_off(self) -> None:
        """After an unexpected error: end every child, and give back their jobs uncounted."""
        self.pool.kill()
        self.server.stop()
        try:
            self.completer.add(self.pool.end_attempts())
            self.completer.release(self.pool.withdraw())
        except Exception:
            logger.exception("Not all jobs can be given back; the others return when the lease ends")
        if not self.lease.is_taken or self.lease.is_over:
            return
        for _ in range(2):  # on another connection, if it is the first that has failed
            try:
                with self.database_timeout:
                    self.completer.write()
                    release_orphans(self.storage, self.lease.id, self.held_jobs, self.settings)
                    self.metrics.write(now=True)
                return
            except Exception as error:
                logger.error("Jobs could not be given back: %s", error)
                self.storage.session.disconnect()

    # The end

    def _shut_down(self) -> None:
        """Give back what has not started, wait for what runs, then give that back too."""
        stops, timeout = self.signals.stops, self.config.shutdown_timeout
        deadline = time.monotonic() + (timeout if stops <= 1 else 0.0)
        self.events.publish(ShutdownStarted(timeout, self.pool.held))
        self.pool.stop(deadline - self.settings.grace)
        killed = False
        while True:
            self.completer.release(self.pool.withdraw())
            try:
                with self.database_timeout:
                    self.completer.collect()
                    self.completer.release(self.pool.withdraw())
                    self.progress.write(now=True)
                    self.completer.write()
                    self.metrics.write(now=True)
                    self.waiters.notify()
                    if self.lease.is_due and not self._renew():
                        break
                self.outage.succeeded()
            except Error as error:
                self._outage(error)
                if killed or time.monotonic() > deadline:
                    logger.error("Jobs could not be given back; they return when the lease ends.")
                    break
            if not self.pool.held and not self.completer.unwritten:
                break
            if not killed and (time.monotonic() >= deadline or self.signals.stops > max(1, stops)):
                self.pool.kill()
                killed = True
            remaining = 1.0 if killed else max(0.0, min(1.0, deadline - time.monotonic()))
            self.wakeup.wait(self.pool.channels(), remaining)
            self.completer.add(self.pool.receive())
        self._dismiss_children()

    def _dismiss_children(self) -> None:
        """Let the children call the receivers of the last signals, and exit."""
        stops, deadline = self.signals.stops, time.monotonic() + DISMISSAL_TIMEOUT
        while self.signals.stops == stops and time.monotonic() < deadline:
            if self.finished_signals.unsent:
                self.pool.fill(self.lease.id, has_signals=True)
                self.finished_signals.send()
            else:
                self.pool.dismiss()
            if not self.pool.children:
                break
            self.wakeup.wait(self.pool.channels(), 0.2)
            self.pool.receive()

    def _give_up_lease(self) -> None:
        """End the lease: the children are dead, and the jobs that they still held can be rescued at once."""
        if self.lease.is_taken:
            try:
                with self.database_timeout:
                    self.lease.give_up()
            except Error as error:
                logger.error("The worker's lease could not be ended: %s", error)


__all__ = ["PoolBroken", "Supervisor"]
