"""The main function of the processes that the fork server starts. They do not use the job table."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from ... import compat
from ...backends import DatabaseBackend
from ...execution.cleaning import start_anew
from ...execution.runner import Runner
from ...executors import Kind, executor_class
from ...forks import OneProcess
from ..streams import dump_stack_on_quit
from .child_side import ChildSide
from .event_loop import AsyncChildSide
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
    dump_stack_on_quit()
    start_anew()
    backend = compat.task_backends[config["backend"]]
    assert isinstance(backend, DatabaseBackend)  # noqa: S101 - the supervisor has checked it
    with OneProcess():
        executor = executor_class(config["executor"])()
        executor.start()
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
        child.runner.resolver.close()
