"""Other intervals for the maintenance of a worker."""

from collections.abc import Mapping
from importlib import import_module


def set_intervals(intervals: Mapping[str, float]) -> None:
    """Give entries of the table, by name, other intervals in seconds. Raise KeyError for an unknown name."""
    loop = import_module("django_tasks_q.maintenance.loop")  # which needs models, that come later
    known = {entry.name: entry for entry in loop.TABLE}
    changed = {name: known[name]._replace(interval=seconds) for name, seconds in intervals.items()}
    loop.TABLE = tuple((known | changed).values())
