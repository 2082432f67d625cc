"""Waiting for file descriptors of any number, which ``select.select()`` refuses above 1,023."""

from __future__ import annotations

import math
import select
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from _typeshed import HasFileno

F = TypeVar("F", bound="HasFileno")


def readable(sources: Iterable[F], seconds: float) -> list[F]:
    """Return the sources that can be read, after at most ``seconds``. None if the time is over."""
    poll = select.poll()
    by_number = {}
    for source in sources:
        by_number[source.fileno()] = source
        poll.register(source, select.POLLIN)
    # Rounded up, so that the time is over when this returns for it.
    return [by_number[number] for number, _ in poll.poll(math.ceil(seconds * 1000))]
