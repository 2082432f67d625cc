"""What the processes of a draw are, for the nursery to fork."""

from __future__ import annotations

import sys

from django_tasks_q.definition.registry import registry

from ..faults.nursery import command


def worker(names: list[str], buffered: bool, *arguments: str) -> None:
    """``runworker`` in a project with these tasks only, with the standard output that it has in a log.

    A worker whose tasks all have one executor talks to the database in another way than one with several.
    """
    for task in list(registry):
        if task.name not in names:
            del registry._tasks[task.name]
    registry.version += 1
    if buffered:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    command("runworker", *arguments)
