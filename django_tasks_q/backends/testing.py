"""Django's own backends for tests and development, for tasks that carry our options."""

from .. import _framework as framework
from ..definition import Task


class ImmediateBackend(framework.ImmediateBackend):
    """Runs a task where it is enqueued."""

    task_class = Task


class DummyBackend(framework.DummyBackend):
    """Keeps what was enqueued in a list and runs nothing."""

    task_class = Task
