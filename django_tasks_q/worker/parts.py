"""The parts of a worker: how they are made, and which of them is called at which event."""

from __future__ import annotations

import os
import threading

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
from ..loggers import robust_logger
from ..maintenance.loop import Maintenance
from ..storage import before_fork, storage_for
from .batching import Batching
from .cancellations import Cancellations
from .children.fork_server import ForkServer
from .children.main import main as child_main
from .children.pool import Pool
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
from .subscribers.console import Console
from .subscribers.finished_signals import FinishedSignals
from .subscribers.metrics import Metrics
from .subscribers.progress import ProgressBuffer
from .subscribers.waiters import WaiterNotifications
from .system import resident_memory
from .wakeup import Signals, Wakeup

logger = robust_logger("django_tasks_q.worker")


class WorkerParts:
    """All that a worker consists of. When something is done is decided by ``supervisor`` and ``shutdown``."""

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
        self._executors = {group.executor for group in groups.values()}
        self.pool = Pool(self.server, groups, child_config, self.events)
        self.held_jobs = HeldJobs()
        self.lease = Lease(self.storage, config, self.settings.lease, self.events)
        self.maintenance = Maintenance(self.storage, backend, registry.names())
        self.wakeup = Wakeup(
            self.storage,
            config.backend,
            self.signals,
            listen=self.settings.notify,
            concerns=self._concerns,
        )
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

    # What takes several of them

    def _concerns(self, queue: str, executor: str) -> bool:
        """Return whether this worker runs jobs of a queue and an executor; empty for any."""
        return (not queue or self.config.serves(queue)) and (not executor or executor in self._executors)

    def renew(self) -> bool:
        """Renew the lease. Return False if it is over. Memory that processes share is counted for each."""
        children = [child.pid for child in self.pool.children.values() if child.pid is not None]
        memory = sum(map(resident_memory, [os.getpid(), self.server.pid, *children]))
        return self.lease.renew(running_jobs=self.pool.held, memory=memory or None)

    def has_failed(self, error: Exception) -> None:
        """A statement has failed. No error of the database ends a worker that runs."""
        busy = self.storage.session.is_busy(error)
        # Waiting for a lock is logged once it keeps the worker from claiming.
        self.outage.failed(error, busy=busy and self.lease.may_claim)
        if not busy:
            self.storage.session.disconnect()
            self.maintenance.run_soon("orphans")  # the reply to a claim may have been lost
