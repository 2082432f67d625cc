"""Receivers that worker processes connect, each by its name in the environment."""

import os
import sys
import time
import traceback
from typing import Any

from django_tasks_q import compat

from .tasks import note, note_status, who

_kept: list[Any] = []


def _connect(signal: Any, receiver: Any) -> None:
    _kept.append(receiver)
    signal.connect(receiver)


def fork_in_receivers() -> None:
    """Fork in receivers of both signals of the tasks that name a file, and let the copies come back."""

    def forks(sender: object, task_result: Any, **kwargs: object) -> None:
        if task_result.task.name.endswith("note_once"):
            (path,) = task_result.args
            note(path, task_result.status)
            note_status("return", path)

    _connect(compat.task_started, forks)
    _connect(compat.task_finished, forks)


def take_long_and_note() -> None:
    """Two receivers, of which the first outlives the time that both have."""

    def sleeps(sender: object, **kwargs: object) -> None:
        time.sleep(60)

    def notes(sender: object, **kwargs: object) -> None:
        note(os.environ["NOTE"], "heard")

    _connect(compat.task_finished, sleeps)
    _connect(compat.task_finished, notes)


def note_ending() -> None:
    """Note what a receiver knows: the exception, its innermost frame, and a context variable of the job's."""

    def notes(
        sender: object, task_result: Any, exception: BaseException | None = None, **kwargs: object
    ) -> None:
        handled = sys.exc_info()[1]
        frame = traceback.extract_tb(exception.__traceback__)[-1].name if exception is not None else None
        note(
            os.environ["NOTE"],
            f"{task_result.args[0]} {exception!r} {handled is exception} {frame} {who.get()}",
        )
        who.set("a receiver")

    _connect(compat.task_finished, notes)
