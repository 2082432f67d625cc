"""A worker beside an ASGI application: started when the server starts, and stopped when it stops."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from ..management.commands.runworker import Command
from ..worker.beside import WorkerBeside

logger = logging.getLogger("django_tasks_q.worker")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class WithWorker:
    """An ASGI application with a worker beside it, for small sites.

    ``arguments`` are the flags of ``runworker``::

        application = WithWorker(get_asgi_application(), "--processes", "2")

    At the start of the lifespan the worker is started as a child process, and at its end it is stopped and
    waited for. The startup fails if the worker cannot be started. Each process of the server has a separate
    lifespan, and so a separate worker.

    A server that sends no lifespan starts no worker. The first request then logs an error.

    Raises CommandError for flags that ``runworker`` does not accept.
    """

    def __init__(self, application: Application, *arguments: str) -> None:
        Command().create_parser("django", "tasksworker").parse_args(arguments)  # raises CommandError
        self.application = application
        self.arguments: Sequence[str] = arguments
        self._worker: WorkerBeside | None = None
        self._has_lifespan = self._has_complained = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            self._has_lifespan = True
            await self._lifespan(receive, send)
            return
        if not self._has_lifespan and not self._has_complained:
            self._has_complained = True
            logger.error(
                "This ASGI server sends no lifespan events, so that no worker was started: jobs are not run. "
                "Turn them on in the server, or start manage.py runworker beside it."
            )
        await self.application(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        # The application has none: Django's raises for this type of scope.
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    self._start()
                except (OSError, RuntimeError) as error:
                    await send({"type": "lifespan.startup.failed", "message": f"No worker: {error}"})
                    return
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await asyncio.to_thread(self._stop)
                await send({"type": "lifespan.shutdown.complete"})
                return

    def _start(self) -> None:
        if "DJANGO_SETTINGS_MODULE" not in os.environ:
            raise RuntimeError("DJANGO_SETTINGS_MODULE is not set, by which the worker finds the settings.")
        self._worker = WorkerBeside(
            [sys.executable, "-m", "django", "tasksworker", *self.arguments],
            _complain,
            {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )

    def _stop(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.request_stop()
            worker.wait()


def _complain(status: int) -> None:
    logger.error("The worker beside the ASGI application has ended with status %d.", status)
