"""Which child tells the receivers of ``task_finished`` of which ended job."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from uuid import UUID

from ...lifecycle.outcome import Outcome
from ...lifecycle.states import FINAL, JobStatus
from ..children.parent_side import ParentSide

logger = logging.getLogger("django_tasks_q.worker")


#: Endings that a child is told of at once. It has a minute for the receivers of all of them.
FRAME = 16


#: Stands for the child that ran a job nobody is to be told of.
NOBODY = 0


class Ending(NamedTuple):
    """What receivers are to hear of."""

    job_id: str
    #: Whether the outcome is the one its attempt had.
    won: bool
    status: str = ""
    #: Children that died when nothing but telling this was under way.
    died: int = 0


class FinishedSignals:
    """Sees to it that every final ending is told once: by the child that ran the job, or by another."""

    def __init__(self, children: Mapping[int, ParentSide]) -> None:
        self.children = children
        #: Ended jobs whose own child is gone and that no other has been told of.
        self.unsent: list[Ending] = []
        #: Which child ran an attempt that is being written, by job and fence.
        self._ran_by: dict[tuple[UUID, int], int] = {}

    def ran(self, outcome: Outcome, child: ParentSide, told: bool) -> None:
        """A child has ended an attempt, which is to be written now; ``told`` if receivers wait for it."""
        if told:
            self._ran_by[outcome.job_id, outcome.fence] = child.key
            child.unconfirmed += 1
        else:
            self._ran_by[outcome.job_id, outcome.fence] = NOBODY

    def confirm(self, outcomes: Iterable[Outcome], written: Mapping[UUID, JobStatus]) -> None:
        """Tell the children which of their endings stand."""
        frames: dict[int, list[Ending]] = {}
        for outcome in outcomes:
            key = self._ran_by.pop((outcome.job_id, outcome.fence), None)
            if key == NOBODY:
                continue
            if key is not None and key in self.children:
                self.children[key].unconfirmed -= 1
            status = written.get(outcome.job_id, outcome.status)
            if status not in FINAL:
                continue
            ending = Ending(outcome.job_id.hex, outcome.job_id in written, str(status))
            if key is not None and key in self.children:
                frames.setdefault(key, []).append(ending)
            elif ending.won:
                self.unsent.append(ending)
        for key, frame in frames.items():
            for start in range(0, len(frame), FRAME):
                self.children[key].tell(frame[start : start + FRAME])
        self.tell()

    def ended(self, ids: Iterable[UUID]) -> None:
        """Jobs have ended without an attempt of this worker."""
        self.unsent += [Ending(id.hex, True) for id in ids]

    def tell(self) -> None:
        """Have a child tell of the jobs whose own child is gone."""
        able = [child for child in self.children.values() if child.accepts]
        while self.unsent and able:
            frame, self.unsent = self.unsent[:FRAME], self.unsent[FRAME:]
            min(able, key=lambda child: (len(child.unsent), child.held)).tell(frame)

    def inherit(self, child: ParentSide, *, was_running: bool) -> None:
        """What a dead child may not have told, another will, unless that is what children die of."""
        suspect = child.unsent[0] if child.unsent and not was_running else []
        for frame in child.unsent:
            for ending in frame:
                died = ending.died + (frame is suspect)
                if died < 2:
                    self.unsent.append(ending._replace(died=died))
                else:
                    logger.error("Receivers of task_finished end their process: job id=%s", ending.job_id)

    def forget(self) -> None:
        """The jobs that are under way are others' now."""
        self._ran_by.clear()
        for child in self.children.values():
            child.unconfirmed = 0
