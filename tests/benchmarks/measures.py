"""What is measured of one contender's project at a time."""

from __future__ import annotations

import json
import os
import subprocess
import time

from .project import PATIENCE, Project, stop


def enqueue(project: Project, jobs: int) -> float:
    """Calls a second, one at a time, each committed."""
    seconds, _ = project.feed("one", "noop", jobs)
    return (jobs - 1) / float(seconds)


def enqueue_many(project: Project, jobs: int, chunk: int) -> float:
    seconds, _ = project.feed("many", "noop", jobs, chunk)
    return jobs / float(seconds)


def crowd(project: Project, mode: str, task: str, processes: int, jobs: int) -> tuple[float, float]:
    """Have processes do ``jobs`` each at once, which have all connected before the first of them begins.

    Answers the seconds from the first to the last, and those of processor time.
    """
    command = [project.python, "feed.py", mode, task, str(jobs)]
    members = [
        subprocess.Popen(
            command,
            cwd=project.folder,
            env=project.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(processes)
    ]
    try:
        for one in members:
            one.stdout.readline()
        for one in members:
            one.stdin.write("go\n")
            one.stdin.flush()
        begins, ends, spent = zip(*(json.loads(one.stdout.readline()) for one in members), strict=True)
        return max(ends) - min(begins), sum(spent)
    finally:
        stop(members)


def fill(project: Project, task: str, jobs: int) -> None:
    project.feed("many", task, jobs, 1000)


def drain(project: Project, task: str, jobs: int) -> float:
    """Jobs a second, from the first start to the last finish."""
    fill(project, task, jobs)
    drain_rest(project, jobs)
    return _rate(project, jobs)


def drain_rest(project: Project, jobs: int, extra: tuple[str, ...] = ()) -> None:
    contender = project.contender
    ending = bool(contender.draining)
    commands = [[*command, *extra] for command in contender.draining or contender.waiting]
    with project.workers(commands) as workers:
        if not ending:
            project.wait_for(jobs, workers)
            return
        for worker in workers:
            try:
                worker.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                raise RuntimeError(f"{contender.name}: a worker did not end") from None


def _rate(project: Project, jobs: int) -> float:
    if project.contender.spent:
        seconds, succeeded = project.query(project.contender.spent)
    else:
        times = [moment for _, moment in project.stamped()]
        seconds, succeeded = (max(times) - min(times) if times else 0), len(times)
    if succeeded != jobs:
        raise RuntimeError(f"{project.contender.name}: {succeeded} of {jobs} jobs succeeded")
    return jobs / float(seconds)


def latencies(project: Project, jobs: int, pause: float) -> list[float]:
    """Milliseconds from the return of each enqueue to the start of its function, in order of size.

    It may be less than nothing: a job can begin before the call that sent it has returned.
    """
    with project.workers(list(project.contender.waiting)) as workers:
        project.feed("tick", "noop", 20, 0.02)
        project.wait_for(20, workers)
        time.sleep(1)
        os.truncate(project.stamps, 0)  # not removed: children have it open
        committed = project.feed("tick", "noop", jobs, pause)
        project.wait_for(jobs, workers)
        started = dict(project.stamped())
    return sorted((started[number] - moment) * 1000 for number, moment in enumerate(committed))
