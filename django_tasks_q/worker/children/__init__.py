"""What runs in the processes that the fork server starts. None of them knows anything of the queue."""

from __future__ import annotations

from ... import compat
from ...backends import DatabaseBackend
from ...execution.runner import Runner
from ...executors import Executor, executor_class
from ...forks import OneProcess
from ..streams import dump_stack_on_quit
from .fork_server import Pipes


def main(pipes: Pipes, config: dict[str, str]) -> None:
    """The whole life of a child. ``config`` names backend, database, worker, executor and capacity."""
    dump_stack_on_quit()
    backend = compat.task_backends[config["backend"]]
    assert isinstance(backend, DatabaseBackend)  # noqa: S101 - the parent has checked it
    with OneProcess():
        executor = executor_class(config["executor"])()
        executor.start()
    runner = Runner(backend, config["worker_id"], executor=executor, database=config["database"])
    try:
        _run(pipes, runner, executor, int(config["capacity"]))
    finally:
        runner.resolver.close()


def _run(pipes: Pipes, runner: Runner, executor: Executor, capacity: int) -> None:
    match executor.kind:
        case "process":
            from .process import ProcessChild

            ProcessChild(pipes, runner).run()
        case "thread":
            from .thread import ThreadChild

            ThreadChild(pipes, runner, capacity).run()
        case "async":
            from .loop import LoopChild

            LoopChild(pipes, runner).run()
