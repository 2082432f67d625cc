"""A site whose requests enqueue jobs, for web servers to serve. It uses the database before they fork."""

import os

import django
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.urls import path

django.setup()

from django.conf import settings  # noqa: E402

from ..tasksapp import tasks  # noqa: E402


def enqueue(request: HttpRequest, key: str) -> HttpResponse:
    tasks.leave.enqueue(key)
    return HttpResponse(str(os.getpid()))


settings.ROOT_URLCONF, settings.MIDDLEWARE, settings.ALLOWED_HOSTS = __name__, [], ["*"]
urlpatterns = [path("<str:key>", enqueue)]
enqueue(HttpRequest(), "preloaded")
application = WSGIHandler()
