"""An executor as a project would write one."""

import os
import time
from pathlib import Path

from django_tasks_q.executors import AsyncExecutor, ProcessExecutor, ThreadExecutor


class Shouting(ProcessExecutor):
    def start(self):
        self.started = "!"

    def call(self, function, args, kwargs):
        return super().call(function, args, kwargs).upper() + self.started


class NeverReady(ProcessExecutor):
    def start(self):
        time.sleep(600)


class Broken(ProcessExecutor):
    def start(self):
        raise RuntimeError("not today")


class Moody(ProcessExecutor):
    def start(self) -> None:
        if not Path(os.environ["MOOD"]).exists():
            raise RuntimeError("not in the mood")


class Tardy(ProcessExecutor):
    """Is in no hurry to start until somebody makes a file."""

    def start(self) -> None:
        while not Path(os.environ["GO"]).exists():
            time.sleep(0.01)


class TardyThreads(Tardy, ThreadExecutor):
    kind = "thread"


class TardyLoop(AsyncExecutor):
    start = Tardy.start
