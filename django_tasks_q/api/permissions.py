"""Who may use the API: nobody, unless a permission says so."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request


class CanViewJobs(BasePermission):
    """A user who is logged in and has the permission ``django_tasks_q.view_job``."""

    def has_permission(self, request: Request, view: Any) -> bool:
        user = request.user
        return bool(user and user.is_authenticated and user.has_perm("django_tasks_q.view_job"))

    def has_object_permission(self, request: Request, view: Any, obj: Any) -> bool:
        return self.has_permission(request, view)
