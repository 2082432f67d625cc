"""Workers that are killed, frozen, cut off and replaced, as chance will have it."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from contextlib import suppress
from typing import NamedTuple

import psutil
from django.db import connections

from ..faults.nursery import Fork, Nursery

#: Faults and how often each is drawn. Those of database sessions need a server.
MIXED = {
    "kill parent": 4,
    "kill child": 4,
    "kill fork server": 2,
    "freeze worker": 5,
    "freeze parent": 3,
    "freeze child": 2,
    "end session": 4,
    "restart": 3,
}
FREEZES = {"freeze worker": 1, "freeze parent": 2}
KILLS = {"kill parent": 1}
BUSY = {"kill busy": 1}
FAULTS = {"mixed": MIXED, "freezes": FREEZES, "kills": KILLS, "busy": BUSY}

END_SESSION = """
SELECT PG_TERMINATE_BACKEND(pid) FROM (
    SELECT pid FROM pg_stat_activity
    WHERE datname = CURRENT_DATABASE() AND pid <> PG_BACKEND_PID() AND backend_type = 'client backend'
    ORDER BY RANDOM() LIMIT 1
) AS victim
"""


class Frozen(NamedTuple):
    until: float
    processes: list[psutil.Process]


class Fleet:
    """A number of workers, and what is done to them."""

    def __init__(
        self,
        alias: str,
        forks: Nursery,
        chance: random.Random,
        lease: float,
        size: int,
        faults: str,
        spared: int,
    ) -> None:
        self.alias = alias
        self.forks = forks
        self.chance = chance
        self.lease = lease
        self.size = size
        #: Workers, the first ones, that no harm is done to: they show what grows with time.
        self.spared = spared
        self.faults = dict(FAULTS[faults])
        if connections[alias].vendor != "postgresql":
            self.faults.pop("end session", None)
        self.workers: list[Fork] = []
        self.frozen: list[Frozen] = []
        self.started: list[Fork] = []
        self.counts: Counter[str] = Counter()

    def replace_dead(self) -> None:
        self.workers = [worker for worker in self.workers if worker.is_alive]
        while len(self.workers) < self.size:
            worker = self.forks.worker("--processes", "2", "--shutdown-timeout", "2")
            self.workers.append(worker)
            self.started.append(worker)

    def do_harm(self) -> None:
        """One fault to one worker."""
        (fault,) = self.chance.choices(list(self.faults), list(self.faults.values()))
        worker = self.chance.choice(self.workers[self.spared :])
        tree = worker.tree()
        if not tree or not self._does(fault, worker, tree):
            return
        self.counts[fault] += 1

    def _does(self, fault: str, worker: Fork, tree: list[psutil.Process]) -> bool:
        parent, servers = tree[0], children_of(tree[0])
        children = [child for server in servers for child in children_of(server)]
        match fault:
            case "kill parent":
                return _kill(parent)
            case "kill busy":  # one that is still starting has nothing to lose
                return bool(children) and _kill(parent)
            case "kill child":
                return bool(children) and _kill(self.chance.choice(children))
            case "kill fork server":
                return bool(servers) and _kill(servers[0])
            case "freeze worker":
                return self._freeze(tree, worker)
            case "freeze parent":
                return self._freeze([parent], worker)
            case "freeze child":
                return bool(children) and self._freeze([self.chance.choice(children)])
            case "end session":
                with connections[self.alias].cursor() as cursor:
                    cursor.execute(END_SESSION)
                    return cursor.rowcount > 0
            case _:
                worker.send(signal.SIGTERM)
                self.workers.remove(worker)
                return True

    def _freeze(self, processes: list[psutil.Process], worker: Fork | None = None) -> bool:
        """For longer than a lease, and than others take to notice."""
        if any(process in frozen.processes for process in processes for frozen in self.frozen):
            return False
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        until = time.monotonic() + self.lease * self.chance.uniform(1.3, 2.2)
        self.frozen.append(Frozen(until, processes))
        if worker is not None:
            self.workers.remove(worker)  # another takes its place at once; it is back when it wakes
        return True

    def thaw(self, *, everything: bool = False) -> None:
        """Wake what has slept long enough: children first, so that their answers await the parent."""
        due = [frozen for frozen in self.frozen if everything or frozen.until <= time.monotonic()]
        for frozen in due:
            self.frozen.remove(frozen)
            for process in reversed(frozen.processes):
                with suppress(psutil.NoSuchProcess):
                    process.resume()
            # Too many workers by now: the one that was frozen leaves, once it has done its worst.
            for worker in self.started:
                if worker.process in frozen.processes:
                    worker.send(signal.SIGTERM)

    def stop(self) -> None:
        """Ask all to leave."""
        for worker in self.started:
            worker.send(signal.SIGTERM)

    @property
    def alive(self) -> list[Fork]:
        return [worker for worker in self.started if worker.is_alive]

    def said(self, words: str) -> int:
        """How often the workers have written something."""
        return sum(worker.output.count(words) for worker in self.started)


def children_of(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return process.children()
    return []


def _kill(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        process.kill()
        return True
    return False
