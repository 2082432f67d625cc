"""The tasks this process knows, by name.

It stands below ``task`` because a task registers in its own construction: Django's decorator
builds tasks too, and does not know of ours (docs/adr/0002).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .. import compat
from ..exceptions import DuplicateTask, TaskNotRegistered
from ..validation import suggestion

if TYPE_CHECKING:
    from .task import Task

    AnyTask = Task[..., Any]


#: Names of the package's own tasks begin so. They act with the rights of a user, which others may lack.
INTERNAL = "django_tasks_q.tasks."


def is_internal(name: str) -> bool:
    """Return whether a task is one of the package's own, whose jobs only its own verbs make."""
    return name.startswith(INTERNAL)


def refuse_internal(name: str) -> None:
    """Raise InvalidTask for a task of the package itself."""
    if is_internal(name):
        raise compat.InvalidTask(
            f"{name} is a task of django-tasks-q itself: its jobs are made by the bulk actions of the admin "
            "and the REST API, and by nothing else."
        )


class Registry:
    """A mapping of task names to definitions that refuses two functions under one name."""

    def __init__(self) -> None:
        self._tasks: dict[str, AnyTask] = {}
        #: Definitions by the other names that they are known under.
        self._aliases: dict[str, AnyTask] = {}
        #: What was refused, for a system check to report, also where the error was caught.
        self.clashes: list[str] = []
        #: Grows with every change, so that caches of what follows from definitions become invalid.
        self.version = 0

    def register(self, task: AnyTask) -> None:
        """Add a definition. Raises DuplicateTask naming both places.

        A function of the same module path replaces the earlier one: a reloaded module is no clash.
        """
        known = self._tasks.get(task.name)
        if known is not None and known.func is task.func:
            return
        for name in (task.name, *task.aliases):
            self._refuse_taken(name, task)
        if known is not None:
            self._forget_aliases(known)
        self._tasks[task.name] = task
        self._aliases |= dict.fromkeys(task.aliases, task)
        self.version += 1

    def _refuse_taken(self, name: str, task: AnyTask) -> None:
        known = self._tasks.get(name) or self._aliases.get(name)
        if known is not None and known.module_path != task.module_path:
            sort = "name" if name == task.name else "alias"
            clash = (
                f"The task name {name!r} is taken by {known.module_path}; {task.module_path} needs another "
                f"one: change its @task({'name=…' if sort == 'name' else 'aliases=…'})."
            )
            self.clashes.append(clash)
            raise DuplicateTask(clash)

    def _forget_aliases(self, task: AnyTask) -> None:
        self._aliases = {name: known for name, known in self._aliases.items() if known is not task}

    def get(self, name: str) -> AnyTask:
        """Return the definition of that name. Raises TaskNotRegistered."""
        task = self._tasks.get(name) or self._aliases.get(name)
        if task is None:
            raise TaskNotRegistered(f"No task is named {name!r}.{suggestion(name, self.names())}")
        return task

    def offered(self) -> list[AnyTask]:
        """Return the tasks that people may choose from, by their names: all but the package's own."""
        return sorted((task for task in self if not is_internal(task.name)), key=lambda task: task.name)

    def names(self) -> list[str]:
        """Return all names that stored jobs may have, former ones included."""
        return sorted([*self._tasks, *self._aliases])

    def __contains__(self, name: object) -> bool:
        return name in self._tasks or name in self._aliases

    def __iter__(self) -> Iterator[AnyTask]:
        return iter(self._tasks.values())

    def __len__(self) -> int:
        return len(self._tasks)


registry = Registry()
