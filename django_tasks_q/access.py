"""Which jobs and schedules admin, REST API and commands show, decided once for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.core.exceptions import EmptyResultSet
from django.db import router
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.module_loading import import_string

from .models import Job, Schedule

if TYPE_CHECKING:
    from .backends import DatabaseBackend
    from .models.job import JobQuerySet


def backend() -> DatabaseBackend | None:
    """Return the default backend if it is one of ours, else the first that is."""
    # Not at the top: without the framework there are no backends, and a system check says so.
    from . import compat
    from .backends import DatabaseBackend

    ours = {b.alias: b for b in compat.task_backends.all() if isinstance(b, DatabaseBackend)}
    if not ours:  # a test project's jobs may run where they are sent
        return None
    return ours.get(compat.DEFAULT_TASK_BACKEND_ALIAS, next(iter(ours.values())))


def database() -> str:
    """Alias of the database that the default backend of ours writes jobs to."""
    known = backend()
    return router.db_for_write(Job) if known is None else known.database


def scope_jobs(request: HttpRequest, jobs: JobQuerySet) -> JobQuerySet:
    """Return the jobs that the sender of a request may see: all, unless ``SCOPE_JOBS`` limits them."""
    scope = _scope()
    return jobs if scope is None else scope(request, jobs)


def is_scoped() -> bool:
    """Return whether some jobs may be hidden from some users; statistics of all jobs are hidden then, too."""
    return _scope() is not None


def is_narrowed(request: HttpRequest) -> bool:
    """Return whether some jobs may be hidden from the sender of a request.

    It is not where the scope leaves the query of all jobs as it is, as for the people who run the site.
    """
    known: bool | None = getattr(request, "_tasks_is_narrowed", None)
    if known is None:
        jobs = Job.objects.using(database())
        known = is_scoped() and _sql(scope_jobs(request, jobs)) != _sql(jobs)
        request._tasks_is_narrowed = known  # type: ignore[attr-defined]
    return known


def scope_schedules(request: HttpRequest, schedules: QuerySet[Schedule]) -> QuerySet[Schedule]:
    """Return the schedules that the sender of a request may see.

    What OPTIONS ``SCOPE_SCHEDULES`` says; without it all for who sees all jobs, and none for the others.
    """
    scope = _option("scope_schedules")
    if scope is not None:
        found: QuerySet[Schedule] = scope(request, schedules)
        return found
    return schedules.none() if is_narrowed(request) else schedules


def request_of(user: Any) -> HttpRequest:
    """Return a request that has a user and nothing else, for what is done later in that user's name."""
    request = HttpRequest()
    request.user = user
    return request


def is_users_own(request: HttpRequest) -> bool:
    """Return whether what a request may see depends on nothing but its user, and so is known later, too."""
    scope = _scope()
    if scope is None:
        return True
    jobs = Job.objects.using(database())
    now = _sql(scope(request, jobs))
    try:
        return bool(now == _sql(scope(request_of(request.user), jobs)))
    except Exception:  # it asks for what this request does not have
        return False


def _sql(jobs: JobQuerySet) -> Any:
    try:
        return jobs.query.get_compiler(jobs.db).as_sql()
    except EmptyResultSet:
        return None


def _scope() -> Callable[..., Any] | None:
    return _option("scope_jobs")


def _option(name: str) -> Callable[..., Any] | None:
    known = backend()
    scope = None if known is None else getattr(known.settings, name)
    return import_string(scope) if isinstance(scope, str) else scope
