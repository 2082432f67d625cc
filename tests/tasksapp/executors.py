"""An executor as a project would write one."""

import time

from django_tasks_q.executors import ProcessExecutor


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
