"""The options that a worker was started with."""

from __future__ import annotations

from dataclasses import dataclass, field

from .recycling import Recycling


@dataclass(frozen=True, kw_only=True)
class WorkerConfig:
    """The options of ``runworker``, checked by the command."""

    backend: str
    database: str
    name: str
    queues: tuple[str, ...] = ()
    exclude_queues: tuple[str, ...] = ()
    #: Child processes for the tasks that have one to themselves.
    processes: int = 1
    #: Threads for tasks that share a process.
    threads: int = 8
    #: Coroutines that run at a time.
    async_concurrency: int = 100
    recycling: Recycling = field(default_factory=Recycling)
    #: Stop when nothing is left to do.
    batch: bool = False
    #: Stop after this many jobs; None for no end.
    max_jobs: int | None = None
    #: Seconds that running jobs have to finish when the worker is asked to stop.
    shutdown_timeout: float = 25.0
    #: A file written with each renewal of the lease, for probes that use no database.
    heartbeat_file: str | None = None
    #: A file descriptor from which requests to stop are read, and whose end is one; None for none.
    stop_descriptor: int | None = None

    def serves(self, queue: str) -> bool:
        """Return whether the worker runs jobs of a queue."""
        return queue not in self.exclude_queues and (not self.queues or queue in self.queues)
