import os
import sys
import time
from pathlib import Path

from django.apps import AppConfig

from django_tasks_q import compat


def receive(signal, **kwargs) -> None:
    match os.environ.get("HOSTILE"):
        case "hang":
            while True:  # no single call, since none can be interrupted in a thread
                time.sleep(0.05)
        case "raise":
            raise ValueError("a receiver's error")
        case "exit":
            sys.exit(3)
        case "dawdle" if signal is compat.task_finished:
            time.sleep(0.5)
            with Path(os.environ["HEARD"]).open("a") as heard:
                heard.write(f"{os.getpid()}\n")


class Hostile(AppConfig):
    name = "tests.hostile"

    def ready(self) -> None:
        compat.task_started.connect(receive)
        compat.task_finished.connect(receive)
