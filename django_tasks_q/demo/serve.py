"""The admin, for a look at what a run left, with a login that lasts as long as it is served."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from django.contrib.auth.models import User
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler, get_internal_wsgi_application

from .report import say
from .trouble import Trouble

HOST = "127.0.0.1"


@contextmanager
def reserved(port: int | None) -> Iterator[ThreadedWSGIServer | None]:
    """A server that has its port and does not answer yet; None for no port. Raises Trouble."""
    if port is None:
        yield None
        return
    try:
        server = ThreadedWSGIServer((HOST, port), WSGIRequestHandler)
    except OSError as error:
        raise Trouble(f"port {port} of {HOST} cannot be used: {error.strerror}.") from error
    with server:
        yield server


def until_interrupted(server: ThreadedWSGIServer) -> None:
    """Answer requests until Ctrl-C."""
    server.set_app(StaticFilesHandler(get_internal_wsgi_application()))
    with _login() as (name, password):
        say(f"\nThe admin:  http://{HOST}:{server.server_port}/admin/")
        say(f"User name:  {name}\nPassword:   {password}")
        say("The database is kept until you press Ctrl-C.")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("")


@contextmanager
def _login() -> Iterator[tuple[str, str]]:
    """The name and password of an administrator who exists until the block is left."""
    name = "demo"
    while User.objects.filter(username=name).exists():
        name = f"demo-{secrets.token_hex(2)}"
    password = secrets.token_urlsafe(9)
    user = User.objects.create_superuser(name, password=password)
    try:
        yield name, password
    finally:
        user.delete()
