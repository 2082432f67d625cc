"""The addresses of P15: our REST API, and the least that a view of REST framework does for a row."""

from __future__ import annotations

from typing import Any

from django.urls import include, path
from rest_framework.permissions import DjangoModelPermissions, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from work.models import Thing

from django_tasks_q import task


@task(name="open", api=True)
def open_to_permitted(number: int) -> None:
    pass


@task(name="ruled", api=lambda request, task, arguments: True)
def ruled(number: int) -> None:
    pass


class Bare(APIView):
    permission_classes: Any = (IsAuthenticated,)
    queryset = Thing.objects.none()

    def post(self, request: Request) -> Response:
        thing = Thing.objects.create(count=request.data["number"])
        return Response({"id": thing.pk}, 202)


class Permitted(Bare):
    permission_classes = (DjangoModelPermissions,)


urlpatterns = [
    path("bare/", Bare.as_view()),
    path("permitted/", Permitted.as_view()),
    path("api/", include("django_tasks_q.api.urls")),
]
