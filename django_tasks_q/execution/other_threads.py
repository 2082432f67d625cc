"""Cleans the connections of threads that tasks have started, as those of the attempts' own threads are.

``asyncio.run()`` with the ORM, ``asyncio.to_thread()`` and ``sync_to_async(thread_sensitive=False)`` open
connections in threads of their own, which Django and its signals do not reach.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from asgiref.sync import SyncToAsync
from django.db import close_old_connections

from ..storage import WatcherThread
from .altered_sessions import opened
from .connections import clean_connections, drop_dead_connections, has_news, in_transaction, is_unclean
from .wrappers import close_session, is_wrapper_altered

#: Numbers of the threads that clean their connections themselves. They live as long as their process.
_own: set[int] = set()


def cleans_itself() -> None:
    """Say that this thread cleans its connections."""
    _own.add(threading.get_ident())


def prepare_other_threads(*, is_alone: bool) -> None:
    """Close connections that their server has closed, before an attempt. ``is_alone``: no other one runs."""
    for connection, thread in _others(drop_dead_connections):
        # One that is in use now is left to what uses it.
        if is_alone and thread.is_alive() and not _in_use(connection) and has_news(connection.connection):
            close_session(connection)


def clean_other_threads(*, is_alone: bool) -> bool:
    """Clean up after an attempt. Return whether a thread has a session that cannot be cleaned from here.

    Such a thread lives on, and what it does with the session may be right.
    """
    found = False
    for connection, thread in _others(clean_connections):
        if not thread.is_alive():
            close_session(connection)
        elif is_alone:
            found = found or is_unclean(connection) or is_wrapper_altered(connection)
    return found


def rest_other_threads() -> None:
    """Close connections of the thread that coroutines share, as ``CONN_MAX_AGE`` says."""
    for _ in _others(close_old_connections):
        pass


def _others(call: Callable[[], None]) -> Iterator[tuple[Any, threading.Thread]]:
    """Yield connections of other threads; where coroutines share one thread, ``call`` is called in it.

    Its calls take turns, so that this comes before those of the next attempt.
    """
    shared = SyncToAsync.single_thread_executor
    is_called = False
    for connection, thread in opened():
        if isinstance(thread, WatcherThread) or (thread.ident in _own and thread.is_alive()):
            continue
        if thread not in shared._threads:
            yield connection, thread
        elif not is_called:
            is_called = True
            shared.submit(call)


def _in_use(connection: Any) -> bool:
    return connection.in_atomic_block or in_transaction(connection.connection)
