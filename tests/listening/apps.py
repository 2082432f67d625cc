import os
from pathlib import Path

from django.apps import AppConfig

from django_tasks_q import compat


def listen(signal, task_result, **kwargs) -> None:
    kind = "started" if signal is compat.task_started else "finished"
    with Path(os.environ["HEARD"]).open("a") as heard:
        heard.write(f"{kind} {task_result.id} {task_result.status} {os.getpid()}\n")


class Listening(AppConfig):
    name = "tests.listening"

    def ready(self) -> None:
        compat.task_started.connect(listen)
        compat.task_finished.connect(listen)
