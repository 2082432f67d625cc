"""A worker's right to its jobs: renewed while it lasts, given up in time when it cannot be."""

from __future__ import annotations

import os
import uuid

from .. import __version__
from ..failpoints import failpoint
from ..models import Worker
from ..payload import codec
from ..storage import Storage
from ..storage.timestamps import boot_time
from .config import WorkerConfig
from .heartbeat_file import HeartbeatFile
from .identity import host_name

#: Shares of the lease: how often it is renewed, when claiming stops for want of a renewal, and when the
#: children are killed. Of 60 seconds these are 10, 45 and 55.
RENEW, STOP_CLAIMING, KILL = 1 / 6, 3 / 4, 11 / 12


class Lease:
    """One boot's lease. Its id is never used again: a lease that is over is replaced by another."""

    def __init__(self, storage: Storage, config: WorkerConfig, seconds: float) -> None:
        self.storage = storage
        self.config = config
        self.seconds = seconds
        self.heartbeat_file = HeartbeatFile(config.heartbeat_file)
        self.id = uuid.uuid4()
        self.renewed_at = float("-inf")

    def take(self) -> None:
        """Register the worker."""
        # Anew each time: an earlier try whose answer was lost may have been carried out.
        self.id = uuid.uuid4()
        asked_at = boot_time()
        self.storage.register(
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
        self.renewed_at = asked_at
        self.heartbeat_file.write(self.config.name, self.seconds)

    def renew(self, *, running_jobs: int = 0, memory: int | None = None) -> bool:
        """Prolong the lease. False means that it is over, and the jobs are others' now.

        The rest is for people to read.
        """
        # Counted from before the question: however long the answer takes, the database's lease is longer.
        asked_at = boot_time()
        failpoint("heartbeat.sending")
        if not self.storage.heartbeat(self.id, self.seconds, running_jobs=running_jobs, memory=memory):
            return False
        self.renewed_at = asked_at
        self.heartbeat_file.write(self.config.name, self.seconds)
        return True

    def give_up(self) -> None:
        """End the lease; what the worker still holds can be rescued at once."""
        self.storage.unregister(self.id)
        self.heartbeat_file.remove()

    @property
    def is_taken(self) -> bool:
        return self.renewed_at != float("-inf")

    @property
    def age(self) -> float:
        """Seconds since the last renewal."""
        return boot_time() - self.renewed_at

    @property
    def is_due(self) -> bool:
        return self.age >= self.seconds * RENEW

    @property
    def may_claim(self) -> bool:
        return self.age < self.seconds * STOP_CLAIMING

    @property
    def is_over(self) -> bool:
        """Whether to act as if others had the jobs already: a little before they can."""
        return self.age >= self.seconds * KILL

    @property
    def kill_at(self) -> float:
        """When the children must be dead unless there is another renewal, on the boot-time clock."""
        return self.renewed_at + self.seconds * KILL

    @property
    def seconds_to_renewal(self) -> float:
        return max(0.0, self.seconds * RENEW - self.age)
