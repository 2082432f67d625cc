"""What a project may have of its own, for the sake of its own views."""

from __future__ import annotations

from typing import Any


class Header:
    """Takes the first superuser there is for whoever sends a header."""

    def authenticate(self, request: Any) -> Any:
        from django.contrib.auth import get_user_model

        if "x-user" not in request.headers:
            return None
        return get_user_model().objects.filter(is_superuser=True).first(), None

    def authenticate_header(self, request: Any) -> str:
        return "X-User"


class Stranger(Header):
    """The same with somebody whom no table knows."""

    class User:
        is_authenticated = True
        is_active = True
        pk = "u-1"

        def has_perms(self, names: Any) -> bool:
            return True

        def has_perm(self, name: str) -> bool:
            return True

        def get_username(self) -> str:
            return "root"

    def authenticate(self, request: Any) -> Any:
        return (self.User(), None) if "x-user" in request.headers else None


class Shouting:
    """A renderer that has shapes of its own."""

    media_type = "application/json"
    format = "json"
    charset = "utf-8"
    render_style = "text"

    def render(self, data: Any, *args: Any, **more: Any) -> bytes:
        return b'{"DATA": "..."}'


class Deaf:
    media_type = "application/json"

    def parse(self, stream: Any, *args: Any, **more: Any) -> Any:
        return {"everything": "else"}


class Stubborn:
    """A negotiation that takes the last renderer, and the last parser, whatever is asked for."""

    def select_parser(self, request: Any, parsers: Any) -> Any:
        return None

    def select_renderer(self, request: Any, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[-1], "text/plain"


class Nobody:
    def has_permission(self, request: Any, view: Any) -> bool:
        return False

    has_object_permission = has_permission


class Never:
    def allow_request(self, request: Any, view: Any) -> bool:
        return False

    def wait(self) -> None:
        return None


def swallow(error: Exception, context: Any) -> Any:
    from rest_framework.response import Response

    return Response({"ok": False}, 200)


class Router:
    """The queue's tables are in a database of their own."""

    def _alias(self, model: Any) -> str:
        return "queue" if model._meta.app_label == "django_tasks_q" else "default"

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return self._alias(model)

    db_for_write = db_for_read

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return db == ("queue" if app_label == "django_tasks_q" else "default")


def Policy(get_response: Any) -> Any:
    def answer(request: Any) -> Any:
        response = get_response(request)
        response["Content-Security-Policy"] = "default-src 'self'"
        return response

    return answer
