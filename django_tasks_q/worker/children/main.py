"""The main function of the processes that the fork server starts. They do not use the job table."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial

from django.db import connections
from django.dispatch import Signal

from ... import compat, signals
from ...backends import DatabaseBackend
from ...execution.cleaning import start_anew
from ...execution.runner import Runner
from ...executors import Executor, Kind, executor_class
from ...forks import OneProcess
from ..streams import dump_stack_on_quit
from .child_side import ChildSide
from .event_loop import AsyncChildSide
from .exits import ExitFunctions, flush_libraries, run_steps
from .fork_server import Pipes
from .process import ProcessChildSide
from .thread import ThreadChildSide

CHILD_SIDES: dict[Kind, type[ChildSide]] = {
    "process": ProcessChildSide,
    "thread": ThreadChildSide,
    "async": AsyncChildSide,
}


def main(pipes: Pipes, config: dict[str, str]) -> None:
    """Run a child from its start to its end.

    ``config`` names backend, database, worker, executor and capacity.
    """
    exit_functions = ExitFunctions()
    dump_stack_on_quit()
    start_anew()
    backend = compat.task_backends[config["backend"]]
    assert isinstance(backend, DatabaseBackend)  # noqa: S101 - the supervisor has checked it
    with OneProcess():
        executor = executor_class(config["executor"])()
        executor.start()
        announce = partial(_announce, executor, config)
        announce(signals.child_started)
    make_runner = partial(
        Runner, backend, config["worker_id"], executor=executor, database=config["database"]
    )
    child = CHILD_SIDES[executor.kind](pipes, make_runner, int(config["capacity"]))
    child.runner.watch_process()
    try:
        # Without the supervisor its claim on these jobs is gone too, and with it all that the child is for.
        with suppress(EOFError, BrokenPipeError, ConnectionResetError):
            child.run()
    finally:
        run_steps(
            (
                partial(announce, signals.child_stopping),
                child.runner.resolver.close,
                executor.stop,
                flush_libraries,
                exit_functions.run,
                logging.shutdown,
            )
        )


def _announce(executor: Executor, config: dict[str, str], signal: Signal) -> None:
    """Send a signal of this process. Its receivers may have used the database."""
    if signal.receivers:
        signal.send_robust(
            type(executor), executor=executor, backend=config["backend"], worker_id=config["worker_id"]
        )
        connections.close_all()
