"""Reading jobs over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework import generics
from rest_framework.views import APIView

from ..models import Job
from ..scope import database
from .pagination import JobPagination
from .parameters import list_filters
from .permissions import CanViewJobs
from .serializers import JobDetailSerializer, JobSerializer
from .throttling import JobsThrottle

if TYPE_CHECKING:
    from ..models.job import JobQuerySet

    ListAPIView = generics.ListAPIView[Job]
    RetrieveAPIView = generics.RetrieveAPIView[Job]
else:
    ListAPIView = generics.ListAPIView
    RetrieveAPIView = generics.RetrieveAPIView


class JobView(APIView):
    """What must not depend on a project's defaults for its own views."""

    permission_classes = (CanViewJobs,)
    throttle_classes = (JobsThrottle,)
    filter_backends: Any = ()
    pagination_class: Any = JobPagination
    versioning_class = None

    def get_queryset(self) -> JobQuerySet:
        return Job.objects.using(database())


class JobList(JobView, ListAPIView):
    """Jobs, newest first, chosen by status, queue and task."""

    serializer_class = JobSerializer

    def get_queryset(self) -> JobQuerySet:
        return super().get_queryset().without_payload().filter(**list_filters(self.request))


class JobDetail(JobView, RetrieveAPIView):
    """One job, with its arguments, its result and its attempts."""

    serializer_class = JobDetailSerializer
