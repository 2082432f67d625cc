"""What the demo prints when the jobs have ended."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from django.core.management import color

from ..models import Job
from . import jobs, tables, tasks

#: Most problems that are named one by one.
MANY = 10

_STYLE = color.no_style() if os.environ.get("NO_COLOR") else color.color_style()


def say(text: str) -> None:
    """Print a line at once, for readers behind a pipe as well."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def heading(text: str) -> None:
    say(f"\n{_STYLE.MIGRATE_HEADING(text)}")


def results(rows: Sequence[Job]) -> None:
    """The tables of a run, and its speed."""
    modules = [job for job in rows if job.task_name == tasks.parse_module.name]
    heading("How long the jobs of each task took")
    say(tables.by_task(rows))
    heading("The largest modules of Django, from the stored results")
    say(tables.largest_modules(modules))
    say(f"\n{tables.speed(modules)}")


def specials(rows: Sequence[Job]) -> None:
    """What was expected of each special job, and what happened."""
    heading("The jobs that are not so simple")
    by_name = {job.task_name: job for job in rows}
    for special in jobs.SPECIALS:
        job = by_name[special.task.name]
        mark = _STYLE.SUCCESS("ok") if special.judge(job) else _STYLE.ERROR("WRONG")
        say(f"  {special.what}")
        say(f"    expected: {special.expected}")
        say(f"    happened: {jobs.ending(job)} - {mark}")


def verdict(problems: Sequence[str]) -> None:
    """The last line, or the reasons why there is no better one."""
    if not problems:
        say(f"\n{_STYLE.SUCCESS('Every job ended as it should.')}")
        return
    say(f"\n{_STYLE.ERROR('Not everything went as it should:')}")
    for problem in problems[:MANY]:
        say(f"  {problem}")
    if len(problems) > MANY:
        say(f"  and {len(problems) - MANY} more")
