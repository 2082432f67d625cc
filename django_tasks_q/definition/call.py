"""A task together with the arguments of one call, to be enqueued later or elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Unpack

from ..payload import codec
from .options import UsingOptions
from .registry import registry
from .sensitive import masked_arguments
from .task import P, R, Task

if TYPE_CHECKING:
    from .result import TaskResult

#: Largest JSON of a call, in bytes. What a backend stores is limited by its OPTIONS.
MAX_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class BoundTask(Generic[P, R]):
    """One call of a task that has not been enqueued. Made by ``task.bind()``; it can be pickled."""

    task: Task[P, R]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def __hash__(self) -> int:
        return hash((self.task, len(self.args), *sorted(self.kwargs)))

    def __repr__(self) -> str:
        args, kwargs = masked_arguments(self.task.name, self.args, self.kwargs)
        return f"BoundTask(task={self.task.name!r}, args={tuple(args)!r}, kwargs={kwargs!r})"

    def using(self, **options: Unpack[UsingOptions]) -> BoundTask[P, R]:
        """Return the same call under other options. Raises what ``task.using()`` raises."""
        return BoundTask(self.task.using(**options), self.args, self.kwargs)

    def enqueue(self) -> TaskResult[P, R]:
        """Store the call as a job. Raises what ``task.enqueue()`` raises."""
        return self.task.enqueue(*self.args, **self.kwargs)

    async def aenqueue(self) -> TaskResult[P, R]:
        """See enqueue()."""
        return await self.task.aenqueue(*self.args, **self.kwargs)

    def __call__(self) -> R:
        """Run the function here and now with these arguments."""
        return self.task(*self.args, **self.kwargs)

    def to_json(self) -> str:
        """Return the call as text: the task's name and its arguments, but no options of ``using()``.

        Raises UnserializableValue or UnstorableValue for an argument that JSON cannot hold.
        """
        args, kwargs = self.task.encoded(self.args, self.kwargs)
        arguments = codec.dump_arguments(args, kwargs, MAX_BYTES)
        name = codec.dumps(self.task.name, what="name")
        return f'{{"task":{name},"arguments":{arguments}}}'

    @staticmethod
    def from_json(text: str) -> BoundTask[..., Any]:
        """Return the call that ``to_json`` wrote down.

        Nothing is imported for it: raises TaskNotRegistered for a task that this process does not know,
        ValueError for another text, TypeError for arguments that do not fit the function any more.
        """
        try:
            call = codec.loads(text)
            task = registry.get(call["task"])
            args, kwargs = call["arguments"]
        except (KeyError, TypeError) as error:
            raise ValueError(f"The text is no call of a task as to_json() writes it: {text:.100}") from error
        args, kwargs = task.decoded(args, kwargs)
        return task.bind(*args, **kwargs)
