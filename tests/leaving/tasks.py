"""Tasks that change what LINES names, and those that say how they find it."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connection, transaction

from django_tasks_q import task

from .lines import LINES


@task(executor="process")
def change_process(line: str) -> int:
    LINES[line].change()
    return os.getpid()


@task(executor="process")
def read_process(line: str) -> str:
    return repr(LINES[line].read())


@task(executor="thread")
def change_thread(line: str) -> int:
    LINES[line].change()
    return os.getpid()


@task(executor="thread")
def read_thread(line: str) -> str:
    return repr(LINES[line].read())


@task
async def change_async(line: str) -> int:
    LINES[line].change()
    return os.getpid()


@task
async def read_async(line: str) -> str:
    return repr(LINES[line].read())


_pools: list[ProcessPoolExecutor] = []


@task
def use_pool() -> list[int]:
    """Use a pool of processes that a module keeps, as libraries do, and leave it open."""
    if not _pools:
        _pools.append(ProcessPoolExecutor(1, get_context("forkserver")))
    return [os.getpid(), _pools[0].submit(abs, -1).result(timeout=30)]


@task
def start_by_server() -> list[int]:
    """Start a process by the fork server of ``multiprocessing``, which goes on when the process has ended."""
    process = get_context("forkserver").Process(target=abs, args=(-1,))
    process.start()
    process.join(30)
    return [os.getpid(), -1 if process.exitcode is None else process.exitcode]


@task
def wait_for_process() -> int:
    """Start a process, and leave none: this one has ended, though its status is not fetched."""
    process = subprocess.Popen([sys.executable, "-S", "-c", ""], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    return os.getpid()


_threads = ThreadPoolExecutor(1)


def _query(*statements: str) -> Any:
    """Return the number of the session, and what the last statement has returned."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        session = cursor.fetchone()[0]
        for statement in statements:
            cursor.execute(statement)
        return [session, cursor.fetchone()[0] if cursor.description else None]


def _in_block(*statements: str) -> Any:
    """Query in a transaction that is never ended."""
    transaction.set_autocommit(False)
    return _query(*statements)


async def _aquery(how: str, query: Callable[..., Any], statements: tuple[str, ...]) -> Any:
    match how:
        case "to_thread":
            return await asyncio.to_thread(query, *statements)
        case "insensitive":
            return await sync_to_async(query, thread_sensitive=False)(*statements)
    return await sync_to_async(query)(*statements)


def _query_by(how: str, statements: tuple[str, ...]) -> Any:
    query = _in_block if "BEGIN" in statements else _query
    statements = tuple(statement for statement in statements if statement != "BEGIN")
    if how == "pool":
        return _threads.submit(query, *statements).result()
    return asyncio.run(_aquery(how, query, statements))


@task(executor="process")
def query_process(how: str, *statements: str) -> Any:
    return _query_by(how, statements)


@task(executor="thread")
def query_thread(how: str, *statements: str) -> Any:
    return _query_by(how, statements)


@task
async def query_async(how: str, *statements: str) -> Any:
    query = _in_block if "BEGIN" in statements else _query
    return await _aquery(how, query, tuple(one for one in statements if one != "BEGIN"))


@task(executor="process")
def alter_session(how: str) -> None:
    """Change a setting in a way that no text of a statement shows."""
    connection.ensure_connection()
    match how:
        case "driver":
            connection.connection.execute("SET TIME ZONE 'Pacific/Chatham'")
        case "procedure":
            with connection.cursor() as cursor:
                cursor.callproc("set_config", ["statement_timeout", "12s", "false"])
        case "function":
            _query("SELECT alter_time_zone()")
