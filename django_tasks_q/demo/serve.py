"""The server of the admin after a run, with a temporary login."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from django.contrib.auth.models import User
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler, get_internal_wsgi_application

from .errors import DemoError
from .report import print_line

HOST = "127.0.0.1"


@contextmanager
def reserved(port: int | None) -> Iterator[ThreadedWSGIServer | None]:
    """Yield a server that has its port but is not started, or None without a port. Raise DemoError."""
    if port is None:
        yield None
        return
    try:
        server = ThreadedWSGIServer((HOST, port), WSGIRequestHandler)
    except OSError as error:
        raise DemoError(f"port {port} of {HOST} cannot be used: {error.strerror}.") from error
    with server:
        yield server


def until_interrupted(server: ThreadedWSGIServer) -> None:
    """Serve requests until Ctrl-C."""
    server.set_app(StaticFilesHandler(get_internal_wsgi_application()))
    with _login() as (name, password):
        print_line(f"\nThe admin:  http://{HOST}:{server.server_port}/admin/")
        print_line(f"User name:  {name}\nPassword:   {password}")
        print_line("The database is kept until you press Ctrl-C.")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print_line("")


@contextmanager
def _login() -> Iterator[tuple[str, str]]:
    """Yield the name and the password of an administrator who exists until the block ends."""
    name = "demo"
    while User.objects.filter(username=name).exists():
        name = f"demo-{secrets.token_hex(2)}"
    password = secrets.token_urlsafe(9)
    user = User.objects.create_superuser(name, password=password)
    try:
        yield name, password
    finally:
        user.delete()
