"""The base of all admin pages of the package: permissions, addresses, rendering."""

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
from django.template.response import SimpleTemplateResponse, TemplateResponse
from django.urls import URLPattern, reverse
from django.utils.cache import add_never_cache_headers
from django.utils.http import url_has_allowed_host_and_scheme

from ..access import database, is_chosen, is_narrowed, is_scoped, on_backend, scope_jobs
from ..models import Job
from ..models.job import JobQuerySet

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

    Base = ModelAdmin[Any]
else:
    # No base class: a project mixes the screens into its own ModelAdmin, such as that of a theme.
    Base = object

APP = "django_tasks_q"
#: The request header that asks for only the part of a page that is refreshed.
FRAGMENT = "X-Tasks-Fragment"


#: The name of the AdminSite that handles the request: a project may have several.
_site: ContextVar[str | None] = ContextVar("site", default=None)


def may(request: HttpRequest, codename: str) -> bool:
    """Return whether the user has a permission of this package, and the permission to view its model.

    Pages of queues and workers show data about the jobs of all users. Return False for their permissions if
    the user may see only some of the jobs.
    """
    if codename.endswith(("_queue", "_worker")) and is_narrowed(request):
        return False
    needed = (f"{APP}.{codename}", f"{APP}.view_{codename.rpartition('_')[2]}")
    return bool(request.user.has_perms(needed))


def require(request: HttpRequest, codename: str) -> None:
    """Raise PermissionDenied if ``may()`` returns False."""
    if not may(request, codename):
        raise PermissionDenied


def jobs_of(request: HttpRequest) -> JobQuerySet:
    """Return the jobs that the user may see, read from the database that the backend writes to."""
    jobs: JobQuerySet = scope_jobs(request, Job.objects.using(database()))
    return jobs


def sees_all_jobs() -> bool:
    """Return whether every user may see all jobs, and so the statistics of all jobs."""
    return not is_scoped()


def return_url(request: HttpRequest, default: str) -> str:
    """Return the ``next`` address of the request, or ``default`` if it is no address of this host."""
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    if url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure()):
        return wanted
    return default


def url(name: str, *args: Any, **query: Any) -> str:
    """Return the address of a page of this package on the current AdminSite.

    ``query`` becomes the query string, without values that are None or empty.
    """
    address = reverse(f"admin:{APP}_{name}", args=args, current_app=_site.get())
    given = {key: value for key, value in query.items() if value not in (None, "")}
    return f"{address}?{urlencode(given)}" if given else address


def redirect_with_message(
    request: HttpRequest, message: str, target: str, level: int = messages.WARNING
) -> HttpResponse:
    """Redirect to ``target``, which shows the message."""
    messages.add_message(request, level, message)
    return HttpResponseRedirect(target)


class Screens(Base):
    """Mixin for a ModelAdmin that reads the backend's database. Actions change rows, forms do not."""

    @property
    def urls(self) -> list[URLPattern]:
        """Return the patterns of ``get_urls()``. Links of their views stay on this AdminSite."""
        found: list[URLPattern] = self.get_urls()
        for pattern in found:
            pattern.callback = self._on_this_site(pattern.callback)
        return found

    def _on_this_site(self, view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        @wraps(view)
        def wrapped_view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            token = _site.set(self.admin_site.name)
            try:
                with on_backend(getattr(self.admin_site, "tasks_backend", None)):
                    response = view(request, *args, **kwargs)
                    if is_chosen() and isinstance(response, SimpleTemplateResponse):
                        response = response.render()  # later, queries would go to the default backend
                    return response
            finally:
                _site.reset(token)

        return wrapped_view

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).using(database())

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Django also accepts the change permission. Here that permission allows an action only.
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
        """Return the page, or only its ``fragment`` if the request has the header of a refresh."""
        is_part = fragment is not None and request.headers.get(FRAGMENT) == "1"
        site: Any = self.admin_site
        site_context = {} if is_part else site.each_context(request)
        response = TemplateResponse(
            request,
            f"admin/{APP}/{fragment if is_part else name}.html",
            {
                **site_context,
                "title": title,
                "opts": self.opts,
                "screen": name,
                "fragment": fragment and f"admin/{APP}/{fragment}.html",
                "here": request.get_full_path(),
                **context,
            },
            status=status,
        )
        # The content depends on the user's permissions and is out of date within seconds.
        add_never_cache_headers(response)
        request.current_app = site.name
        return response
