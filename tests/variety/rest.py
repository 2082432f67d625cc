"""A client of the REST API, which asks at every address there is, and writes down the answers."""

from __future__ import annotations

import io
import json
import re
import traceback
from collections.abc import Iterator
from contextlib import redirect_stderr
from datetime import timedelta
from typing import Any

from django.core.cache import cache
from django.core.signals import got_request_exception

from django_tasks_q.api import urls

from .seeds import Seeds

TASK = "tests.variety.orders.tasks.ship"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?")
#: What depends on when it is asked.
AGES = re.compile(r'("oldest_ready_age": ?)\d+(\.\d+)?(e[-+]\d+)?')
#: Bodies that are understood; everything else is sent an empty one, and then this one, which is not.
NONSENSE = {"nonsense": 1}


def routes() -> Iterator[tuple[str, Any]]:
    """Each address of the API with its view, as it is written in ``urls``."""
    for pattern in urls._v1:
        yield str(pattern.pattern), pattern.callback


class Client:
    """Asks as a superuser, at addresses below a prefix."""

    def __init__(
        self,
        client: Any,
        prefix: str,
        seeds: Seeds,
        strip: str = "",
        *,
        is_long: bool = False,
        **headers: str,
    ) -> None:
        self.client = client
        self.prefix = prefix
        self.strip = strip
        self.seeds = seeds
        self.headers = headers
        #: One that runs, one that has succeeded, and one that has failed; or the last one alone.
        self.chosen = seeds.jobs[3:6] if is_long else seeds.jobs[5:6]
        self.known = {str(id) for id in (*seeds.jobs, *seeds.workers)}
        self.answers: dict[str, Any] = {}
        self.problems: list[str] = []
        self._error = ""

    def ask(self, *, acting: bool = True) -> None:
        """Everything by GET, and then what changes something."""
        got_request_exception.connect(self._keep_error)
        try:
            for route, view in routes():
                for path in self._paths(route):
                    self._get(path, view)
            self._lists()
            if acting:
                self._act()
        finally:
            got_request_exception.disconnect(self._keep_error)

    def _keep_error(self, **more: Any) -> None:
        self._error = traceback.format_exc()[-3000:]

    def _paths(self, route: str) -> list[str]:
        """The addresses of a route, with ids and names of rows that are there, and with one that is not."""
        if "<str:pk>" in route:
            ids = self.seeds.workers[:2] if route.startswith("workers/") else self.chosen
            return [route.replace("<str:pk>", str(id)) for id in (*ids, "no-id")]
        if "<django_tasks_q_name:name>" not in route:
            return [route]
        names = {
            "queues": ["mails", "a queue/of all"],
            "schedules": ["nightly", "hourly", "disabled", "retired"],
            "tasks": [TASK],
        }[route.partition("/")[0]]
        return [route.replace("<django_tasks_q_name:name>", name) for name in (*names, "no name")]

    def _get(self, path: str, view: Any) -> None:
        methods = {method.upper() for method in view.cls.http_method_names if hasattr(view.cls, method)}
        if "GET" in methods and not path.endswith("/schema/") and not path.startswith("schema"):
            self._ask("GET", path)
        elif path.startswith("schema"):
            self._ask("GET", path, keep=False)  # tells of the project

    def _lists(self) -> None:
        after = (self.seeds.now - timedelta(days=50)).isoformat().replace("+00:00", "Z")
        for query in (
            "status=FAILED",
            "status=NONSENSE",
            "page_size=3",
            "format=json",
            "queue=mails",
            f"tag=warehouse&enqueued_after={after}",
            "tag=warehouse",
            "enqueued_before=31.01.2026",
            f"enqueued_before={after}",
            "schedule=nightly",
            "ordering=id",
            "page=2",
            "search=x",
        ):
            self._ask("GET", f"jobs/?{query}")
        self._ask("GET", "jobs/", HTTP_ACCEPT="application/xml")
        self._ask("GET", "jobs/", HTTP_ACCEPT="application/json; version=2")
        self._ask("GET", "jobs/", anonymous=True)
        self._ask("GET", "stats/?hours=0")
        self._ask("GET", f"jobs/{self.seeds.jobs[4]}/?wait=1", HTTP_IF_NONE_MATCH='"x"')

    def _act(self) -> None:
        later = (self.seeds.now + timedelta(days=3)).isoformat().replace("+00:00", "Z")
        bodies: dict[str, Any] = {
            "reschedule": {"at": later},
            "change": {"priority": 7, "queue": "mails"},
            "limit": {"max_running": 5},
            "pause": {"until": later, "reason": "why"},
            "retry": {"at": later},
            "enqueue": {"order": 1, "weight": "2.50", "at": later},
            "save": {"task": TASK, "arguments": {"order": 1}, "cron": "0 3 * * *", "timezone": "UTC"},
            "run-again": {"arguments": {"order": 2}},
        }
        for route, view in routes():
            if not hasattr(view.cls, "post"):
                continue
            path = ""
            verb = route.rstrip("/").rpartition("/")[2]
            for path in self._paths(route):
                if path.startswith("jobs/bulk/"):
                    bulk = {"filter": {"queue": "no queue", "enqueued_after": later}, "dry_run": True}
                    self._ask("POST", path, {**bulk, **bodies.get(verb, {})})
                else:
                    self._ask("POST", path, bodies.get(verb, {}))
            self._ask("POST", path, NONSENSE)
        self._ask("POST", f"tasks/{TASK}/enqueue/", {"order": "1"})
        self._ask("POST", f"tasks/{TASK}/enqueue/", [1])
        self._ask("POST", f"jobs/{self.seeds.jobs[0]}/retry/", {"at": "31.01.2026"})
        self._ask("POST", f"jobs/{self.seeds.jobs[0]}/change/", {})
        self._ask("POST", "schedules/new/save/", {"task": TASK, "arguments": {"order": 1}})
        for route in ("jobs/", "queues/", "schedules/", "workers/"):
            self._ask("GET", route)

    def _ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        keep: bool = True,
        anonymous: bool = False,
        **more: Any,
    ) -> None:
        cache.clear()  # or the rates of requests would count
        self._error = ""
        place = f"{self.prefix.removeprefix(self.strip)}v1/{path}"
        given: dict[str, Any] = {"secure": True, **({} if anonymous else self.headers), **more}
        client = type(self.client)(raise_request_exception=False) if anonymous else self.client
        if method == "POST":
            given |= {"data": json.dumps(body), "content_type": "application/json"}
        with redirect_stderr(io.StringIO()):  # where the schema's generator wonders at a project's classes
            response = getattr(client, method.lower())(place.replace(" ", "%20"), **given)
        told = f"{method} {path} {json.dumps(body) if body is not None else ''} {more or ''}".rstrip()
        content = b"".join(_parts(response)) if response.streaming else response.content
        if response.headers.get("Content-Encoding") == "gzip":
            import gzip

            content = gzip.decompress(content)
        if response.status_code >= 500 and not (path == "health/" and response.status_code == 503):
            self.problems.append(f"{told}: {response.status_code}\n{self._error}")
        if keep:
            number = sum(key.startswith(told) for key in self.answers)
            # How strangers are turned away is up to the project's own way of telling who somebody is.
            is_refused = anonymous and response.status_code in (401, 403)
            self.answers[f"{told} #{number}"] = {
                "status": "refused" if is_refused else response.status_code,
                "type": response.headers.get("Content-Type"),
                "location": self._alike(response.headers.get("Location", "")),
                "body": self._alike(content.decode()),
            }

    def _alike(self, text: str) -> str:
        """An answer without what differs from run to run: new ids, times from now on, and the prefix."""
        text = text.replace(f"https://testserver{self.prefix}", "https://testserver/api/tasks/")
        text = UUID.sub(lambda found: found[0] if found[0] in self.known else "NEW-ID", text)
        return AGES.sub(r"\g<1>0", MOMENT.sub(self._moment, text))

    def _moment(self, found: re.Match[str]) -> str:
        """What was written by this run keeps its shape alone."""
        # All that was there before are whole seconds.
        if not found[1]:
            return found[0]
        return f"NOW{found[0][10]}.f"


def _parts(response: Any) -> Iterator[bytes]:
    for part in response.streaming_content:
        yield part if isinstance(part, bytes) else part.encode()
