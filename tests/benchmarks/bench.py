"""One run: its projects, its options and its figures, handed to every row."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from .contenders import PEERS
from .contenders.base import Contender
from .contenders.ours import OURS
from .figures import Figures
from .project import Project
from .server import Server


@dataclass
class Bench:
    folder: Path
    cache: Path
    server: Server
    stack: ExitStack
    jobs: int
    rounds: int
    scale: float
    peers: frozenset[str] | None
    figures: Figures = field(default_factory=Figures)
    _projects: dict[str, Project | None] = field(default_factory=dict)

    def project(self, contender: Contender) -> Project | None:
        """A contender's project, made when it is first asked for; None where it cannot be had."""
        if contender.name not in self._projects:
            self._projects[contender.name] = self._made(contender)
        return self._projects[contender.name]

    def _made(self, contender: Contender) -> Project | None:
        try:
            broker = ""
            if contender.broker:
                from .brokers import BROKERS

                broker = self.stack.enter_context(BROKERS[contender.broker](self.folder))
            return Project(contender, self.folder, self.server, self.cache, broker)
        except (subprocess.CalledProcessError, OSError, RuntimeError) as error:
            self.figures.remark(f"{contender.name} could not be had: {last_line(error)}")
            return None

    @property
    def ours(self) -> Project:
        project = self.project(OURS)
        assert project, "our own project cannot be made"
        return project

    def each(self, row: str, ours: tuple[Contender, ...], measure: Callable[[Project], None]) -> None:
        """Round after round, each contender of a row in its turn, with empty tables.

        Who fails is left out of the row's other rounds, and the run says so.
        """
        theirs = [peer for peer in PEERS if self.peers is None or peer.package in self.peers]
        contenders = [one for one in (*ours, *theirs) if row in one.rows]
        for _ in range(self.rounds):
            for contender in list(contenders):
                project = self.project(contender)
                try:
                    if project:
                        project.empty()
                        measure(project)
                except (RuntimeError, OSError, ValueError, subprocess.TimeoutExpired) as error:
                    contenders.remove(contender)
                    self.figures.remark(f"{row} without {contender.name}: {last_line(error)}")

    def size(self, project: Project, factor: float = 1.0) -> int:
        """Ours does more of them, since it is done with few before it is warm."""
        ours = project.contender.package == OURS.package
        return max(100, int(self.jobs * factor * (4 if ours else 1)))

    def used(self) -> list[Project]:
        return [project for project in self._projects.values() if project]


def last_line(error: Exception) -> str:
    """What an error says at its end, which is where tracebacks and installers say why."""
    text = getattr(error, "stderr", None) or str(error)
    return (text.decode() if isinstance(text, bytes) else text).strip().splitlines()[-1]
