"""Finds the transaction that an enqueue belongs to when the queue is in another database."""

from __future__ import annotations

import logging

from django.db import connections

logger = logging.getLogger("django_tasks_q.backends")

_warned: set[tuple[str, str]] = set()


def open_elsewhere(queue: str) -> str | None:
    """Alias of a database with an open transaction where the queue's own has none; None without one.

    Warns once a process of each pair: such a job is stored in a commit of its own.
    """
    if len(connections.settings) == 1 or connections[queue].in_atomic_block:
        return None
    for connection in connections.all(initialized_only=True):
        if connection.alias != queue and connection.in_atomic_block:
            pair = (connection.alias, queue)
            if pair not in _warned:
                _warned.add(pair)
                logger.warning(
                    "Jobs enqueued in a transaction on database %r are stored in %r after it commits; a "
                    "process that dies in between loses them.",
                    *pair,
                )
            return connection.alias
    return None
