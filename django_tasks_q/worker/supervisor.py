"""The parent process: claims, feeds, enforces and records, and never runs user code.

It is one thread around one selector. Every database call of the worker is made from here.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from django.db import Error, connections

from ..backends import DatabaseBackend
from ..definition.registry import registry
from ..maintenance.expire import expire
from ..maintenance.loop import Maintenance
from ..maintenance.orphans import release_orphans
from ..storage import Notifications, before_fork, storage_for
from ..validation import plain
from .batching import Batching
from .cancellations import Cancellations
from .children import main as child_main
from .children.fork_server import ForkServer
from .children.pool import Pool, PoolBroken
from .children.starts import MAX_FAILURES
from .completer import Completer
from .config import WorkerConfig
from .control import WorkerControl
from .database_timeout import DatabaseTimeout
from .executor_groups import groups_of
from .fetcher import Fetcher
from .lease import Lease
from .outage import Outage
from .subscribers.console import Report
from .subscribers.metrics import Metrics
from .subscribers.waiters import WaiterNotifications
from .system import resident_memory
from .wakeup import Signals, Wakeup

if TYPE_CHECKING:
    from _typeshed import HasFileno

logger = logging.getLogger("django_tasks_q.worker")

#: Seconds that children get to tell receivers of the last jobs before they are killed.
FAREWELL = 5.0


class Supervisor:
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
        self.database_timeout = DatabaseTimeout(self.settings.lease)
        self.storage.prepare_worker(self.database_timeout.seconds)
        child_config = {"backend": config.backend, "database": config.database}
        groups = groups_of(registry, config, self.settings)
        self.pool = Pool(self.server, groups, child_config)
        self.lease = Lease(self.storage, config, self.settings.lease)
        self.maintenance = Maintenance(self.storage, backend, registry.names())
        self.wakeup = Wakeup(self.storage, config.backend, self.signals, listen=self.settings.notify)
        self.cancellations = Cancellations(self.storage, listens=self.settings.notify)
        self.control = WorkerControl(self.storage, config.backend)
        self.metrics = Metrics(self.storage, config.backend)
        self.fetcher = Fetcher(
            self.storage, config, self.lease, self.pool, self.wakeup, self.control, self.metrics
        )
        self.waiters = WaiterNotifications(self.storage, config.backend)
        self.completer = Completer(self.storage, self.fetcher, self.pool, self.waiters, report)
        self.batching = Batching()
        self.outage = Outage()
        #: Hints that came while the database was busy.
        self._heard = Notifications()

    def run(self) -> None:
        """Work until told to stop. Raises PoolBroken, and a database Error when the start fails."""
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
            # The session has the worker's settings, which are not for whoever called it.
            self.storage.leave_worker()
            connections[self.config.database].close()
        if self.config.batch and (broken := self.pool.broken):
            raise PoolBroken(
                f"Jobs of executor {', '.join(map(repr, broken))} were not run: {MAX_FAILURES} child "
                "processes in a row died while they started."
            )

    def _take_first_lease(self) -> None:
        patience = DatabaseTimeout()
        while not self.lease.is_taken:
            try:
                with patience:
                    self.lease.take()
            except Error as error:
                if self.signals.stops or not self.storage.is_busy(error):
                    raise
        self.database_timeout = DatabaseTimeout(self.settings.lease)  # from now on there is something to lose
        self.server.renew(self.lease.kill_at)

    def _is_done(self) -> bool:
        if self.signals.stops:
            return True
        if self.pool.held or self.completer.unwritten or self.completer.exchange is not None:
            return False
        return self.fetcher.is_over

    def _step(self) -> None:
        notifications = self.wakeup.wait(self._sources(), self._sleep())
        self._heard |= notifications
        # Asked before anything else: after a freeze, whatever the children say comes too late.
        if self.lease.is_over and self.lease.is_taken:
            self._lose_lease()
        self.completer.unwritten += self.pool.receive()
        if self.pool.has_recovered:
            self.pool.has_recovered = False
            self.fetcher.look_soon()
        if not self._may_gather():
            self.batching.end()
        if self._may_ask():
            notifications, self._heard = self._heard, Notifications()
            try:
                with self.database_timeout:
                    self._ask(notifications)
                self.outage.over()
            except Error as error:  # nothing of the database ends the worker once it runs
                self._outage(error)
        if self.lease.is_taken:
            self.pool.fill(self.lease.id)
            self.pool.finished_signals.tell()
            self.completer.release(self.pool.feed())
        if self._may_gather():
            self.batching.begin(self.pool.in_hand)
        self.report.progress()

    def _may_gather(self) -> bool:
        """Whether nobody is in want of endings, nor of jobs."""
        if self.signals.stops or self.waiters.are_waited_for or self.fetcher.limits:
            return False
        return self.pool.in_hand > 0

    def _sleep(self) -> float:
        now = time.monotonic()
        due = self.pool.deadline()
        if gathers := self.batching.left:
            due = min(due, gathers)
        if now < self.outage.retry_at:
            return min(due, self.outage.retry_at - now)
        due = min(due, self.lease.seconds_to_renewal)
        if self.completer.exchange is not None:
            return min(due, self.completer.seconds_to_collect)
        if gathers:
            return due
        if self.completer.unwritten:
            return 0.0
        due = min(due, self.maintenance.seconds_to_next, self.pool.notes.seconds_to_next)
        due = min(due, self.control.seconds_to_next, self.metrics.seconds_to_next)
        if self.pool.held:
            due = min(due, self.cancellations.seconds_to_next)
        if self.fetcher.can_claim:
            due = min(due, self.fetcher.seconds_to_next)
        return due

    def _sources(self) -> Iterator[tuple[HasFileno, bool]]:
        yield from self.pool.channels(quiet=self.batching.left > 0)
        if self.completer.exchange is not None:
            yield self.completer.exchange, False

    def _may_ask(self) -> bool:
        """Whether the database can be asked something: it does one thing at a time."""
        if time.monotonic() < self.outage.retry_at:
            return False
        return self.completer.may_collect or self.lease.is_due

    def _ask(self, notifications: Notifications) -> None:
        """What a step does with the database."""
        self.completer.collect()
        self._keep_lease()
        self._heed(notifications.control)
        if notifications.waited:
            self.waiters.remember(notifications.waited, self.fetcher.holdings.ids)
        self.waiters.ring()
        # What an attempt has told comes before its end.
        self.pool.notes.write(self.storage, now=bool(self.completer.unwritten))
        found = self.maintenance.perform(
            self.lease.id,
            self.fetcher.holdings,
            idle=self.pool.has_room
            and not (self.fetcher.seconds_to_next or notifications.jobs or self.pool.held),
            poll_interval=1.0 if self.pool.held else self.wakeup.longest_pause,
        )
        self.pool.finished_signals.ended(found.ended)
        self.metrics.found(found.expired, found.rescued)
        self.metrics.write()
        self.wakeup.listen()
        self._cancel(notifications.cancels)
        notified = notifications.jobs or found.ready > 0
        if notified or self.waiters.are_waited_for or not self.batching.left:
            self.completer.send(notified)
        if self.completer.may_have_expired:
            self.completer.may_have_expired = False
            self._expire()
        if self.completer.exchange is None:
            self.waiters.ring()

    def _expire(self) -> None:
        """Jobs expired in hand, and are ready once more: end them as those are that nobody has claimed."""
        expired = expire(self.storage, self.config.backend)
        self.pool.finished_signals.ended(expired)
        self.metrics.found(expired, {})

    def _keep_lease(self) -> None:
        if not self.lease.is_taken:
            self.lease.take()
        elif not self.lease.is_due:
            return
        elif not self._renew():
            self._lose_lease()
            self.lease.take()
        self.server.renew(self.lease.kill_at)

    def _renew(self) -> bool:
        """Prolong the lease, and say how much there is to do. What processes share is counted for each."""
        children = [child.pid for child in self.pool.children.values() if child.pid is not None]
        memory = sum(map(resident_memory, [os.getpid(), self.server.pid, *children]))
        return self.lease.renew(running_jobs=self.pool.held, memory=memory or None)

    def _heed(self, notified: bool) -> None:
        """Know which queues to leave alone, and whether to stop."""
        if not self.control.are_due(notified):
            return
        if self.control.look(self.lease.id, hears=self.wakeup.hears):
            self.fetcher.look_soon()
            if self.control.current.stop:
                self.report.line("Somebody has asked this worker to stop.")
                self.signals.stops += 1
        self.maintenance.fires_in(self.control.current.fires_in)

    def _cancel(self, notified: bool) -> None:
        """End what somebody wants cancelled."""
        if self.cancellations.are_due(notified, self.pool.held):
            self.completer.unwritten += self.pool.cancel(self.cancellations.look(self.lease.id))

    # When things go wrong

    def _outage(self, error: Exception) -> None:
        busy = self.storage.is_busy(error)
        # Waiting for a turn is worth a line when it begins to cost something.
        self.outage.met(error, busy=busy and self.lease.may_claim)
        if not busy:
            self.storage.disconnect()
            self.maintenance.run_soon("orphans")  # a reply to a claim may have been lost

    def _lose_lease(self) -> None:
        """Others may run these jobs by now: kill the children, write nothing more, and be a new worker."""
        logger.error(
            "Worker %s has lost its lease; its %d jobs are left to others.", self.lease.id, self.pool.held
        )
        self.fetcher.forget()
        self.control.forget()
        self.pool.abandon()
        self.completer.forget()
        self.pool.notes.forget()
        self.server.renew(float("inf"))
        self.lease = self.fetcher.lease = Lease(self.storage, self.config, self.settings.lease)

    def _break_off(self) -> None:
        """Whatever has happened: no child runs on, and what they held is given back uncounted."""
        self.pool.kill()
        self.server.stop()
        try:
            self.completer.unwritten += self.pool.settle()
            self.completer.release(self.pool.withdraw())
        except Exception:
            logger.exception("Not all jobs can be given back; the others return when the lease ends")
        if not self.lease.is_taken or self.lease.is_over:
            return
        for _ in range(2):  # on another connection, if it is the first that has failed
            try:
                with self.database_timeout:
                    self.completer.write()
                    release_orphans(self.storage, self.lease.id, self.fetcher.holdings)
                    self.metrics.write(now=True)
                return
            except Exception as error:
                logger.error("Jobs could not be given back: %s", error)
                self.storage.disconnect()

    # The end

    def _shut_down(self) -> None:
        """Give back what has not started, wait for what runs, then give that back too."""
        stops = self.signals.stops
        deadline = time.monotonic() + (self.config.shutdown_timeout if stops <= 1 else 0.0)
        if self.pool.held:
            self.report.line(
                f"Stopping; waiting up to {plain(self.config.shutdown_timeout)}s for running jobs."
            )
        killed = False
        while True:
            self.completer.release(self.pool.withdraw())
            try:
                with self.database_timeout:
                    self.completer.collect()
                    self.completer.release(self.pool.withdraw())
                    self.pool.notes.write(self.storage, now=True)
                    self.completer.write()
                    self.metrics.write(now=True)
                    self.waiters.ring()
                    if self.lease.is_due and not self._renew():
                        break
                self.server.renew(self.lease.kill_at)
                self.outage.over()
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
            self.completer.unwritten += self.pool.receive()
        self._dismiss_children()

    def _dismiss_children(self) -> None:
        """Give the receivers of the last signals time to be called."""
        stops, deadline = self.signals.stops, time.monotonic() + FAREWELL
        while self.signals.stops == stops and time.monotonic() < deadline:
            if self.pool.finished_signals.unsent:
                self.pool.fill(self.lease.id)
                self.pool.finished_signals.tell()
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
                with self.database_timeout:
                    self.lease.give_up()
            except Error as error:
                logger.error("The worker's lease could not be ended: %s", error)


__all__ = ["PoolBroken", "Supervisor"]
