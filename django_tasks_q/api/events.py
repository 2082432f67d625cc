"""The changes of a job as server-sent events."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import StreamingHttpResponse
from django.utils.translation import gettext_lazy as _
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.utils.encoders import JSONEncoder

from ..access import database
from ..lifecycle.states import FINAL
from ..models import LogLine
from ..models.job import JobQuerySet
from ..results.waiter import waker
from ..storage import (
    JobWatch,
    brief_session,
    close_sessions,
    is_in_transaction,
    storage_for,
    watcher_for,
)
from .jobs import ID, JobView
from .openapi import described
from .permissions import may_see_payload
from .renderers import JSON
from .serializers import JobSerializer, LogLineSerializer, Payload, ProgressSerializer

#: Seconds between two queries: after a change, and at most while nothing changes.
MIN_PAUSE, MAX_PAUSE = 0.25, 1.0
#: Seconds after which a stream ends. The browser reconnects, and its permissions are checked again.
MAX_AGE = 300.0
#: Seconds without an event after which a comment keeps proxies from closing the connection.
KEEPALIVE = 15.0
#: The most log lines of one query.
MAX_LINES = 100
#: Milliseconds after which the browser reconnects: after a stream, and after a single response (WSGI).
RETRY, POLL = 1000, 2000


EVENT = {
    "type": "object",
    "properties": {
        "event": {"type": "string", "description": _("status, progress, log or end.")},
        "data": {"type": "string", "description": "JSON."},
        "id": {"type": "string"},
        "retry": {"type": ["string", "integer"]},
    },
}


class EventStream(BaseRenderer):
    """Only for content negotiation, since a stream is not rendered. Errors are rendered as JSON."""

    media_type = "text/event-stream"
    format = "events"
    charset = "utf-8"

    def render(self, data: Any, accepted_media_type: Any = None, renderer_context: Any = None) -> bytes:
        return JSON().render(data)


class JobEvents(JobView):
    """The status, the progress and the new log lines of a job, each time that they change.

    Under WSGI the stream ends after the present state, and browsers reconnect by themselves.
    """

    renderer_classes: Any = (JSON, EventStream)

    @described(
        "jobs_events",
        responses={(200, "text/event-stream"): EVENT},  # type: ignore[dict-item]  # drf-spectacular's own type
        parameters=(
            ID,
            ("Last-Event-ID", str, "header", _("The id of the last event that was received.")),
        ),
        tag="jobs",
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> StreamingHttpResponse:
        id = self.job(self.jobs().without_payload()).id
        snapshot = Snapshot(
            self.jobs(), id, may_see_payload(request), request.headers.get("Last-Event-ID", "")
        )
        is_async = isinstance(request._request, ASGIRequest)
        content = stream(snapshot) if is_async else single_response(snapshot)
        response = StreamingHttpResponse(content, content_type="text/event-stream; charset=utf-8")
        response.headers["X-Accel-Buffering"] = "no"  # nginx would buffer the events
        return response


class Snapshot:
    """The state of one job that was sent last. Each query returns what has changed since."""

    def __init__(self, jobs: JobQuerySet, id: UUID, payload: bool, last_event: str) -> None:
        self._jobs, self._id, self._payload = jobs, id, payload
        #: The response is sent when the request is over, and with it the choice of a backend.
        self._database = database()
        self._sent: dict[str, str] = {}
        self._last_line = int(last_event[:18]) if last_event[:18].isdecimal() and last_event.isascii() else 0
        self.is_over = False

    def events(self) -> list[str]:
        """Query the job and return the events to send. There are no more once ``is_over`` is true."""
        # The arguments are needed to mask the secrets that they contain.
        jobs = self._jobs.defer("options", "result", "metadata").select_related("progress")
        job = jobs.filter(id=self._id).first()
        if job is None:
            self.is_over = True
            return [event("end", {"status": None})]
        payload = Payload(job)
        context = {"masks": payload, **({"payload": payload} if self._payload else {})}
        found = self._changed("status", JobSerializer(job).data)
        progress = getattr(job, "progress", None)
        if progress is not None:
            found += self._changed("progress", ProgressSerializer(progress, context=context).data)
        is_whole = True
        if self._payload:
            lines = LogLine.objects.using(job._state.db).filter(job_id=job.id, id__gt=self._last_line)
            new = list(lines.order_by("id")[:MAX_LINES])
            found += [event("log", LogLineSerializer(line, context=context).data, line.id) for line in new]
            if new:
                self._last_line, is_whole = new[-1].id, len(new) < MAX_LINES
        if job.status in FINAL and is_whole:
            self.is_over = True
            found.append(event("end", {"status": job.status}))
        return found

    def events_in_thread(self) -> list[str]:
        """Do the same in a thread, and close its sessions: streams take long, and there may be many."""
        try:
            with brief_session(self._database):
                return self.events()
        finally:
            close_sessions()

    def watch(self, wake: Callable[[], None]) -> JobWatch | None:
        """Have the job watched, with all others that streams show; None where this must be polled here."""
        storage = storage_for(self._database)
        connection = storage.session.connection
        if storage.session.is_private or (
            connection.connection is not None and is_in_transaction(connection)
        ):
            return None
        # Without notifications of its end: a stream shows each change, and these are polled anyway.
        return watcher_for(storage).watch("", self._id, wake, notify=False, changes=True)

    def _changed(self, name: str, data: Any) -> list[str]:
        text = event(name, data)
        if self._sent.get(name) == text:
            return []
        self._sent[name] = text
        return [text]


def event(name: str, data: Any, id: int | None = None) -> str:
    """Return the text of an event. JSON has no line breaks, so there is one line of data."""
    text = json.dumps(data, cls=JSONEncoder)
    return f"event: {name}\n" + (f"id: {id}\n" if id is not None else "") + f"data: {text}\n\n"


def single_response(snapshot: Snapshot) -> Iterator[str]:
    """Generate the events of one query."""
    yield f"retry: {POLL}\n\n"
    yield from snapshot.events()


async def stream(snapshot: Snapshot) -> AsyncIterator[str]:
    """Generate events until the job has ended, or for at most MAX_AGE seconds."""
    yield f"retry: {RETRY}\n\n"
    started_at = sent_at = time.monotonic()
    changed = asyncio.Event()
    pause, watch = MIN_PAUSE, await sync_to_async(snapshot.watch)(waker(changed))
    try:
        while time.monotonic() - started_at < MAX_AGE:
            changed.clear()
            found = await sync_to_async(snapshot.events_in_thread)()
            now = time.monotonic()
            for text in found:
                yield text
            if snapshot.is_over:
                return
            if found:
                sent_at, pause = now, MIN_PAUSE
            elif now - sent_at > KEEPALIVE:
                sent_at = now
                yield ": still there\n\n"
            else:
                pause = min(pause * 1.5, MAX_PAUSE)
            await _sleep(watch, changed, pause, started_at + MAX_AGE, sent_at + KEEPALIVE)
    finally:
        if watch is not None:
            watch.close()


async def _sleep(watch: JobWatch | None, changed: asyncio.Event, pause: float, *ends: float) -> None:
    """Sleep until the job has changed, at most until the first of ``ends``.

    If nothing watches the job, sleep for ``pause``.
    """
    if watch is None:
        await asyncio.sleep(pause)
        return
    until = time.monotonic() + pause
    while (now := time.monotonic()) < min(ends) and not (now >= until and not watch.is_served):
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(MAX_PAUSE, min(ends) - now))):
                await changed.wait()
                return
