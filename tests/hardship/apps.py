import atexit
import json
import os
import resource
import signal
import time
from importlib import import_module
from pathlib import Path

from django.apps import AppConfig
from django.db import connections

from django_tasks_q.failpoints import install

from .intervals import set_intervals


def linger(mark: Path, go: Path) -> None:
    """Keep the interpreter from ending until there is a file; say what SIGTERM would do."""
    mark.write_text(repr(signal.getsignal(signal.SIGTERM)))
    while not go.exists():
        time.sleep(0.01)


class Hardship(AppConfig):
    name = "tests.hardship"

    def ready(self) -> None:
        """Do what the environment says in HARDSHIP."""
        wanted = json.loads(os.environ.get("HARDSHIP", "{}"))
        connections.settings["default"]["OPTIONS"].update(wanted.get("options", {}))
        connections.settings["default"].update(wanted.get("database", {}))
        for path, value in wanted.get("constants", {}).items():
            module, _, name = path.rpartition(".")
            place = import_module(module)
            getattr(place, name)  # a name that is gone would change nothing
            setattr(place, name, value)
        set_intervals(wanted.get("intervals", {}))
        if paths := wanted.get("linger"):
            atexit.register(linger, *map(Path, paths))
        if descriptors := wanted.get("descriptors"):
            _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))
        if executor := wanted.get("executor"):  # for all tasks, as in a project that knows no other
            groups = import_module("django_tasks_q.worker.executor_groups")
            groups.executor_of = lambda task, settings: executor
        if path := wanted.get("claims"):

            def count(step: str) -> None:
                if step == "claim.sending":
                    with Path(path).open("a") as file:
                        file.write(".")

            install(count)
        if wanted.get("connect"):
            for connection in connections.all():
                connection.ensure_connection()
