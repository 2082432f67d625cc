"""A task: a function with the options it is queued under."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, asdict, dataclass, fields
from dataclasses import field as dataclass_field
from datetime import datetime
from typing import (
    TYPE_CHECKING,
    Any,
    ParamSpec,
    Self,
    TypeVar,
    Unpack,
    cast,
)

from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async
from django.utils.module_loading import import_string

from .. import compat
from ..dependencies.resolver import called
from ..exceptions import TaskNotRegistered
from ..lifecycle.retry import Backoff, BackoffCallable, ErrorCodes, Matcher, OnLost, class_path
from ..payload.annotations.converters import unfetched
from ..payload.codec import printable
from ..payload.encoders import Encoder
from ..payload.signature import Parameters
from ..validation import memory_size
from .options import (
    DEFAULT,
    Default,
    UsingOptions,
    checked,
    refuse_combinations,
    refuse_unknown,
    without_zone,
)
from .registry import registry

if TYPE_CHECKING:
    from .call import BoundTask
    from .result import TaskResult

P = ParamSpec("P")
R = TypeVar("R")

#: Of one call: by position and by keyword.
Arguments = tuple[Sequence[Any], Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True, init=False)
class Task(compat.GenericTask[P, R]):
    """A function and its options, ready to be enqueued. Built by ``@task``; change a copy by ``using()``."""

    priority: int = compat.DEFAULT_TASK_PRIORITY
    backend: str = compat.DEFAULT_TASK_BACKEND_ALIAS
    queue_name: str = compat.DEFAULT_TASK_QUEUE_NAME
    run_after: datetime | None = None
    takes_context: bool = False
    name: str = ""
    max_attempts: int | None = None
    backoff: Backoff | BackoffCallable | None = None
    retry_on: tuple[Matcher, ...] | None = None
    dont_retry_on: tuple[Matcher, ...] = ()
    timeout: float | Default | None = DEFAULT
    #: Bytes that an attempt may use beyond those of its process.
    memory: int | None = None
    on_lost: OnLost = OnLost.RETRY
    expires: float | None = None
    expires_at: datetime | None = None
    atomic: bool = False
    executor: str | None = None
    aliases: tuple[str, ...] = ()
    #: For people: the first line of the docstring, unless it is given.
    description: str = ""
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] | None = dataclass_field(default=None, hash=False)
    error_codes: ErrorCodes | None = dataclass_field(default=None, hash=False)
    default_error_code: str | None = None
    store_result: bool | None = None
    result_ttl: float | None = None
    retention: float | None = None
    result_encoder: Encoder | str | None = None
    strict: bool | None = None
    middleware: tuple[Any, ...] = ()
    on_yield: Callable[[Any], Any] | None = None
    capture_logs: int | None = None
    #: Whether the REST API enqueues it, or the function that decides.
    api: bool | Callable[..., Any] = False
    #: Whether the admin has a form that enqueues it.
    admin: bool = False
    #: Names of arguments that are masked wherever jobs are shown.
    sensitive: tuple[str, ...] = ()

    #: Names of options that were given, also with a value that equals the default.
    _given = frozenset[str]()

    # Not slotted: zero-argument super() fails in slotted dataclasses, and options live in __dict__.

    def __new__(cls, **options: Any) -> Self:
        refuse_unknown(options, [field.name for field in fields(cls)] + ["max_retries"])
        return super().__new__(cls)

    def __init__(self, **options: Any) -> None:
        self._fill(options)
        super().__post_init__()
        registry.register(self)

    def _fill(self, options: Mapping[str, Any]) -> None:
        # None stands for the default, except where it has a meaning.
        options = {name: value for name, value in options.items() if value is not None or name == "timeout"}
        refuse_combinations(options)
        values: dict[str, Any] = {
            field.name: options.get(field.name, None if field.default is MISSING else field.default)
            for field in fields(self)
        }
        values.update(checked(options, options["func"]))
        if not values["description"]:
            values["description"] = _first_line(options["func"].__doc__)
        for name, value in values.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_given", _chosen(options))

    def _copy(self, **changes: Any) -> Self:
        """Return the task with other fields, neither validated nor registered."""
        copy = object.__new__(type(self))
        for field in fields(self):
            object.__setattr__(copy, field.name, changes.get(field.name, getattr(self, field.name)))
        object.__setattr__(copy, "_given", changes.get("_given", self._given.union(changes)))
        return copy

    def gives(self, option: str) -> bool:
        """Return whether the task, or ``using()``, names that option. If not, the settings decide."""
        return option in self._given

    def using(self, **options: Unpack[UsingOptions]) -> Self:
        """Return a copy of the task with other options for the sends made through it.

        None takes an option back to its default; ``timeout=None`` means no limit. Raises TypeError or
        ValueError for an unusable value, InvalidTask for what the backend refuses.
        """
        refuse_unknown(options, UsingOptions.__annotations__)
        defaults = {field.name: field.default for field in fields(self)}
        changes: dict[str, Any] = {
            name: defaults[name] if value is None and name not in ("timeout", "max_retries") else value
            for name, value in options.items()
        }
        changes |= checked(changes, self.func)
        if options.get("tags") is not None:
            changes["tags"] = tuple(dict.fromkeys((*self.tags, *changes["tags"])))
        if options.get("metadata") is not None:
            changes["metadata"] = {**(self.metadata or {}), **changes["metadata"]}
        reset = {name for name, value in options.items() if value is None and name != "timeout"}
        copy = self._copy(**changes, _given=self._given.union(changes) - reset)
        copy.get_backend().validate_task(copy)
        copy.stored_options()
        return copy

    def bind(self, *args: P.args, **kwargs: P.kwargs) -> BoundTask[P, R]:
        """Return this call of the task, to be enqueued later or elsewhere.

        Raises TypeError for arguments that do not fit the function.
        """
        from .call import BoundTask

        self.check_arguments(args, kwargs)
        return BoundTask(self, args, kwargs)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function in this process, as if it were not decorated.

        Its dependencies are made for this call, unless they are given by name.
        """
        if not Parameters.of(self.func, self.takes_context).has_dependencies:
            return self.func(*args, **kwargs)
        return called(self.func, self.takes_context, args, kwargs)  # type: ignore[no-any-return]

    def call(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function and return its value; that of a coroutine function is awaited."""
        if iscoroutinefunction(self.func):
            return async_to_sync(self.acall)(*args, **kwargs)
        return self(*args, **kwargs)

    async def acall(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """See call(). A plain function runs in a thread."""
        if iscoroutinefunction(self.func):
            value: R = await self(*args, **kwargs)  # type: ignore[misc]
            return value
        return await sync_to_async(self)(*args, **kwargs)

    def routed(self, options: Mapping[str, Any]) -> Self:
        """Return the task under options of the settings. Options that the task names are kept."""
        changes: dict[str, Any] = {name: value for name, value in options.items() if not self.gives(name)}
        return self.using(**changes) if changes else self

    def encoded(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Arguments:
        """Return arguments in JSON types, as their annotations say. Raises UnserializableValue."""
        return Parameters.of(self.func, self.takes_context).encoded(args, kwargs, self.name)

    def decoded(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Arguments:
        """Return stored arguments as what their annotations say. Raises TypeError or ValueError."""
        return Parameters.of(self.func, self.takes_context).decoded(args, kwargs)

    def normalized(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Arguments:
        """Return arguments in JSON types as they are stored, without reading the rows that they name.

        Raises TypeError or ValueError for those that cannot be read.
        """
        parameters = Parameters.of(self.func, self.takes_context)
        return parameters.encoded(*parameters.decoded(args, kwargs, unfetched), self.name)

    def check_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Bind arguments to the function's signature. Raises TypeError as a call would."""
        parameters = Parameters.of(self.func, self.takes_context)
        if parameters.obviously_take(args, kwargs):
            return
        try:
            parameters.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}(): {error}") from None

    def enqueue_many(
        self, calls: Iterable[tuple[Any, ...] | Mapping[str, Any]]
    ) -> Sequence[TaskResult[P, R]]:
        """Store many calls at once: all of them or, when one is unusable, none.

        Each call is a tuple of positional arguments or a dict of keyword arguments. Raises what
        ``enqueue`` raises.
        """
        backend: Any = self.get_backend()
        pairs = map(_call, calls)
        if hasattr(backend, "enqueue_many"):
            return backend.enqueue_many(self, pairs)  # type: ignore[no-any-return]
        return [backend.enqueue(self, args, kwargs) for args, kwargs in list(pairs)]

    async def aenqueue_many(
        self, calls: Iterable[tuple[Any, ...] | Mapping[str, Any]]
    ) -> Sequence[TaskResult[P, R]]:
        """See enqueue_many()."""
        return await sync_to_async(self.enqueue_many, thread_sensitive=True)(calls)

    if TYPE_CHECKING:

        def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> TaskResult[P, R]: ...
        async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> TaskResult[P, R]: ...
        def get_result(self, result_id: str) -> TaskResult[P, R]: ...
        async def aget_result(self, result_id: str) -> TaskResult[P, R]: ...

    @property
    def module_path(self) -> str:
        return self.name if self.func is _unregistered else class_path(self.func)

    def stored_options(self) -> dict[str, Any]:
        """Return the options in which this copy differs from its definition, in JSON types.

        They are those that the job has no columns for.

        Raises TypeError for a rule that cannot be stored.
        """
        definition = registry.get(self.name) if self.name in registry else self
        # Always stored, since a worker that finds the job lost may not know its task.
        stored: dict[str, Any] = {} if self.on_lost is OnLost.RETRY else {"on_lost": self.on_lost.value}
        for name in ("backoff", "retry_on", "dont_retry_on"):
            value = getattr(self, name)
            if value == getattr(definition, name):
                continue
            if isinstance(value, Backoff):
                stored[name] = asdict(value)
            elif callable(value):
                raise TypeError("A callable backoff cannot be stored with a job: give it to @task instead.")
            elif value is None:
                stored[name] = None
            else:
                stored[name] = [item if isinstance(item, str) else class_path(item) for item in value]
        if self.store_result is not definition.store_result:
            stored["store_result"] = self.store_result
        if self.memory != definition.memory:
            stored["memory"] = self.memory
        return stored

    @classmethod
    def restored(cls, name: str, options: Mapping[str, Any] | None = None, **fields_: Any) -> Task[..., Any]:
        """Return the task of a stored job: the definition of that name under the job's own options.

        Nothing is validated or imported: where the name is unknown here, a placeholder carries it.
        """
        # What is not stored with a job was not given for it.
        changes: dict[str, Any] = {"on_lost": OnLost.RETRY, **fields_}
        for key, value in (options or {}).items():
            # What another release has stored and this one cannot read is left out.
            with suppress(TypeError, ValueError):
                if key == "backoff":
                    changes[key] = Backoff.of(value) if value is not None else None
                elif key == "on_lost":
                    changes[key] = OnLost(value)
                elif key == "store_result":
                    changes[key] = value
                elif key == "memory":
                    changes[key] = None if value is None else memory_size(value, key)
                else:
                    changes[key] = tuple(value) if value is not None else None
        try:
            definition: Task[..., Any] = registry.get(name)
        except TaskNotRegistered:
            definition = object.__new__(cls)
            definition._fill({"func": _unregistered, "name": name})
        if all(getattr(definition, name) == value for name, value in changes.items()):
            return definition
        chosen = definition._given.union(options or (), fields_)
        return definition._copy(**changes, _given=chosen)

    @classmethod
    def adopt(cls, task: compat.Task[P, R]) -> Task[P, R]:
        """Return a task declared through Django's own classes, as one of ours."""
        if isinstance(task, Task):
            ours: Task[P, R] = task
            return ours
        names = ("func", "priority", "backend", "queue_name", "run_after", "takes_context")
        values = {name: getattr(task, name) for name in names}
        if values["run_after"] is not None:
            values["run_after"] = without_zone(values["run_after"])
        name = class_path(task.func)
        if name not in registry:
            return cls(**values)
        known: Any = registry.get(name)
        return cast("Task[P, R]", known._copy(**values, _given=known._given | _chosen(values)))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # What follows from the code is found there again.
        definition = registry.get(self.name) if self.name in registry else None
        values = {
            field.name: value
            for field in fields(self)
            if field.name != "func"
            and ((value := getattr(self, field.name)) != getattr(definition, field.name, MISSING))
        }
        values["_given"] = self._given
        return (_unpickle, (self.module_path, values))


