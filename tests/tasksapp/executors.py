"""An executor as a project would write one."""

from django_tasks_q.executors import ProcessExecutor


class Shouting(ProcessExecutor):
    def start(self):
        self.started = "!"

    def call(self, function, args, kwargs):
        return super().call(function, args, kwargs).upper() + self.started
