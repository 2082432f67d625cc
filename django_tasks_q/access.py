"""Which jobs and schedules admin, REST API and commands show, decided once for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from django.core.exceptions import EmptyResultSet, ImproperlyConfigured
from django.db import router
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.module_loading import import_string

from .models import Job, Schedule

if TYPE_CHECKING:
    from .backends import DatabaseBackend
    from .models.job import JobQuerySet


#: The alias of the backend that the address of a request has chosen; None for the default.
_chosen: ContextVar[str | None] = ContextVar("chosen", default=None)


@contextmanager
def on_backend(alias: str | None) -> Iterator[None]:
    """A block in which the doors are those of a backend, with its database; None for the default."""
    token = _chosen.set(alias)
    try:
        yield
    finally:
        _chosen.reset(token)


def is_chosen() -> bool:
    """Return whether the address of a request has chosen a backend."""
    return _chosen.get() is not None


def backend() -> DatabaseBackend | None:
    """Return the backend that the request is about: the chosen one, or the default.

    The default is the default backend of TASKS if it is one of ours, else the first that is. Raises
    ImproperlyConfigured if the chosen one is none of ours.
    """
    if (alias := _chosen.get()) is None:
        return _default()
    from . import compat
    from .backends import DatabaseBackend

    with suppress(compat.InvalidTaskBackend):
        if isinstance(found := compat.task_backends[alias], DatabaseBackend):
            return found
    raise ImproperlyConfigured(f"An address is for TASKS[{alias!r}], which is no DatabaseBackend.")


def _default() -> DatabaseBackend | None:
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
    # What is not set for a chosen backend is as for the default one, and hides there what it hides here.
    scopes = (getattr(known.settings, name) for known in (backend(), _default()) if known is not None)
    scope = next((found for found in scopes if found is not None), None)
    return import_string(scope) if isinstance(scope, str) else scope
