"""The output of the demo after the jobs have ended."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from django.core.management import color

from ..models import Job
from . import jobs, tables, tasks

#: The most problems that are printed.
MAX_PROBLEMS = 10

_STYLE = color.no_style() if os.environ.get("NO_COLOR") else color.color_style()


def print_line(text: str) -> None:
    """Print a line without buffering."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def print_heading(text: str) -> None:
    print_line(f"\n{_STYLE.MIGRATE_HEADING(text)}")


def print_results(rows: Sequence[Job]) -> None:
    """Print the tables of a run, and its speed."""
    modules = [job for job in rows if job.task_name == tasks.parse_module.name]
    print_heading("How long the jobs of each task took")
    print_line(tables.by_task(rows))
    print_heading("The largest modules of Django, from the stored results")
    print_line(tables.largest_modules(modules))
    print_line(f"\n{tables.speed(modules)}")


def print_specials(rows: Sequence[Job]) -> None:
    """Print for each special job what was expected, and what happened."""
    print_heading("The special jobs")
    by_name = {job.task_name: job for job in rows}
    for special in jobs.SPECIALS:
        job = by_name[special.task.name]
        mark = _STYLE.SUCCESS("ok") if special.is_expected(job) else _STYLE.ERROR("WRONG")
        print_line(f"  {special.what}")
        print_line(f"    expected: {special.expected}")
        print_line(f"    happened: {jobs.ending(job)} - {mark}")


def print_verdict(problems: Sequence[str]) -> None:
    """Print that all went well, or the problems."""
    if not problems:
        print_line(f"\n{_STYLE.SUCCESS('Every job ended as it should.')}")
        return
    print_line(f"\n{_STYLE.ERROR('Not everything went as it should:')}")
    for problem in problems[:MAX_PROBLEMS]:
        print_line(f"  {problem}")
    if len(problems) > MAX_PROBLEMS:
        print_line(f"  and {len(problems) - MAX_PROBLEMS} more")
