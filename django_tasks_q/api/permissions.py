"""The permissions of the API: a class for each kind of request. Each needs permissions of Django."""

from __future__ import annotations

from functools import cache
from typing import Any

from django.apps import apps
from django.contrib.auth import get_backends
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

#: The methods of Django's own backend that decide about permissions. A backend that overrides one is asked.
METHODS = (
    "has_perm",
    "get_all_permissions",
    "get_user_permissions",
    "get_group_permissions",
    "_get_permissions",
    "_get_user_permissions",
    "_get_group_permissions",
)


def may(user: Any, *codenames: str) -> bool:
    """Return what ``user.has_perms()`` returns for permissions of the app ``django_tasks_q``.

    This takes one query. Django would read all permissions of the user with two.
    """
    if not _is_plain_user(user.__class__) or hasattr(user, "_perm_cache") or not _is_plain_project():
        return bool(user.has_perms([f"django_tasks_q.{codename}" for codename in codenames]))
    if not user.is_active or user.is_superuser:
        return bool(user.is_active)
    from ..storage.orm.permissions import held

    return held(user, "django_tasks_q", codenames) == set(codenames)


@cache
def _is_plain_user(user_class: type) -> bool:
    """Return whether the permissions of users depend on the authentication backends alone."""
    if not apps.is_installed("django.contrib.auth"):
        return False
    from django.contrib.auth.models import PermissionsMixin

    return issubclass(user_class, PermissionsMixin) and all(
        getattr(user_class, name) is getattr(PermissionsMixin, name) for name in ("has_perm", "has_perms")
    )


def _is_plain_project() -> bool:
    """Return whether all backends take permissions from Django's own tables."""
    classes: list[Any] = [type(backend) for backend in get_backends()]
    return bool(classes) and all(map(_is_plain, classes))


@cache
def _is_plain(backend_class: Any) -> bool:
    from django.contrib.auth.backends import ModelBackend

    return all(getattr(backend_class, name, None) is getattr(ModelBackend, name) for name in METHODS)


class NeedsPermissions(BasePermission):
    """A user who is logged in and has all permissions in ``codenames``, of the app ``django_tasks_q``."""

    codenames: tuple[str, ...]

    def has_permission(self, request: Request, view: Any) -> bool:
        user = request.user
        return bool(user and user.is_authenticated) and may(user, *self.codenames)

    def has_object_permission(self, request: Request, view: Any, obj: Any) -> bool:
        return self.has_permission(request, view)


def needing(*codenames: str) -> type[NeedsPermissions]:
    """Return a class that requires these permissions."""
    return type("Needing", (NeedsPermissions,), {"codenames": codenames})


class CanViewJobs(NeedsPermissions):
    codenames = ("view_job",)


class CanViewPayload(NeedsPermissions):
    codenames = ("view_job", "view_payload_job")


class CanRunAgain(NeedsPermissions):
    codenames = ("view_job", "add_job")


class CanViewQueues(NeedsPermissions):
    codenames = ("view_queue",)


class CanPauseQueues(NeedsPermissions):
    codenames = ("view_queue", "pause_queue")


class CanChangeQueues(NeedsPermissions):
    codenames = ("view_queue", "change_queue")


class CanViewWorkers(NeedsPermissions):
    codenames = ("view_worker",)


class CanStopWorkers(NeedsPermissions):
    codenames = ("view_worker", "stop_worker")


class CanViewSchedules(NeedsPermissions):
    codenames = ("view_schedule",)


class CanEnableSchedules(NeedsPermissions):
    codenames = ("view_schedule", "enable_schedule")


class CanRunSchedules(NeedsPermissions):
    codenames = ("view_schedule", "run_schedule")


class CanSaveSchedules(NeedsPermissions):
    codenames = ("view_schedule", "add_schedule", "change_schedule")


class CanDeleteSchedules(NeedsPermissions):
    codenames = ("view_schedule", "delete_schedule")


class MayEnqueue(BasePermission):
    """A user who is logged in. The view checks the rule of the task and the permission ``add_job``."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return bool(request.user and request.user.is_authenticated)


def may_see_payload(request: Request) -> bool:
    """Return whether the request may see arguments, results and errors."""
    return CanViewPayload().has_permission(request, None)
