"""Tasks that behave in every way a task can, each leaving an effect that tells of its job and fence."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from asgiref.sync import sync_to_async

from django_tasks_q import Snooze, task
from django_tasks_q.actions import cancel
from django_tasks_q.execution.context import TaskContext
from django_tasks_q.models import Job

from ..proof.audit import leave_effect


def run(context: TaskContext) -> dict[str, int]:
    """Do the work of a job. Answers under which fence, for the checker to compare."""
    job = context._attempt.job
    leave_effect("default", job.id, job.fence)
    return {"fence": job.fence}


@task(takes_context=True, max_attempts=5, backoff=0)
def quick(context: Any) -> dict[str, int]:
    return run(context)


@task(takes_context=True, max_attempts=5, backoff=0, on_lost="fail")
def once(context: Any) -> dict[str, int]:
    return run(context)


def note(context: TaskContext, what: str = "begun") -> None:
    """Write down, before anything else, that a job begins, or at last that it ends.

    A file loses nothing to a kill.
    """
    job = context._attempt.job
    with Path(os.environ["BEGIN_NOTES"]).with_name(what).open("a") as file:
        file.write(f"{job.id} {job.fence}\n")


def run_and_note(context: TaskContext) -> dict[str, int]:
    done = run(context)
    note(context, "ended")
    return done


@task(takes_context=True, max_attempts=5, backoff=0)
def brief(context: Any, seconds: float) -> dict[str, int]:
    note(context)
    time.sleep(seconds)
    return run_and_note(context)


@task(takes_context=True, max_attempts=5, backoff=0, on_lost="fail")
def brief_once(context: Any, seconds: float) -> dict[str, int]:
    note(context)
    time.sleep(seconds)
    return run_and_note(context)


@task(takes_context=True, max_attempts=5, backoff=0)
def kill_worker(context: Any) -> None:
    """Take the whole worker down, each time."""
    note(context)
    supervisor = psutil.Process().parents()[1]
    supervisor.kill()
    time.sleep(60)


@task(takes_context=True, max_attempts=5, backoff=0)
def slow(context: Any, seconds: float) -> dict[str, int]:
    time.sleep(seconds)
    return run(context)


@task(takes_context=True, max_attempts=3, backoff=[0.1, 0])
def fail_until(context: Any, attempt: int) -> dict[str, int]:
    """Fail before that attempt: for ever, if no attempt is the one."""
    done = run(context)
    if context.attempt < attempt:
        raise ValueError(f"attempt {context.attempt}")
    return done


@task(takes_context=True, max_attempts=5, backoff=0)
def snooze(context: Any, delay: float, share: float) -> dict[str, int]:
    """Put itself off in that share of its runs."""
    if random.random() < share:
        raise Snooze(delay)
    return run(context)


@task(takes_context=True, max_attempts=5, backoff=0)
def crash(context: Any, share: float, how: str) -> dict[str, int]:
    """Take its process down in that share of its runs."""
    if random.random() < share:
        match how:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "exit":
                os._exit(0)
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
    return run(context)


@task(takes_context=True, max_attempts=2, backoff=0, timeout=0.3)
def overrun(context: Any, share: float) -> dict[str, int]:
    """Outlive its timeout in that share of its runs."""
    if random.random() < share:
        time.sleep(60)
    return run(context)


@task(takes_context=True, max_attempts=5, backoff=0, executor="thread")
def in_thread(context: Any, seconds: float) -> dict[str, int]:
    time.sleep(seconds)
    return run(context)


@task(takes_context=True, max_attempts=5, backoff=0)
async def on_loop(context: Any, seconds: float) -> dict[str, int]:
    await asyncio.sleep(seconds)
    return await sync_to_async(run)(context)


@task(takes_context=True, max_attempts=2, backoff=0, timeout=0.3, executor="thread")
def overrun_in_thread(context: Any, share: float) -> dict[str, int]:
    return overrun.func(context, share)


@task(takes_context=True, max_attempts=2, backoff=0, timeout=0.3)
async def overrun_on_loop(context: Any, share: float) -> dict[str, int]:
    """Outlive its timeout in that share of its runs, now and then without letting others run."""
    if random.random() < share:
        while random.random() < 0.9:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
        time.sleep(60)
    return await sync_to_async(run)(context)


@task(takes_context=True, max_attempts=5, backoff=0, atomic=True)
def in_transaction(context: Any, seconds: float, share: float) -> dict[str, int]:
    """Write first, and then dawdle or fail."""
    done = run(context)
    time.sleep(seconds)
    if random.random() < share:
        raise ValueError("after the write")
    return done


@task(takes_context=True, max_attempts=5, backoff=0)
def cancel_self(context: Any, share: float) -> dict[str, int]:
    """Cancel itself, or another job, in that share of its runs."""
    if random.random() < share:
        context.cancel()
    recent = Job.objects.filter(status__in=["READY", "SCHEDULED", "RUNNING"]).order_by("-id")
    cancel(list(recent.exclude(id=context.job_id).values_list("id", flat=True)[:1]))
    return run(context)
