"""Where draws are played one after the other: one database, and one nursery for all workers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from django.conf import settings
from django.test import override_settings

from ..conftest import Router
from ..faults.nursery import Nursery, nursery
from .calls import Play, environment
from .draws import Draw, cut


@dataclass
class Table:
    alias: str
    forks: Nursery
    folder: Path

    def __post_init__(self) -> None:
        self._numbers = count()

    @classmethod
    @contextmanager
    def laid(cls, alias: str, env: dict[str, str], folder: Path) -> Iterator[Table]:
        with nursery(environment(env), folder) as forks:
            yield cls(alias, forks, folder)

    def play(self, draw: Draw, *, verbose: bool = False) -> list[str]:
        """Answers what was wrong."""
        begun = time.monotonic()
        play = Play(self.alias, self.forks, self.folder / f"play-{next(self._numbers)}", draw)
        with override_settings(DATABASE_ROUTERS=[Router(self.alias)], TASKS=_stored_in(self.alias)):
            problems = play.run()
        if verbose:
            print(f"{draw.dumps()}\n{time.monotonic() - begun:.1f} s, {len(problems)} problems", flush=True)
            print(*problems[:20], sep="\n")
            for worker in play.started:
                print(f"--- worker\n{worker.output[-3000:]}")
        return problems

    def shrink(self, draw: Draw, problems: list[str], seconds: float = 300.0) -> Draw:
        """The least that was found to break a rule that it breaks."""
        broken, ends = {text.split()[0] for text in problems}, time.monotonic() + seconds
        tries = iter(cut(draw))
        while time.monotonic() < ends and (less := next(tries, None)) is not None:
            found = self.play(less)
            if broken & {text.split()[0] for text in found}:
                draw, problems = less, found
                tries = iter(cut(draw))
        print(f"    smallest: {draw.dumps()}", *(f"    {text[:400]}" for text in problems[:3]), sep="\n")
        return draw


def _stored_in(alias: str) -> dict[str, dict]:
    backend = settings.TASKS["default"]
    return {**settings.TASKS, "default": backend | {"OPTIONS": backend["OPTIONS"] | {"DATABASE": alias}}}
