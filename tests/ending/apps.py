"""An app for processes in trouble: a log that cannot be written, and a system that has no process left."""

import errno
import json
import logging
import os
from typing import Any

from django.apps import AppConfig


class Unreachable(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise RuntimeError("the log cannot be written")


def refuse_forks(*, of_server: bool) -> None:
    """Let no process fork, or only this one: its fork server cannot then."""
    fork, here = os.fork, os.getpid()

    def refuse() -> int:
        if of_server and os.getpid() == here:
            return fork()
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    os.fork = refuse


def fail_at_progress() -> None:
    """Let the supervisor fail when a task reports its progress, as by a mistake in its code."""
    from django_tasks_q.worker.subscribers.progress import ProgressBuffer

    def append(buffer: object, update: object) -> None:
        raise RuntimeError("a mistake")

    ProgressBuffer.append = append


def fail_at_second_fork() -> None:
    """Let the fork server fail when it is to fork a second child."""
    from django_tasks_q.worker.children.fork_server import _Server

    fork = _Server._fork

    def fork_once(server: _Server, *arguments: Any) -> None:
        if server.children:
            raise RuntimeError("a mistake")
        fork(server, *arguments)

    _Server._fork = fork_once


class Ending(AppConfig):
    name = "tests.ending"

    def ready(self) -> None:
        """Do what the environment says in TROUBLE."""
        wanted = json.loads(os.environ.get("TROUBLE", "[]"))
        if "log" in wanted:
            logging.getLogger("django_tasks_q").addHandler(Unreachable())
        if "fork server" in wanted:
            fail_at_second_fork()
        if "progress" in wanted:
            fail_at_progress()
        if "forks" in wanted:
            refuse_forks(of_server=False)
        if "forks of children" in wanted:
            refuse_forks(of_server=True)
