"""Who may use the API: nobody, unless a permission says so. One class for each thing that can be done."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request


class NeedsPermissions(BasePermission):
    """A user who is logged in and has all of ``codenames``, permissions of the app ``django_tasks_q``."""

    codenames: tuple[str, ...]

    def has_permission(self, request: Request, view: Any) -> bool:
        user = request.user
        return bool(user and user.is_authenticated) and user.has_perms(
            [f"django_tasks_q.{codename}" for codename in self.codenames]
        )

    def has_object_permission(self, request: Request, view: Any, obj: Any) -> bool:
        return self.has_permission(request, view)


class CanViewJobs(NeedsPermissions):
    codenames = ("view_job",)


class CanViewPayload(NeedsPermissions):
    codenames = ("view_job", "view_payload_job")


class CanRetryJobs(NeedsPermissions):
    codenames = ("view_job", "retry_job")


class CanCancelJobs(NeedsPermissions):
    codenames = ("view_job", "cancel_job")


class CanDiscardJobs(NeedsPermissions):
    codenames = ("view_job", "discard_job")


class CanChangeJobs(NeedsPermissions):
    codenames = ("view_job", "change_job")


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


class MayEnqueue(BasePermission):
    """A user who is logged in. Which tasks, is up to each task and to the permission ``add_job``."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return bool(request.user and request.user.is_authenticated)


def may_see_payload(request: Request) -> bool:
    """Whether arguments, results and errors are shown."""
    return CanViewPayload().has_permission(request, None)
