"""Run in our project by P15: requests of one user who is logged in, through all of Django but the socket."""

from __future__ import annotations

import io
import json
import sys
import time
from typing import Any

import django

ADDRESSES = {
    "bare": "/bare/",
    "permitted": "/permitted/",
    "open": "/api/v1/tasks/open/enqueue/",
    "ruled": "/api/v1/tasks/ruled/enqueue/",
}
#: Requests of one kind between those of the others.
SLICE = 50


def cookies() -> str:
    """Of a user whose permissions come from a group, as most people's do."""
    from django.contrib.auth.models import Group, Permission, User
    from django.test import Client

    user, _ = User.objects.get_or_create(username="user")
    group, _ = Group.objects.get_or_create(name="group")
    codenames = ("add_job", "view_job", "add_thing")
    group.permissions.set(Permission.objects.filter(codename__in=codenames))
    user.groups.add(group)
    client = Client()
    client.force_login(user)
    return f"sessionid={client.cookies['sessionid'].value}; csrftoken={'c' * 32}"


class Asking:
    """Requests to one address, and what they have taken so far."""

    def __init__(self, path: str, cookies: str) -> None:
        from django.core.handlers.wsgi import WSGIHandler
        from django.test import RequestFactory

        self.handler, self.path = WSGIHandler(), path
        self.environ = RequestFactory().generic("POST", path).environ
        self.environ |= {
            "HTTP_COOKIE": cookies,
            "HTTP_X_CSRFTOKEN": "c" * 32,
            "CONTENT_TYPE": "application/json",
        }
        self.count, self.wall, self.cpu = 0, 0.0, 0.0

    def ask(self, number: int) -> None:
        statuses: list[str] = []
        body = json.dumps({"number": number}).encode()
        own: dict[str, Any] = {"CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body)}
        response = self.handler({**self.environ, **own}, lambda status, headers, *_: statuses.append(status))
        b"".join(response)
        response.close()
        if statuses != ["202 Accepted"]:
            raise RuntimeError(f"{self.path}: {statuses}")

    def measure(self, count: int) -> None:
        begun, cpu = time.perf_counter(), time.process_time()
        for number in range(count):
            self.ask(number)
        self.wall += time.perf_counter() - begun
        self.cpu += time.process_time() - cpu
        self.count += count


def main(count: int) -> dict[str, dict[str, float]]:
    """By what is asked: requests a second, and seconds of the processor that each takes in this process.

    They take turns, so that whatever else the machine does meets them all.
    """
    known = cookies()
    asked = {name: Asking(path, known) for name, path in ADDRESSES.items()}
    for one in asked.values():
        for number in range(SLICE):
            one.ask(number)
    for _ in range(max(1, count // SLICE)):
        for one in asked.values():
            one.measure(SLICE)
    return {name: {"rate": one.count / one.wall, "cpu": one.cpu / one.count} for name, one in asked.items()}


if __name__ == "__main__":
    django.setup()
    print(json.dumps(main(int(sys.argv[1]))))
