"""Workers in programs that do other things as well: by a function, and beside an ASGI application."""

from .asgi import WithWorker
from .run import run_worker

__all__ = ["WithWorker", "run_worker"]
