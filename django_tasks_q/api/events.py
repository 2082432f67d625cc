"""A job as it goes on, as server-sent events."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db import connections
from django.http import StreamingHttpResponse
from django.utils.translation import gettext_lazy as _
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.utils.encoders import JSONEncoder

from ..access import database
from ..lifecycle.states import FINAL
from ..models import LogLine
from ..models.job import JobQuerySet
from .jobs import ID, JobView
from .openapi import described
from .permissions import may_see_payload
from .renderers import JSON
from .serializers import JobSerializer, LogLineSerializer, Payload, ProgressSerializer

#: Seconds between two looks at the job: at first, and at most while nothing changes.
SOON, LATER = 0.25, 1.0
#: Seconds after which a stream ends, and the browser asks anew: with its permissions of then.
LONGEST = 300.0
#: Seconds of silence after which a comment keeps proxies from closing the connection.
SILENCE = 15.0
#: Lines of the log that one look takes along.
LINES = 100
#: Milliseconds after which the browser asks anew: after a whole stream, and where each answer is one look.
AGAIN, POLL = 1000, 2000


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
    """For the negotiation only: what is streamed is no data to be rendered. Errors are, as JSON."""

    media_type = "text/event-stream"
    format = "events"
    charset = "utf-8"

    def render(self, data: Any, accepted_media_type: Any = None, renderer_context: Any = None) -> bytes:
        return JSON().render(data)


class JobEvents(JobView):
    """The status, the progress and the log lines of a job, each when it is news.

    Under WSGI the stream ends after one look, and browsers ask anew by themselves.
    """

    renderer_classes: Any = (JSON, EventStream)

    @described(
        "jobs_events",
        responses={(200, "text/event-stream"): EVENT},  # type: ignore[dict-item]  # of drf-spectacular's own
        parameters=(
            ID,
            ("Last-Event-ID", str, "header", _("The id of the last event that was received.")),
        ),
        tag="jobs",
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> StreamingHttpResponse:
        id = self.job(self.jobs().without_payload()).id
        look = Look(self.jobs(), id, may_see_payload(request), request.headers.get("Last-Event-ID", ""))
        is_async = isinstance(request._request, ASGIRequest)
        content = stream(look) if is_async else once(look)
        response = StreamingHttpResponse(content, content_type="text/event-stream; charset=utf-8")
        response.headers["X-Accel-Buffering"] = "no"  # for nginx, which would collect the events
        return response


class Look:
    """What is new about one job since the last look."""

    def __init__(self, jobs: JobQuerySet, id: UUID, payload: bool, last_event: str) -> None:
        self._jobs, self._id, self._payload = jobs, id, payload
        self._told: dict[str, str] = {}
        self._line = int(last_event[:18]) if last_event[:18].isdecimal() and last_event.isascii() else 0
        self.is_over = False

    def events(self) -> list[str]:
        """The events to send now. None follow once ``is_over`` is true."""
        # The arguments are read for the secrets that are in them.
        jobs = self._jobs.defer("options", "result", "metadata").select_related("progress")
        job = jobs.filter(id=self._id).first()
        if job is None:
            self.is_over = True
            return [event("end", {"status": None})]
        payload = Payload(job)
        context = {"masks": payload, **({"payload": payload} if self._payload else {})}
        found = self._news("status", JobSerializer(job).data)
        progress = getattr(job, "progress", None)
        if progress is not None:
            found += self._news("progress", ProgressSerializer(progress, context=context).data)
        is_whole = True
        if self._payload:
            lines = LogLine.objects.using(job._state.db).filter(job_id=job.id, id__gt=self._line)
            new = list(lines.order_by("id")[:LINES])
            found += [event("log", LogLineSerializer(line, context=context).data, line.id) for line in new]
            if new:
                self._line, is_whole = new[-1].id, len(new) < LINES
        if job.status in FINAL and is_whole:
            self.is_over = True
            found.append(event("end", {"status": job.status}))
        return found

    def fresh(self) -> list[str]:
        """The same from another thread, which gives its connection back: streams are long, and many."""
        try:
            return self.events()
        finally:
            connection = connections[database()]
            if not connection.in_atomic_block:
                connection.close()

    def _news(self, name: str, data: Any) -> list[str]:
        text = event(name, data)
        if self._told.get(name) == text:
            return []
        self._told[name] = text
        return [text]


def event(name: str, data: Any, id: int | None = None) -> str:
    """One event of the stream. JSON has no line breaks of its own, so one line of data does."""
    text = json.dumps(data, cls=JSONEncoder)
    return f"event: {name}\n" + (f"id: {id}\n" if id is not None else "") + f"data: {text}\n\n"


def once(look: Look) -> Iterator[str]:
    """One look at the job."""
    yield f"retry: {POLL}\n\n"
    yield from look.events()


async def stream(look: Look) -> AsyncIterator[str]:
    """Looks until the job has ended, or the stream is old."""
    yield f"retry: {AGAIN}\n\n"
    began = spoke = time.monotonic()
    pause = SOON
    while time.monotonic() - began < LONGEST:
        found = await sync_to_async(look.fresh)()
        now = time.monotonic()
        for text in found:
            yield text
        if look.is_over:
            return
        if found:
            spoke, pause = now, SOON
        elif now - spoke > SILENCE:
            spoke = now
            yield ": still there\n\n"
        else:
            pause = min(pause * 1.5, LATER)
        await asyncio.sleep(pause)
