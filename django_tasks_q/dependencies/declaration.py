"""What a task asks for besides its arguments, and what makes it."""

from __future__ import annotations

import builtins
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin

from asgiref.sync import iscoroutinefunction

Scope = Literal["task", "worker"]

#: The code that all functions under ``asynccontextmanager`` share, however they are written.
_OPENS_ASYNCHRONOUSLY = asynccontextmanager(lambda: None).__code__  # type: ignore[arg-type,return-value]

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class Depends:
    """Stands in the annotation of a parameter that is no argument: ``factory`` makes its value.

    A generator function that yields once, and a function under ``contextlib.contextmanager`` or
    ``asynccontextmanager``, is opened before and closed after use. What any other factory returns is
    passed as it is, even if it could be used in ``with``. Each attempt gets a new value, or with
    ``scope="worker"`` each process of the worker.
    """

    factory: Callable[..., Any]
    scope: Scope = field(default="task", kw_only=True)

    is_dependency: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not callable(self.factory):
            raise TypeError(f"Depends takes a function that makes the value, not {self.factory!r:.100}.")
        try:
            hash(self.factory)
        except TypeError:
            raise TypeError(f"Depends takes a hashable function, not {self.factory!r:.100}.") from None
        if self.scope not in get_args(Scope):
            raise ValueError(f"scope must be 'task' or 'worker', not {self.scope!r:.100}.")


@dataclass(frozen=True)
class Recipe:
    """How a factory is called, found out once."""

    #: Returns the value, or a context manager of contextlib that gives it.
    make: Callable[..., Any]
    takes_context: bool
    dependencies: Mapping[str, Depends]
    #: Parameters that neither the worker nor another dependency fills.
    unfilled: tuple[str, ...]
    #: Whether it needs an event loop itself, whatever it depends on.
    is_asynchronous: bool

    @classmethod
    @cache
    def of(cls, factory: Callable[..., Any]) -> Recipe:
        """Raise TypeError for parameters that cannot be dependencies, see dependencies_of()."""
        parameters = _parameters(factory)
        takes_context = bool(parameters) and (
            parameters[0].name == "context" and parameters[0].kind in _POSITIONAL
        )
        dependencies = dependencies_of(factory, takes_context)
        unfilled = tuple(
            parameter.name
            for parameter in parameters[1 if takes_context else 0 :]
            if parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            and parameter.name not in dependencies
        )
        function = _called(factory)
        is_asynchronous = (
            iscoroutinefunction(function)
            or inspect.isasyncgenfunction(function)
            or getattr(function, "__code__", None) is _OPENS_ASYNCHRONOUSLY
        )
        make = factory
        if inspect.isgeneratorfunction(function):
            make = contextmanager(factory)
        elif inspect.isasyncgenfunction(function):
            make = asynccontextmanager(factory)
        return cls(make, takes_context, dependencies, unfilled, is_asynchronous)

    def call(self, context: Any, values: Mapping[str, Any]) -> Any:
        return self.make(*([context] if self.takes_context else []), **values)


@cache
def dependencies_of(func: Callable[..., Any], takes_context: bool) -> Mapping[str, Depends]:
    """Return the parameters of a function that are no arguments, by name.

    Raises TypeError for one that the worker could not fill.
    """
    found: dict[str, Depends] = {}
    for parameter in _parameters(func)[1 if takes_context else 0 :]:
        marks = _marks(parameter, func)
        if not marks:
            continue
        if len(marks) > 1:
            raise TypeError(f"Parameter {parameter.name!r} of {_name(func)}() has more than one Depends.")
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(
                f"Parameter {parameter.name!r} of {_name(func)}() is a dependency, "
                "and must be one that can be given by name."
            )
        if parameter.default is not parameter.empty:
            raise TypeError(
                f"Parameter {parameter.name!r} of {_name(func)}() is a dependency, and cannot have a default."
            )
        found[parameter.name] = marks[0]
    return MappingProxyType(found)


@cache
def needs_loop(depends: Depends) -> bool:
    """Return whether a dependency, or one that it depends on, is made by asynchronous code."""
    recipe = Recipe.of(depends.factory)
    return recipe.is_asynchronous or any(map(needs_loop, recipe.dependencies.values()))


def check_dependencies(func: Callable[..., Any], takes_context: bool, is_coroutine: bool) -> None:
    """Raise TypeError for dependencies that a function cannot have, or that cannot be made."""
    for depends in dependencies_of(func, takes_context).values():
        _check(depends, is_coroutine, ())


