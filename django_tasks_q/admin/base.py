"""What all our admin pages have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, reverse
from django.utils.cache import add_never_cache_headers
from django.utils.http import url_has_allowed_host_and_scheme

from ..access import database, is_narrowed, is_scoped, scope_jobs
from ..models import Job
from ..models.job import JobQuerySet

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

    Base = ModelAdmin[Any]
else:
    # No base class: the mixin goes before whichever ModelAdmin a project's admin is made of.
    Base = object

APP = "django_tasks_q"
#: Asks for the part of a page that changes, and nothing around it.
FRAGMENT = "X-Tasks-Fragment"


#: The name of the AdminSite whose page is being made: a project may have several of them.
_site: ContextVar[str | None] = ContextVar("site", default=None)


def may(request: HttpRequest, codename: str) -> bool:
    """Whether the user has one of our permissions, and that to see what it is about.

    Those of queues and workers, which tell what happens to everybody's jobs, count for nobody from whom jobs
    are hidden.
    """
    if codename.endswith(("_queue", "_worker")) and is_narrowed(request):
        return False
    needed = (f"{APP}.{codename}", f"{APP}.view_{codename.rpartition('_')[2]}")
    return bool(request.user.has_perms(needed))


def require(request: HttpRequest, codename: str) -> None:
    """Raises PermissionDenied."""
    if not may(request, codename):
        raise PermissionDenied


def jobs_of(request: HttpRequest) -> JobQuerySet:
    """The jobs that the user may see, in the database that the backend writes them to."""
    jobs: JobQuerySet = scope_jobs(request, Job.objects.using(database()))
    return jobs


def sees_all() -> bool:
    """Whether nobody's view is narrowed, so that figures about all jobs are everybody's to see."""
    return not is_scoped()


def back_to(request: HttpRequest, default: str) -> str:
    """Where a form wants to return to, if that is an address of this site."""
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    if url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure()):
        return wanted
    return default


def url(name: str, *args: Any, **query: Any) -> str:
    """The address of a page of ours on the site that is asked, with what it is to be filtered by."""
    address = reverse(f"admin:{APP}_{name}", args=args, current_app=_site.get())
    given = {key: value for key, value in query.items() if value not in (None, "")}
    return f"{address}?{urlencode(given)}" if given else address


def leave(request: HttpRequest, message: str, target: str, level: int = messages.WARNING) -> HttpResponse:
    """Go to another page, which says why."""
    messages.add_message(request, level, message)
    return HttpResponseRedirect(target)


class Screens(Base):
    """Mixin: shows the rows where the backend writes them. What changes them are verbs, not forms."""

    @property
    def urls(self) -> list[URLPattern]:
        """The addresses of ``get_urls()``. Links and redirects of their views stay on this site."""
        found: list[URLPattern] = self.get_urls()
        for pattern in found:
            pattern.callback = self._staying(pattern.callback)
        return found

    def _staying(self, view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        @wraps(view)
        def called(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            token = _site.set(self.admin_site.name)
            try:
                return view(request, *args, **kwargs)
            finally:
                _site.reset(token)

        return called

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).using(database())

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Not also with the permission to change, as Django has it: ours are for verbs.
        return may(request, f"view_{self.opts.model_name}")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def page(
        self,
        request: HttpRequest,
        name: str,
        title: Any,
        context: Mapping[str, Any],
        *,
        fragment: str | None = None,
        status: int = 200,
    ) -> HttpResponse:
        """A page of ours, or the ``fragment`` of it that is asked for when it is refreshed."""
        is_part = fragment is not None and request.headers.get(FRAGMENT) == "1"
        site: Any = self.admin_site
        around = {} if is_part else site.each_context(request)
        response = TemplateResponse(
            request,
            f"admin/{APP}/{fragment if is_part else name}.html",
            {
                **around,
                "title": title,
                "opts": self.opts,
                "screen": name,
                "fragment": fragment and f"admin/{APP}/{fragment}.html",
                "here": request.get_full_path(),
                **context,
            },
            status=status,
        )
        # Pages hold what not everybody may see, and what is old in a minute.
        add_never_cache_headers(response)
        request.current_app = site.name
        return response
