"""Receivers that note what they hear, and where."""

import atexit
import os
import sys
from contextvars import ContextVar
from typing import Any

from django.db import connection

from django_tasks_q import compat, signals

#: Set by tasks.
request_id: ContextVar[str] = ContextVar("request_id", default="none")


def note(line: str) -> None:
    with open(os.environ["NOTE"], "a") as file:  # noqa: PTH123 - one write a line
        file.write(line + "\n")


def _noted(name: str) -> Any:
    def receiver(sender: Any, task_result: Any, exception: Any = None, **kwargs: Any) -> None:
        note(f"{name} {task_result.id} {task_result.status} {type(exception).__name__} {request_id.get()}")

    return receiver


KEPT = {
    "finished": (compat.task_finished, _noted("finished")),
    "retrying": (signals.task_retrying, _noted("retrying")),
    "cancelled": (signals.task_cancelled, _noted("cancelled")),
    "lost": (signals.task_lost, _noted("lost")),
}


def connect() -> None:
    for signal, receiver in KEPT.values():
        signal.connect(receiver)


def use_the_database() -> None:
    """Be a receiver of ends that keeps the database busy for a while."""

    def receiver(sender: Any, **kwargs: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(1)")

    KEPT["busy"] = (compat.task_finished, receiver)
    compat.task_finished.connect(receiver)


def note_ends() -> None:
    """Note the starts and ends of processes, and exit functions that the parent of all has registered."""

    def of_child(name: str) -> Any:
        def receiver(sender: Any, executor: Any, backend: str, worker_id: str, **kwargs: Any) -> None:
            note(
                f"{name} {sender.__name__} {type(executor).__name__} {backend} {len(worker_id)} {os.getpid()}"
            )

        return receiver

    def of_worker(name: str) -> Any:
        def receiver(sender: Any, name_: str = name, **kwargs: Any) -> None:
            note(f"{name_} {sender.__name__} {kwargs['name']} {kwargs['backend']} {os.getpid()}")

        return receiver

    for name in ("child_started", "child_stopping"):
        KEPT[name] = (getattr(signals, name), of_child(name))
    for name in ("worker_started", "worker_stopped"):
        KEPT[name] = (getattr(signals, name), of_worker(name))
    for name in ("child_started", "child_stopping", "worker_started", "worker_stopped"):
        signal, receiver = KEPT[name]
        signal.connect(receiver)
    atexit.register(lambda: note(f"inherited {os.getpid()}"))


def trace() -> None:
    """Set up OpenTelemetry as projects do when they are loaded: before anything is forked."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Exporter(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            for span in spans:
                note(f"span {span.name}")
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Exporter(), schedule_delay_millis=60_000))
    trace.set_tracer_provider(provider)


def watch() -> None:
    """Set up Sentry, as projects do."""
    import sentry_sdk

    sentry_sdk.init(dsn=os.environ["SENTRY"], default_integrations="pytest" not in sys.modules)
