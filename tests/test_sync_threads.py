"""Threads for the blocking calls of coroutines: attempts share them, and none runs in another's schema."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections, transaction

from django_tasks_q.execution import sync_threads
from django_tasks_q.execution.cleaning import Cleaning
from django_tasks_q.execution.sync_threads import SyncThreads
from django_tasks_q.execution.wrappers import close_session

ALIAS = "default"


def set_schema() -> None:
    connections[ALIAS].schema_name = "one"  # type: ignore[attr-defined]


def append_wrapper() -> None:
    connections[ALIAS].execute_wrappers.append(lambda execute, *args: execute(*args))


def open_transaction() -> None:
    transaction.set_autocommit(False, using=ALIAS)
    connections[ALIAS].cursor().execute("SELECT 1")


def alter_session() -> None:
    connections[ALIAS].cursor().execute("PRAGMA case_sensitive_like = ON")


def state() -> tuple[Any, ...]:
    connection = connections[ALIAS]
    with connection.cursor() as cursor:
        cursor.execute("SELECT 'a' LIKE 'A'")
        likes = cursor.fetchone()[0]
    schema = vars(connection).get("schema_name")
    return schema, len(connection.execute_wrappers), connection.autocommit, likes


@pytest.mark.once
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("alter", [set_schema, append_wrapper, open_transaction, alter_session])
def test_an_attempt_that_alters_a_connection_has_its_thread_alone(alter, monkeypatch):
    Cleaning()  # from now on, connections are watched
    monkeypatch.setattr(sync_threads, "MOST", 1)
    threads = SyncThreads()
    numbers: dict[str, int] = {}

    def called(name: str, function: Callable[[], Any]) -> Any:
        numbers[name] = threading.get_ident()
        return function()

    async def attempt(altered: asyncio.Event, read: asyncio.Event) -> Any:
        async with threads.lend():
            await sync_to_async(called)("first", state)
            await sync_to_async(called)("altered", alter)
            altered.set()
            await read.wait()
            return await sync_to_async(called)("own", state)

    async def other(altered: asyncio.Event, read: asyncio.Event) -> Any:
        async with threads.lend():
            before = await sync_to_async(called)("before", state)
            await altered.wait()
            after = await sync_to_async(called)("after", state)
            assert after == before
        # Its end has cleaned nothing of the other attempt's.
        read.set()
        return before

    async def main() -> tuple[Any, Any, Any]:
        altered, read = asyncio.Event(), asyncio.Event()
        own, before = await asyncio.gather(attempt(altered, read), other(altered, read))
        async with threads.lend():
            return own, before, await sync_to_async(called)("next", state)

    try:
        own, before, following = asyncio.run(main())
    finally:
        for thread in threads.threads:
            thread.submit(connections.close_all).result()
            thread.shutdown()
    assert numbers["first"] == numbers["before"] == numbers["altered"] == numbers["own"]
    assert numbers["after"] != numbers["altered"]
    assert own != before == following


@pytest.mark.django_db(transaction=True)
def test_a_session_of_a_thread_that_has_ended_is_closed_on_an_event_loop():
    left = []

    def work():
        connections["default"].ensure_connection()
        left.append(connections["default"])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    async def close():
        close_session(left[0])

    asyncio.run(close())
    assert left[0].connection is None
