"""Encoders of a project, between the return values of its tasks and JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from django.utils.module_loading import import_string


class Encoder(NamedTuple):
    """``encode`` is called before a return value is stored, ``decode`` after it is read."""

    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


def encoder_of(value: Any, name: str) -> Encoder | str:
    """Return an encoder from any of its spellings; a dotted path stays one, and is loaded when it is needed.

    A pair of callables, or an object or class with methods ``encode`` and ``decode``. Raises TypeError
    naming ``name``.
    """
    if isinstance(value, str) and "." in value:
        return value
    if isinstance(value, type):
        value = value()
    if isinstance(value, tuple) and len(value) == 2:
        encode, decode = value
    else:
        encode, decode = getattr(value, "encode", None), getattr(value, "decode", None)
    if isinstance(value, str) or not (callable(encode) and callable(decode)):
        raise TypeError(
            f"{name} must be a pair of callables, an object with encode() and decode(), or the dotted path "
            f"of one, not {value!r:.100}."
        )
    return Encoder(encode, decode)


def loaded(encoder: Encoder | str) -> Encoder:
    """Return the encoder. Raises ImportError for a path that leads nowhere, TypeError for what is none."""
    if isinstance(encoder, Encoder):
        return encoder
    found = encoder_of(import_string(encoder), encoder)
    if isinstance(found, str):
        raise TypeError(
            f"{encoder} is a string, and not an object with encode() and decode() or a pair of callables."
        )
    return found
