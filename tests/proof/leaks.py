"""I8: what a worker holds of the machine, so that tests can say that it does not grow."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import psutil
from django.db import connections

OTHERS = """
SELECT COUNT(*) FROM pg_stat_activity
WHERE datname = CURRENT_DATABASE() AND pid <> PG_BACKEND_PID() AND backend_type = 'client backend'
"""


@dataclass(frozen=True)
class Holdings:
    """Of a worker's processes together. Memory counts what is shared once in each process."""

    processes: int = 0
    zombies: int = 0
    threads: int = 0
    fds: int = 0
    rss: int = 0

    @classmethod
    def of(cls, tree: Iterable[psutil.Process]) -> Holdings:
        processes = threads = fds = rss = zombies = 0
        for process in tree:
            # A process may end between two questions; what is left of it is a zombie or nothing.
            with suppress(psutil.NoSuchProcess):
                if process.status() == psutil.STATUS_ZOMBIE:
                    zombies += 1
                    continue
                processes += 1
                threads += process.num_threads()
                fds += process.num_fds()
                rss += process.memory_info().rss
        return cls(processes, zombies, threads, fds, rss)


def sessions(alias: str) -> int:
    """Sessions of other clients in a database; 0 where the database has no server."""
    connection = connections[alias]
    if connection.vendor != "postgresql":
        return 0
    with connection.cursor() as cursor:
        cursor.execute(OTHERS)
        return int(cursor.fetchone()[0])


def slope(points: list[tuple[float, float]]) -> float:
    """How much y grows with each x, by least squares; 0 for too few points."""
    if len(points) < 2:
        return 0.0
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
