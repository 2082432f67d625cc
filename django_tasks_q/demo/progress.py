"""The display of progress: a bar if there is a terminal and rich is installed, otherwise lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.db.models import Count

from ..lifecycle.states import FINAL, JobStatus
from ..models.job import JobQuerySet

#: Seconds between two lines.
INTERVAL = 1.0


@dataclass(frozen=True)
class Progress:
    """How many jobs have finished."""

    finished: int
    total: int
    #: The running and the scheduled jobs, in words.
    rest: str

    @classmethod
    def of(cls, jobs: JobQuerySet, total: int) -> Progress:
        """Return the progress of the jobs, of which there are ``total``."""
        counts = dict(jobs.order_by().values_list("status").annotate(Count("pk")))
        finished = sum(counts.get(status, 0) for status in FINAL)
        rest = [
            f"{counts[status]} {JobStatus(status).label.lower()}"
            for status in (JobStatus.RUNNING, JobStatus.SCHEDULED)
            if status in counts
        ]
        return cls(finished, total, ", ".join(rest))

    @property
    def is_complete(self) -> bool:
        return self.finished >= self.total


Show = Callable[[Progress], None]


@contextmanager
def shown(total: int) -> Iterator[Show]:
    """Yield a function that shows progress until the block ends."""
    try:
        from rich.console import Console
    except ImportError:
        yield _lines()
        return
    console = Console()
    if not console.is_terminal or console.is_dumb_terminal:
        yield _lines()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("jobs"),
        TimeElapsedColumn(),
        TextColumn("{task.description}", style="dim"),
    )
    with Bar(*columns, console=console, expand=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda progress: bar.update(task, completed=progress.finished, description=progress.rest)


def _lines() -> Show:
    next_at = 0.0

    def show(progress: Progress) -> None:
        nonlocal next_at
        if not progress.is_complete and time.monotonic() < next_at:
            return
        next_at = time.monotonic() + INTERVAL
        rest = f" ({progress.rest})" if progress.rest else ""
        sys.stdout.write(f"  {progress.finished:>4} of {progress.total} jobs finished{rest}\n")
        sys.stdout.flush()

    return show
