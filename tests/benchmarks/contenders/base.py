"""What is told of a contender: how it is installed, configured, fed and drained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Contender:
    name: str
    #: The distribution whose version the report names.
    package: str
    #: How it was set up for speed, for the report.
    setting: str
    requirements: tuple[str, ...] = ()
    #: The oldest Python that it runs on.
    python: tuple[int, int] = (3, 11)
    apps: tuple[str, ...] = ()
    backend: Mapping[str, Any] = field(default_factory=dict)
    #: More lines of settings. ``BROKER`` stands for the address of its broker, here and in ``tasks``.
    settings: str = ""
    #: The project's ``work/tasks.py``, with ``send()`` and ``send_many()``.
    tasks: str
    #: Commands that create its tables, after ``migrate``.
    setup: tuple[list[str], ...] = ()
    #: Tables and commands beside ``flush`` that leave no job behind.
    tables: tuple[str, ...] = ()
    emptying: tuple[list[str], ...] = ()
    #: Workers that use both cores and end when nothing is left, if it has such, and those that stay.
    draining: tuple[list[str], ...] = ()
    waiting: tuple[list[str], ...]
    #: Seconds from the first start to the last finish by its own rows, and how many there are; without,
    #: the jobs' own stamps count, which end at the last start.
    spent: str = ""
    sqlite: bool = False
    #: The name of the server beside PostgreSQL that it needs.
    broker: str = ""
    rows: frozenset[str] = frozenset()
