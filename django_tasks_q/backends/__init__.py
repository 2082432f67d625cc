"""What ``TASKS[alias]["BACKEND"]`` may name."""

from .database import DatabaseBackend
from .testing import DummyBackend, ImmediateBackend

__all__ = ["DatabaseBackend", "DummyBackend", "ImmediateBackend"]
