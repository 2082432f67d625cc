"""``runworker`` under a name that no other package uses. Channels, for one, has a ``runworker`` too."""

from .runworker import Command

__all__ = ["Command"]
