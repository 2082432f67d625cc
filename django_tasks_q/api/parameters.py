"""The query parameters of the list of jobs."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.settings import api_settings

from ..states import JobStatus
from ..task_options import MAX_NAME, MAX_QUEUE_NAME

#: From a parameter to the column that must equal it.
COLUMNS = {"status": "status", "queue": "queue_name", "task": "task_name"}


class ListParameters(serializers.Serializer[Any]):
    status = serializers.ChoiceField(choices=JobStatus.choices, required=False)
    queue = serializers.CharField(max_length=MAX_QUEUE_NAME, trim_whitespace=False, required=False)
    task = serializers.CharField(max_length=MAX_NAME, trim_whitespace=False, required=False)
    cursor = serializers.CharField(required=False)
    page_size = serializers.IntegerField(min_value=1, required=False)


def list_filters(request: Request) -> dict[str, str]:
    """Column values that the request asks for. Raises ValidationError for a parameter it cannot mean."""
    given = request.query_params
    parameters = ListParameters(data=given.dict())
    known = {*parameters.fields, api_settings.URL_FORMAT_OVERRIDE}
    errors: dict[str, list[str]] = {name: [_("Unknown parameter.")] for name in given if name not in known}
    errors |= {name: [_("Given more than once.")] for name, values in given.lists() if len(values) > 1}
    if not parameters.is_valid():
        errors |= parameters.errors
    if errors:
        raise serializers.ValidationError(errors)
    return {
        column: parameters.validated_data[name]
        for name, column in COLUMNS.items()
        if name in parameters.validated_data
    }
