"""The tasks this process knows, by name.

It stands below ``task`` because a task registers in its own construction: Django's decorator
builds tasks too, and does not know of ours (docs/adr/0002).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .exceptions import DuplicateTask, TaskNotRegistered
from .validation import suggestion

if TYPE_CHECKING:
    from .definition import Task

    AnyTask = Task[..., Any]


class Registry:
    """A mapping of task names to definitions that refuses two functions under one name."""

    def __init__(self) -> None:
        self._tasks: dict[str, AnyTask] = {}
        #: Grows with every change, for who keeps what follows from a definition.
        self.version = 0

    def register(self, task: AnyTask) -> None:
        """Add a definition. Raises DuplicateTask naming both places.

        A function of the same module path replaces the earlier one: a reloaded module is no clash.
        """
        known = self._tasks.get(task.name)
        if known is not None and known.func is task.func:
            return
        if known is not None and known.module_path != task.module_path:
            raise DuplicateTask(
                f"The task name {task.name!r} is taken by {known.module_path}; {task.module_path} needs "
                "another one: give it @task(name=…)."
            )
        self._tasks[task.name] = task
        self.version += 1

    def get(self, name: str) -> AnyTask:
        """The definition of that name. Raises TaskNotRegistered."""
        try:
            return self._tasks[name]
        except KeyError:
            raise TaskNotRegistered(f"No task is named {name!r}.{suggestion(name, self._tasks)}") from None

    def names(self) -> list[str]:
        return sorted(self._tasks)

    def __contains__(self, name: object) -> bool:
        return name in self._tasks

    def __iter__(self) -> Iterator[AnyTask]:
        return iter(self._tasks.values())

    def __len__(self) -> int:
        return len(self._tasks)


registry = Registry()
