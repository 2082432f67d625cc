"""``runworker`` under a name that no other package uses: Channels has a command of that name too."""

from .runworker import Command

__all__ = ["Command"]
