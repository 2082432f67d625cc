"""The parameters of a task's function, whether a call fits them, and how its arguments are stored."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from asgiref.sync import iscoroutinefunction

from ..dependencies.declaration import dependencies_of
from ..exceptions import UnstorableValue
from .annotations import Converter, converter_for, hints_of_function
from .annotations.converters import Instances, Load
from .annotations.hints import is_dependency

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class Parameters:
    """What is asked of a function for each of its calls, found out once."""

    signature: inspect.Signature
    #: Whether it runs on an event loop: coroutine and async generator functions.
    is_coroutine: bool
    #: How many arguments it takes where all are given by position.
    fewest: int
    most: float
    #: Generator and async generator functions.
    is_generator: bool = False
    #: By parameter: how arguments are stored that are not stored as they are.
    typed: Mapping[str, Converter] = field(default_factory=dict)
    #: ``inspect.Signature.empty`` where there is none, and for generator functions.
    return_annotation: Any = inspect.Signature.empty
    returns: Converter | None = None
    #: Whether it takes more than a caller gives.
    has_dependencies: bool = False
    #: Whether arguments are read back from the database.
    needs_database: bool = False

    @classmethod
    @cache
    def of(cls, func: Callable[..., Any], takes_context: bool) -> Parameters:
        """Return the parameters that a caller gives: without context and dependencies."""
        signature = inspect.signature(func)
        dependencies = dependencies_of(func, takes_context)
        parameters = [
            parameter
            for parameter in list(signature.parameters.values())[1 if takes_context else 0 :]
            if parameter.name not in dependencies
        ]
        required = [
            parameter
            for parameter in parameters
            if parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        ]
        most: float = sum(parameter.kind in _POSITIONAL for parameter in parameters)
        if any(parameter.kind == parameter.VAR_POSITIONAL for parameter in parameters):
            most = float("inf")
        if any(parameter.kind == parameter.KEYWORD_ONLY for parameter in required):
            most = -1  # never by position alone
        signature = signature.replace(parameters=parameters)
        is_async_generator = inspect.isasyncgenfunction(func)
        is_generator = is_async_generator or inspect.isgeneratorfunction(func)
        hints = hints_of_function(func, signature)
        returned = hints.pop("return", signature.empty)
        if is_generator:  # what is annotated is the generator, not its result
            returned = signature.empty
        typed = {
            name: converter
            for name, annotation in hints.items()
            if not is_dependency(annotation) and (converter := converter_for(annotation)) is not None
        }
        return cls(
            signature=signature,
            is_coroutine=is_async_generator or iscoroutinefunction(func),
            fewest=len(required),
            most=most,
            is_generator=is_generator,
            typed=typed,
            return_annotation=returned,
            returns=converter_for(returned),
            has_dependencies=bool(dependencies),
            needs_database=any(converter.needs_database for converter in typed.values()),
        )

    def obviously_take(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Return whether a call certainly fits, by counting. ``signature.bind`` decides about others."""
        return not kwargs and self.fewest <= len(args) <= self.most

    def encoded(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], name: str
    ) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Return the arguments of a call that fits as they are stored: in JSON types, by their annotations.

        ``name`` is the function's in errors. Raises UnserializableValue for a value of another type
        than annotated, UnstorableValue for one that cannot be stored.
        """
        if not self.typed:
            return args, kwargs

        instances = Instances()

        def encode(converter: Converter, value: Any, place: str) -> Any:
            try:
                stored = converter.encode(value, f"{name}(): argument {place}")
            except RecursionError:
                raise UnstorableValue(f"{name}(): argument {place} is nested too deep.") from None
            try:
                instances.want(converter, stored)
            except ValueError as error:
                raise UnstorableValue(f"{name}(): {error}") from None
            return stored

        return self._converted(encode, args, kwargs)

    def decoded(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], load: Load | None = None
    ) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Return the arguments as they were before ``encoded()``.

        Raises ValueError for arguments that cannot be read.

        Without ``load`` it asks the database if ``needs_database``, and raises what that raises.
        """
        if not self.typed:
            return args, kwargs

        source = load or self._instances(args, kwargs).load

        def decode(converter: Converter, stored: Any, place: str) -> Any:
            try:
                return converter.read(stored, source)
            except (TypeError, ValueError) as error:
                raise ValueError(f"argument {place}: {error}") from error

        return self._converted(decode, args, kwargs)

    def _instances(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Instances:
        """Return the rows of models that stored arguments name. Raises ValueError where they are too many."""
        instances = Instances()
        if self.needs_database:

            def want(converter: Converter, stored: Any, place: str) -> None:
                instances.want(converter, stored)

            self._converted(want, args, kwargs)
        return instances

    def _converted(
        self,
        convert: Callable[[Converter, Any, str], Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> tuple[list[Any], dict[str, Any]]:
        """Return arguments with those that are typed converted, each with its place in words."""
        positional, rest, by_keyword, others = self._places

        def converted(name: str, value: Any, place: str) -> Any:
            converter = self.typed.get(name)
            return value if converter is None else convert(converter, value, place)

        first, more = args[: len(positional)], args[len(positional) :]
        return (
            [converted(name, value, name) for name, value in zip(positional, first, strict=False)]
            + [converted(rest, value, f"{rest}[{index}]") for index, value in enumerate(more)],
            {
                name: converted(name if name in by_keyword else others, value, name)
                for name, value in kwargs.items()
            },
        )

    @cached_property
    def _places(self) -> tuple[list[str], str, set[str], str]:
        """Names of the parameters that take what is given by position, more of it, by keyword, more of it."""
        kinds: dict[Any, list[str]] = {}
        for parameter in self.signature.parameters.values():
            kinds.setdefault(parameter.kind, []).append(parameter.name)
        kind = inspect.Parameter
        either = kinds.get(kind.POSITIONAL_OR_KEYWORD, [])
        (rest,), (others,) = kinds.get(kind.VAR_POSITIONAL, [""]), kinds.get(kind.VAR_KEYWORD, [""])
        return (
            kinds.get(kind.POSITIONAL_ONLY, []) + either,
            rest,
            {*either, *kinds.get(kind.KEYWORD_ONLY, [])},
            others,
        )