def _check(depends: Depends, is_coroutine: bool, path: tuple[Callable[..., Any], ...]) -> None:
    factory, name = depends.factory, _name(depends.factory)
    if factory in path:
        circle = " → ".join(map(_name, (*path[path.index(factory) :], factory)))
        raise TypeError(f"Dependencies cannot go round in a circle: {circle}.")
    recipe = Recipe.of(factory)
    if recipe.is_asynchronous and not is_coroutine:
        raise TypeError(f"{name}() is asynchronous: only coroutine functions can depend on it.")
    if recipe.unfilled:
        raise TypeError(
            f"Parameter {recipe.unfilled[0]!r} of {name}() has no value: a factory takes a first "
            "parameter named context, and dependencies."
        )
    if depends.scope == "worker" and recipe.takes_context:
        raise TypeError(f"{name}() makes a dependency of scope 'worker', and so cannot take a context.")
    for inner in recipe.dependencies.values():
        if depends.scope == "worker" and inner.scope == "task":
            raise TypeError(
                f"{name}() makes a dependency of scope 'worker', and so cannot depend on "
                f"{_name(inner.factory)}() of scope 'task'."
            )
        _check(inner, is_coroutine, (*path, factory))


def placed(
    func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], values: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of a call with the values of dependencies where the function has them."""
    args, values = list(args), dict(values)
    for position, name in enumerate(_positional(func)):
        if position >= len(args):
            break
        if name in values:
            args.insert(position, values.pop(name))
    return args, {**kwargs, **values}


# Functions and their annotations


@cache
def _positional(func: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(parameter.name for parameter in _parameters(func) if parameter.kind in _POSITIONAL)


def _parameters(func: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(func).parameters.values())
    except ValueError:  # a class or function that is written in C and has no signature
        return []


def _called(func: Callable[..., Any]) -> Callable[..., Any]:
    """Return what runs when it is called: the method, where it is an object that has one for it."""
    while isinstance(func, functools.partial):
        func = func.func
    if inspect.isroutine(func) or inspect.isclass(func):
        return func
    method: Callable[..., Any] = type(func).__call__
    return method


def _function_behind(func: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function as it was written, without what decorators and partials have put around it."""
    function: Callable[..., Any] = inspect.unwrap(_called(func))
    if isinstance(function, type):
        function = inspect.unwrap(function.__init__)  # type: ignore[misc]
    return function


def _name(func: Callable[..., Any]) -> str:
    return str(getattr(_called(func), "__qualname__", repr(func)))


def _marks(parameter: inspect.Parameter, func: Callable[..., Any]) -> list[Depends]:
    """Return the Depends in an annotation."""
    annotation = parameter.annotation
    if isinstance(annotation, str):
        annotation = _evaluated(annotation, func)
    annotation = getattr(annotation, "__value__", annotation)  # of a ``type`` statement
    if get_origin(annotation) is not Annotated:
        return []
    marks = [mark for mark in annotation.__metadata__ if isinstance(mark, Depends | _Undefined)]
    for mark in marks:
        name = mark if isinstance(mark, _Undefined) else mark.factory
        if isinstance(name, _Undefined) and (name is not mark or name.is_depends):
            raise TypeError(
                f"Parameter {parameter.name!r} of {_name(func)}() is a dependency, but {name.path} is not "
                "defined above it."
            )
    return [mark for mark in marks if isinstance(mark, Depends)]


def _evaluated(annotation: str, func: Callable[..., Any]) -> Any:
    """Return an annotation in quotes, or of a module that defers them. None if nothing can be made of it."""
    known = getattr(_function_behind(func), "__globals__", {})
    try:
        # It is source code of the project, as typing.get_type_hints() evaluates it.
        return eval(annotation, known, _Names({**vars(builtins), **known}))  # noqa: S307
    except Exception:
        return None


class _Names(dict[str, Any]):
    """Names as an annotation sees them. Types are often imported for type checkers alone."""

    def __missing__(self, name: str) -> Any:
        return _Undefined(name)


class _Undefined:
    """Stands for a name that is not defined, and for all that an annotation makes of it."""

    def __init__(self, path: str) -> None:
        self.path = path

    @property
    def is_depends(self) -> bool:
        return self.path.rpartition(".")[2] == "Depends"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Undefined(f"{self.path}.{name}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self

    def __getitem__(self, item: Any) -> Any:
        return self

    def __or__(self, other: Any) -> Any:
        return self

    __ror__ = __or__
