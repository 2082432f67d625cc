"""The lease of a worker, its right to its jobs: renewed while it lasts, given up in time otherwise."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress

from django.db import Error

from .. import __version__
from ..events import Events, LeaseLost, LeaseRenewed, WorkerStopped
from ..failpoints import failpoint
from ..loggers import robust_logger
from ..models import Worker
from ..payload import codec
from ..storage import Storage
from ..storage.timestamps import boot_time
from .config import WorkerConfig
from .identity import host_name

logger = robust_logger("django_tasks_q.worker")

#: Shares of the lease: when it is renewed, when claiming stops without a renewal, and when the children are
#: killed. Of 60 seconds these are 10, 45 and 55.
RENEW, STOP_CLAIMING, KILL = 1 / 6, 3 / 4, 11 / 12


class Lease:
    """The worker's current lease. Each time that it is taken it has another id, which is never used again."""

    def __init__(self, storage: Storage, config: WorkerConfig, seconds: float, events: Events) -> None:
        self.storage = storage
        self.config = config
        self.seconds = seconds
        self.events = events
        self.id = uuid.uuid4()
        self.renewed_at = float("-inf")

    def take(self) -> None:
        """Register the worker under a new id."""
        # An earlier try whose reply was lost may have been carried out.
        self.id = uuid.uuid4()
        asked_at = boot_time()
        self.storage.workers.register(
            Worker(
                id=self.id,
                name=self.config.name,
                hostname=host_name(),
                pid=os.getpid(),
                backend=self.config.backend,
                queues=codec.dumps(list(self.config.queues), what="queues"),
                exclude_queues=codec.dumps(list(self.config.exclude_queues), what="queues"),
                processes=self.config.processes,
                threads=self.config.threads,
                async_concurrency=self.config.async_concurrency,
                version=__version__,
            ),
            self.seconds,
        )
        self._renewed(asked_at)
        self._warn_of_namesakes()

    def _warn_of_namesakes(self) -> None:
        others: list[tuple[uuid.UUID, str, int]] = []
        with suppress(Error):  # the next statement finds that out as well
            others = self.storage.workers.namesakes(self.id, self.config.name)
        if others:
            logger.warning(
                "This worker, id=%s, has the name %r of other workers that are alive: %s. Only the ids "
                "distinguish them. Give each another --worker-name.",
                self.id,
                self.config.name,
                ", ".join(f"id={id} (process {pid} on {host})" for id, host, pid in others),
            )

    def renew(self, *, running_jobs: int = 0, memory: int | None = None) -> bool:
        """Extend the lease. Return False if it is over, so that its jobs belong to other workers.

        ``running_jobs`` and ``memory``, in bytes, are stored for operators.
        """
        # Measured before the statement: however long the reply takes, the database's lease is longer.
        asked_at = boot_time()
        failpoint("heartbeat.sending")
        if not self.storage.workers.heartbeat(
            self.id, self.seconds, running_jobs=running_jobs, memory=memory
        ):
            return False
        self._renewed(asked_at)
        return True

    def _renewed(self, at: float) -> None:
        self.renewed_at = at
        self.events.publish(LeaseRenewed(self.id, self.seconds, self.kill_at))

    def lose(self) -> None:
        """Drop the lease, which is over. Another may be taken."""
        lost, self.id, self.renewed_at = self.id, uuid.uuid4(), float("-inf")
        self.events.publish(LeaseLost(lost))

    def give_up(self) -> None:
        """End the lease; the jobs that the worker still holds can be rescued at once."""
        self.storage.workers.unregister(self.id)
        self.events.publish(WorkerStopped(self.id))

    @property
    def is_taken(self) -> bool:
        """Whether the worker is registered."""
        return self.renewed_at != float("-inf")

    @property
    def age(self) -> float:
        """Seconds since the last renewal."""
        return boot_time() - self.renewed_at

    @property
    def is_due(self) -> bool:
        """Whether it is time to renew the lease."""
        return self.age >= self.seconds * RENEW

    @property
    def may_claim(self) -> bool:
        """Whether the last renewal is recent enough to claim jobs."""
        return self.age < self.seconds * STOP_CLAIMING

    @property
    def is_over(self) -> bool:
        """Whether to act as if other workers had the jobs already: a little before they can."""
        return self.age >= self.seconds * KILL

    @property
    def kill_at(self) -> float:
        """When the children must be dead without another renewal, on the boot-time clock."""
        return self.renewed_at + self.seconds * KILL

    @property
    def seconds_to_renewal(self) -> float:
        """Seconds until it is time to renew the lease."""
        return max(0.0, self.seconds * RENEW - self.age)
