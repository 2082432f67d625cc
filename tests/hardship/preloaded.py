"""A web server that loads the project, uses its database, and forks: ``python -m tests.hardship.preloaded``.

Three children then answer twenty requests each, which enqueue a job. With ``close`` as its argument it has
closed its connections before, as servers that fork should.
"""

import os
import signal
import sys
import traceback

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.urls import path

from django_tasks_q.worker.system import die_with_parent

CHILDREN, REQUESTS = 3, 20


def session() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def enqueue(request: HttpRequest) -> HttpResponse:
    from tests.tasksapp import tasks

    tasks.noop.enqueue()
    return HttpResponse(f"{os.getpid()} {session()}")


urlpatterns = [path("", enqueue)]


def serve(handler: WSGIHandler) -> None:
    """Answer requests as servers do, which tell Django when each begins and ends."""
    for _ in range(REQUESTS):
        response = handler(RequestFactory().get("/").environ, lambda status, headers: None)
        assert response.status_code == 200
        os.write(1, response.content + b"\n")
        response.close()


def main() -> None:
    django.setup()
    settings.ROOT_URLCONF, settings.MIDDLEWARE = __name__, []
    handler, server = WSGIHandler(), os.getpid()
    os.write(1, enqueue(HttpRequest()).content + b"\n")
    if "close" in sys.argv:
        connection.close()
        if settings.DATABASES["default"]["OPTIONS"].get("pool"):
            connection.close_pool()
    for _ in range(CHILDREN):
        if not os.fork():
            code = 1
            try:
                die_with_parent(server)
                signal.alarm(10)  # who reads the answers of somebody else may wait for ever
                serve(handler)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
    assert [os.wait()[1] for _ in range(CHILDREN)] == [0] * CHILDREN


if __name__ == "__main__":
    main()
