"""The ends of a worker: orderly, after an unexpected error, and that of its lease."""

from __future__ import annotations

import time

from django.db import Error

from ..events import ShutdownStarted
from ..loggers import robust_logger
from ..maintenance.orphans import release_orphans
from .children.exits import EXIT_TIMEOUT
from .children.pool import ForkServerLost, PoolBroken
from .parts import WorkerParts

logger = robust_logger("django_tasks_q.worker")

#: Seconds that children have for the receivers of the last jobs, and to exit, before they are killed.
DISMISSAL_TIMEOUT = 5.0 + EXIT_TIMEOUT


def shut_down(worker: WorkerParts) -> None:
    """Return what has not started, wait for what runs, then return that too, and let the children exit.

    Running tasks are interrupted a grace before the timeout of the shutdown is over, and killed at its end
    or at another signal.
    """
    stops, timeout = worker.signals.stops, worker.config.shutdown_timeout
    deadline = time.monotonic() + (timeout if stops <= 1 else 0.0)
    worker.events.publish(ShutdownStarted(timeout, worker.pool.held))
    if time.monotonic() < deadline:  # otherwise tasks are killed now, and no exception comes first
        worker.pool.stop(deadline - worker.settings.grace)
    killed = False
    while True:
        worker.completer.release(worker.pool.withdraw())
        try:
            if not _write(worker):
                break
        except Error as error:
            worker.has_failed(error)
            if killed or time.monotonic() > deadline:
                logger.error("Jobs could not be given back; they return when the lease ends.")
                break
        if not worker.pool.held and not worker.completer.unwritten:
            break
        if not killed and (time.monotonic() >= deadline or worker.signals.stops > max(1, stops)):
            worker.pool.kill()
            killed = True
        remaining = 1.0 if killed else max(0.0, min(1.0, deadline - time.monotonic()))
        worker.wakeup.wait(worker.pool.channels(), remaining)
        worker.completer.add(worker.pool.receive())
    _dismiss_children(worker)


def _write(worker: WorkerParts) -> bool:
    """Write all that is to be written. Return False if the lease is over. Raises a database Error."""
    with worker.database_timeout:
        worker.completer.collect()
        # What a claim that was under way has brought.
        worker.completer.release(worker.pool.withdraw())
        worker.progress.write(now=True)
        worker.completer.write()
        worker.metrics.write(now=True)
        worker.waiters.notify()
        if worker.lease.is_due and not worker.renew():
            return False
    worker.outage.succeeded()
    return True


def _dismiss_children(worker: WorkerParts) -> None:
    """Let the children call the receivers of the last signals, and exit."""
    stops, deadline = worker.signals.stops, time.monotonic() + DISMISSAL_TIMEOUT
    while worker.signals.stops == stops and time.monotonic() < deadline:
        if worker.finished_signals.unsent:
            worker.pool.fill(worker.lease.id, has_signals=True)
            worker.finished_signals.send()
        else:
            worker.pool.dismiss()
        if not worker.pool.children:
            break
        worker.wakeup.wait(worker.pool.channels(), 0.2)
        worker.pool.receive()


def break_off(worker: WorkerParts, error: BaseException) -> None:
    """After an unexpected error: end every child, and return their jobs."""
    reason = "worker" if _may_be_due_to_a_job(error) else "release"
    worker.pool.kill(reason)
    worker.server.stop()
    try:
        worker.completer.add(worker.pool.end_attempts(reason))
        worker.completer.release(worker.pool.withdraw())
    except Exception:
        logger.exception("Not all jobs can be given back; the others return when the lease ends")
    if not worker.lease.is_taken or worker.lease.is_over:
        return
    for _ in range(2):  # on another connection, if it is the first that has failed
        try:
            with worker.database_timeout:
                worker.completer.write()
                release_orphans(worker.storage, worker.lease.id, worker.held_jobs, worker.settings)
                worker.metrics.write(now=True)
            return
        except Exception as error:
            logger.error("Jobs could not be given back: %s", error)
            worker.storage.session.disconnect()


def _may_be_due_to_a_job(error: BaseException) -> bool:
    """Return whether a job may have caused an error, and neither the system nor the project's settings."""
    if isinstance(error, PoolBroken):
        return isinstance(error, ForkServerLost)
    return isinstance(error, Exception) and not isinstance(error, (Error, OSError, MemoryError))


def give_up_lease(worker: WorkerParts) -> None:
    """End the lease: the children are dead, and the jobs that they still held can be rescued at once."""
    if worker.lease.is_taken:
        try:
            with worker.database_timeout:
                worker.lease.give_up()
        except Error as error:
            logger.error("The worker's lease could not be ended: %s", error)
