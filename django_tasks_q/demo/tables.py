"""Tables about the stored jobs of a run, as plain text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import groupby

from ..lifecycle.states import JobStatus
from ..models import Job


def by_task(jobs: Sequence[Job]) -> str:
    """Return a table with a line for each task."""
    rows = [["task", "jobs", "p50", "p95", "succeeded", "failed", "retried"]]
    for name, group in groupby(sorted(jobs, key=_name), key=_name):
        own = list(group)
        durations = [job.duration for job in own if job.duration is not None]
        rows.append(
            [
                name,
                str(len(own)),
                _time(percentile(durations, 0.50)),
                _time(percentile(durations, 0.95)),
                str(sum(job.status == JobStatus.SUCCESSFUL for job in own)),
                str(sum(job.status == JobStatus.FAILED for job in own)),
                str(sum(job.runs > 1 for job in own)),
            ]
        )
    return _table(rows)


def largest_modules(jobs: Iterable[Job], count: int = 10) -> str:
    """Return a table of the modules with the most lines, from the results of jobs."""
    results = [job.return_value for job in jobs if job.return_value is not None]
    results.sort(key=lambda result: result["lines"], reverse=True)
    columns = ["module", "lines", "functions", "classes"]
    return _table([columns, *([str(result[name]) for name in columns] for result in results[:count])])


def speed(jobs: Iterable[Job]) -> str:
    """Return the number of jobs and their speed, from the first start to the last end."""
    spans = [(job.started_at, job.finished_at) for job in jobs if job.started_at and job.finished_at]
    if not spans:
        return "no jobs were run"
    took = (max(end for _, end in spans) - min(start for start, _ in spans)).total_seconds()
    rate = f": {len(spans) / took:.0f} jobs per second" if took else ""
    return f"{len(spans)} modules parsed in {took:.1f} s{rate}"


def percentile(values: Iterable[float], share: float) -> float:
    """Return the smallest value that is at least as large as ``share`` of all values; NaN without values."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)] if ranked else math.nan


def _name(job: Job) -> str:
    return job.task_name.rpartition(".")[2]


def _time(seconds: float) -> str:
    if math.isnan(seconds):
        return "-"
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.2f} ms"


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  " + "  ".join(cells))
    lines.insert(1, "  " + "  ".join("-" * width for width in widths))
    return "\n".join(lines)
