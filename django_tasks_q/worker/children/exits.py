"""The orderly end of a child: what runs before ``os._exit()``, and for how long at most."""

from __future__ import annotations

import atexit
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from ...forks import OneProcess, end_process, show_error
from ...loggers import robust_logger

logger = robust_logger("django_tasks_q.worker")

#: Seconds that all of it may take.
EXIT_TIMEOUT = 5.0
#: Seconds that one library has to send what it has buffered.
FLUSH_TIMEOUT = 3.0
#: Modules of OpenTelemetry, each with the function that returns what buffers.
_PROVIDERS = {
    "opentelemetry.trace": "get_tracer_provider",
    "opentelemetry.metrics": "get_meter_provider",
    "opentelemetry._logs": "get_logger_provider",
}


class ExitFunctions:
    """The exit functions of this process, without those of the processes that it was forked from.

    To be made right after the fork. The others belong to the process that registered them: run here as well,
    they would remove its temporary files, for example.
    """

    def __init__(self) -> None:
        # There is no public way; multiprocessing does the same in the processes that it forks.
        private: Any = atexit
        private._clear()
        self._inherited_finalizers = set(_finalizers())
        self._inherited_functions = len(_thread_functions())
        atexit.register(self._finalize)

    def run(self) -> None:
        """Run them, the last one first."""
        for function in reversed(_thread_functions()[self._inherited_functions :]):
            with suppress(Exception):
                function()
        private: Any = atexit
        private._run_exitfuncs()

    def _finalize(self) -> None:
        for finalizer in reversed(_finalizers()):
            if finalizer.atexit and finalizer not in self._inherited_finalizers:
                try:
                    finalizer()
                except Exception:
                    show_error()


def _finalizers() -> list[weakref.finalize[..., Any]]:
    """Return those of ``weakref.finalize`` that are alive, the oldest first."""
    private: Any = weakref.finalize
    return list(private._registry)


def _thread_functions() -> list[Callable[[], object]]:
    """Return what ``threading`` calls before it waits for threads."""
    return list(getattr(threading, "_threading_atexits", ()))


def flush_libraries() -> None:
    """Make Sentry and OpenTelemetry send what they have buffered, where they are in use.

    Where they were set up before the fork, so were their exit functions.
    """
    sentry: Any = sys.modules.get("sentry_sdk")
    if sentry is not None:
        sentry.flush(FLUSH_TIMEOUT)
    for name, function in _PROVIDERS.items():
        module = sys.modules.get(name)
        provider = None if module is None else getattr(module, function)()
        if (flush := getattr(provider, "force_flush", None)) is not None:
            flush(int(FLUSH_TIMEOUT * 1000))


def run_steps(steps: Iterable[Callable[[], object]]) -> None:
    """Run each step, whatever the others raise. If they take too long together, the process ends."""
    with suppress(RuntimeError):  # where there can be no thread more, the supervisor kills the process
        threading.Thread(target=_give_up, daemon=True).start()
    for step in steps:
        try:
            with OneProcess():
                step()
        except BaseException:
            logger.exception("A child process goes on with its end after an error")


def _give_up() -> None:
    time.sleep(EXIT_TIMEOUT)
    with suppress(Exception):
        logger.warning("A child process ends, since its exit functions took longer than %g s.", EXIT_TIMEOUT)
    end_process(0)
