"""Walks through every order in which the steps of several actors can happen, on a real database.

The walk goes depth first, each step in a savepoint that is rolled back afterwards. A state that was met
before, with the same steps to come, is not walked through again: its orders are known.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from django.db import connections, transaction

#: Takes what its actor remembers, and answers what it remembers from then on.
Step = Callable[[Hashable], Hashable]


@dataclass(frozen=True)
class Actor:
    name: str
    steps: Sequence[Step]


@dataclass
class Explorer:
    alias: str
    actors: Sequence[Actor]
    #: All of the database that later steps or the judge can see.
    digest: Callable[[], Hashable]
    #: Brings one order to its end and answers what is wrong then.
    judge: Callable[[], list[str]]
    #: The first order that led to each kind of problem.
    problems: dict[str, str] = field(default_factory=dict)
    _orders: dict[Hashable, int] = field(default_factory=dict)

    def run(self) -> int:
        """Answers how many orders there are."""
        with transaction.atomic(using=self.alias):
            count = self._walk((0,) * len(self.actors), (None,) * len(self.actors), ())
            transaction.set_rollback(True, using=self.alias)
        return count

    @property
    def states(self) -> int:
        """How many different ones were met."""
        return len(self._orders)

    def _walk(self, done: tuple[int, ...], memory: tuple[Hashable, ...], order: tuple[str, ...]) -> int:
        state = (done, memory, self.digest())
        if state not in self._orders:
            turns = [index for index, actor in enumerate(self.actors) if done[index] < len(actor.steps)]
            if turns:
                self._orders[state] = sum(self._turn(index, done, memory, order) for index in turns)
            else:
                self._orders[state] = 1
                for problem in self._undone(self.judge):
                    self.problems.setdefault(problem, " ".join(order))
        return self._orders[state]

    def _turn(
        self, index: int, done: tuple[int, ...], memory: tuple[Hashable, ...], order: tuple[str, ...]
    ) -> int:
        actor = self.actors[index]

        def step() -> int:
            remembered = actor.steps[done[index]](memory[index])
            return self._walk(
                (*done[:index], done[index] + 1, *done[index + 1 :]),
                (*memory[:index], remembered, *memory[index + 1 :]),
                (*order, f"{actor.name}{done[index] + 1}"),
            )

        return self._undone(step)

    def _undone(self, action):
        connection = connections[self.alias]
        savepoint = connection.savepoint()
        try:
            return action()
        finally:
            connection.savepoint_rollback(savepoint)
            connection.savepoint_commit(savepoint)
