"""Runs tasks that yield: each value is reported and handled, and the handler's return value sent back."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from types import AsyncGeneratorType, GeneratorType
from typing import Any

from ..forks import OneProcess

#: Called with each value and how many there have been.
Report = Callable[[Any, int], Any]


def drive(
    generator: GeneratorType[Any, Any, Any],
    on_yield: Callable[[Any], Any] | None,
    report: Report,
    *,
    keep: bool = True,
) -> Any:
    """Return what the generator returns, or the list of its values if that is None.

    Without ``keep`` there is no list. Every exception, also the handler's, is raised inside the generator,
    and ends it.
    """
    values: list[Any] = []
    count, reply = 0, None
    try:
        while True:
            with OneProcess():
                try:
                    value = generator.send(reply)
                except StopIteration as end:
                    return values if end.value is None and keep else end.value
            count += 1
            if keep:
                values.append(value)
            report(value, count)
            if on_yield is None:
                reply = None
                continue
            with OneProcess():
                reply = on_yield(value)
    except BaseException as error:
        if generator.gi_frame is not None:  # else it has ended by this very error
            with suppress(StopIteration):
                generator.throw(error)
        raise
    finally:
        generator.close()


async def adrive(
    generator: AsyncGeneratorType[Any, Any],
    on_yield: Callable[[Any], Any] | None,
    report: Report,
    *,
    keep: bool = True,
) -> list[Any] | None:
    """See drive(). The handler and ``report`` may be coroutine functions; others are called on the loop."""
    values: list[Any] = []
    count, reply = 0, None
    try:
        while True:
            with OneProcess():
                try:
                    value = await generator.asend(reply)
                except StopAsyncIteration:
                    return values if keep else None
            count += 1
            if keep:
                values.append(value)
            await _awaited(report(value, count))
            if on_yield is None:
                reply = None
                continue
            with OneProcess():
                reply = await _awaited(on_yield(value))
    except BaseException as error:
        if generator.ag_frame is not None:
            with suppress(StopAsyncIteration):
                await generator.athrow(error)
        raise
    finally:
        await generator.aclose()


async def _awaited(reply: Any) -> Any:
    return await reply if inspect.isawaitable(reply) else reply
