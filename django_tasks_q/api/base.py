"""The base classes of the views."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.http import Http404
from django.utils.translation import gettext_lazy as _
from rest_framework.exceptions import ValidationError
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.views import APIView

from ..access import database, on_backend, scope_jobs
from ..models import Job
from ..models.job import JobQuerySet
from ..storage import TookTooLong, storage_for
from .errors import TooLarge, TooSlow, handler
from .openapi import view_schema
from .pagination import IdPagination
from .parsers import BodyRequest, JSONBody, largest_body
from .permissions import CanViewJobs
from .renderers import renderers
from .throttling import JobsThrottle

#: How many seconds a query of a request may take. Enforced on PostgreSQL only.
LONGEST_READ = 5.0
#: Statuses that do not reveal whether the object exists.
HIDDEN = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)


class TasksView(APIView):
    """A view that does not depend on the project's defaults for its own views."""

    permission_classes: Any = (CanViewJobs,)
    throttle_classes: Any = (JobsThrottle,)
    parser_classes: Any = (JSONBody,)
    renderer_classes: Any = renderers()
    content_negotiation_class = DefaultContentNegotiation
    filter_backends: Any = ()
    pagination_class: Any = IdPagination
    versioning_class = None
    schema = view_schema()

    #: The query parameters that the view accepts.
    parameters: tuple[str, ...] = ()

    def get_exception_handler(self) -> Callable[[Exception, dict[str, Any]], Response | None]:
        return handler

    def dispatch(self, request: Any, *args: Any, tasks_backend: str | None = None, **kwargs: Any) -> Any:
        """Handle a request to the backend that ``include()`` names, or to the default one."""
        if tasks_backend is None:
            return super().dispatch(request, *args, **kwargs)
        with on_backend(tasks_backend):
            response = super().dispatch(request, *args, **kwargs)
            # Later, queries would go to the default backend. A stream knows its database.
            return response.render() if hasattr(response, "render") else response

    def initialize_request(self, request: Any, *args: Any, **kwargs: Any) -> Request:
        # The same as in the base class, except for the class.
        return BodyRequest(
            request,
            parsers=self.get_parsers(),
            authenticators=self.get_authenticators(),
            negotiator=self.get_content_negotiator(),
            parser_context=self.get_parser_context(request),
        )

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        length = request.META.get("CONTENT_LENGTH") or "0"
        if length.isdecimal() and int(length) > largest_body():
            raise TooLarge
        self.refuse_unknown(request)

    def refuse_unknown(self, request: Request) -> None:
        """Raise ValidationError for a query parameter that is unknown or given more than once."""
        known = {*self.parameters, api_settings.URL_FORMAT_OVERRIDE}
        given = request.query_params
        errors = {name: [_("Unknown parameter.")] for name in given if name not in known}
        errors |= {name: [_("Given more than once.")] for name, values in given.lists() if len(values) > 1}
        if errors:
            raise ValidationError(errors)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        # The data are for one user, and are soon out of date.
        response.headers.setdefault("Cache-Control", "private, no-store")
        return response

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Limit the time of queries whose costs depend on the request. Raise TooSlow."""
        try:
            with storage_for(database()).session.reading(LONGEST_READ):
                yield
        except TookTooLong:
            raise TooSlow from None

    def jobs(self) -> JobQuerySet:
        """Return the jobs that this request may see."""
        return scope_jobs(self.request, Job.objects.using(database()))

    def job_id(self) -> UUID:
        """Return the id in the path. Raise Http404 for text that is not an id, as for an unknown id."""
        try:
            return UUID(str(self.kwargs["pk"]))
        except ValueError:
            raise Http404 from None

    def job(self, jobs: JobQuerySet | None = None) -> Job:
        """Return the job whose id is in the path, out of ``jobs``. Raise Http404."""
        found = (self.jobs() if jobs is None else jobs).filter(id=self.job_id()).first()
        if found is None:
            raise Http404
        return found


class NamedAction(TasksView):
    """An action on the object that the path names, at an address that ends with a verb.

    A name may have such an end too. A GET request therefore returns the object whose name is the whole path,
    if there is one.
    """

    #: The view that returns one object.
    shown_by: type[TasksView]
    #: The last part of the address.
    ending: str

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        if request.method in ("GET", "HEAD"):
            whole = kwargs | {"name": f"{kwargs['name']}/{self.ending}"}
            response = self.shown_by.as_view()(request, *args, **whole)
            if response.status_code not in HIDDEN:
                return response
        return super().dispatch(request, *args, **kwargs)