def _chosen(options: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of the options that were given, as far as that can be known."""
    chosen = {"max_attempts" if name == "max_retries" else name for name in options}
    if chosen >= _ALWAYS_PASSED.keys():
        chosen -= {name for name, default in _ALWAYS_PASSED.items() if options[name] == default}
    return frozenset(chosen)


#: What the framework's own decorator passes on whether it was given it or not.
_ALWAYS_PASSED = {
    "priority": compat.DEFAULT_TASK_PRIORITY,
    "queue_name": compat.DEFAULT_TASK_QUEUE_NAME,
    "backend": compat.DEFAULT_TASK_BACKEND_ALIAS,
    "takes_context": False,
}


def _call(call: Any) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Return positional and keyword arguments of one of many calls."""
    if isinstance(call, tuple):
        return call, _NO_KEYWORDS
    if isinstance(call, Mapping):
        return (), call
    raise TypeError(
        "enqueue_many() takes a tuple of positional arguments or a dict of keyword arguments for each call, "
        f"not {call!r:.100}."
    )


_NO_KEYWORDS: Mapping[str, Any] = {}


def _unpickle(module_path: str, values: dict[str, Any]) -> Task[..., Any]:
    definition = import_string(module_path)
    if not isinstance(definition, Task):
        raise ValueError(f"Expected {module_path!r} to be a task.")
    return definition._copy(**values)


def _first_line(docstring: str | None) -> str:
    """Return what a docstring says first, as far as a list of tasks has room for it."""
    lines = (docstring or "").strip().splitlines()
    return printable(lines[0].strip())[:255] if lines else ""


def _unregistered(*args: Any, **kwargs: Any) -> Any:
    """Stand in for the function of a stored job whose task this process does not define."""
    raise TaskNotRegistered(
        "This process does not define the task's function: import its module, or run the job elsewhere."
    )
