"""Finds the transaction that an enqueue belongs to when the queue is in another database."""

from __future__ import annotations

import logging

from django.db import connections

logger = logging.getLogger("django_tasks_q.backends")

_warned: set[tuple[str, str]] = set()


def other_open_transaction(queue: str) -> str | None:
    """Return the alias of another database with an open transaction, if the queue's database has none.

    None without one. A warning is logged once a process for each pair of databases, since the job is then
    stored by a second commit, after that of the transaction.
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
