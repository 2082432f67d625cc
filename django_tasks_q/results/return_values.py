"""Return values on their way into the table and out of it again."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ..conf import Options
from ..definition.task import Task
from ..exceptions import ReturnTypeMismatch, UnserializableValue
from ..payload import codec
from ..payload.annotations import matches
from ..payload.encoders import loaded
from ..payload.signature import Parameters


def encoded(task: Task[..., Any], parameters: Parameters, settings: Options, value: Any) -> str:
    """Return a return value as the text that is stored; ``parameters`` are those of the task.

    Raises ReturnTypeMismatch where the task is strict and the value not what its annotation says,
    UnserializableValue or UnstorableValue for what JSON or a database cannot hold, and whatever an
    encoder raises.
    """
    strict = settings.strict if task.strict is None else task.strict
    if strict and not matches(parameters.return_annotation, value):
        raise ReturnTypeMismatch(
            f"{task.name} returned {value!r:.100}, which is not {_shown(parameters.return_annotation)}."
        )
    if not (settings.store_result if task.store_result is None else task.store_result):
        return "null"
    encoder = task.result_encoder or settings.encoder
    if encoder is not None:
        value = loaded(encoder).encode(value)
    elif parameters.returns is not None:
        with suppress(UnserializableValue):  # not what is annotated, which only strict tasks are held to
            value = parameters.returns.encode(value, "The return value")
    return codec.dumps(value, what="The return value", max_bytes=settings.max_result_bytes)


def decoded(task: Task[..., Any], settings: Options | None, stored: Any) -> Any:
    """Return a stored return value as the task returned it, if encoder or annotation can read it."""
    encoder = task.result_encoder or (settings.encoder if settings else None)
    returns = Parameters.of(task.func, task.takes_context).returns
    try:
        if encoder is not None:
            return loaded(encoder).decode(stored)
        if returns is not None and stored is not None:
            return returns.decode(stored)
    except Exception:  # another release has stored it, or an encoder that is gone
        return stored
    return stored


def _shown(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)
