"""What one worker was started with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class WorkerConfig:
    """The options of ``runworker``, checked by the command."""

    backend: str
    database: str
    name: str
    queues: tuple[str, ...] = ()
    exclude_queues: tuple[str, ...] = ()
    #: Child processes, each running one job at a time.
    processes: int = 1
    #: Stop when nothing is left to do.
    batch: bool = False
    #: Stop after this many jobs; None for no end.
    max_jobs: int | None = None
    #: Seconds that running jobs are given to finish when the worker is asked to stop.
    shutdown_timeout: float = 25.0
