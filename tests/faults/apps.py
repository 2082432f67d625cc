import os

from django.apps import AppConfig


class Faults(AppConfig):
    name = "tests.faults"

    def ready(self) -> None:
        equip()


def equip() -> None:
    """Do to this process what its environment says."""
    from django_tasks_q import failpoints
    from django_tasks_q.worker.children import process

    from ..hardship.intervals import set_intervals
    from .mutations import remove
    from .points import Points

    # Once: what the nursery does to itself, its forks have as well.
    if text := os.environ.pop("FAILPOINTS", ""):
        failpoints.install(Points.read(text, os.environ["FAILPOINT_MARKS"]))
    if text := os.environ.pop("WITHOUT", ""):
        remove(*text.split(","))
    process.START_TIMEOUT = float(os.environ.get("START_TIMEOUT", process.START_TIMEOUT))
    if seconds := os.environ.get("PRUNE_EVERY"):
        set_intervals({"prune": float(seconds)})
