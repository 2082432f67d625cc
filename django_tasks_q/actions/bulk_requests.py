"""Requests for bulk work: each is signed for one job, so that neither a copy nor an edit of it is one.

What a request says is done with the rights of the user that it names. So nobody may write one but the doors
that know who asks, and nobody but that user may have an ended one done once more.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.core.signing import Signer
from django.utils.crypto import constant_time_compare

from ..definition.registry import INTERNAL
from ..models import Job

#: The argument that holds the signature.
SIGNATURE = "signature"
#: The argument that holds the primary key of who asked, as text.
USER = "user"


def signed(job_id: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments in JSON types with the signature that makes them a request of that job."""
    return {**values, SIGNATURE: _signatures(job_id, values)[0]}


def is_signed(job_id: str, arguments: Any) -> bool:
    """Whether arguments are as they were when that job was asked for."""
    if not isinstance(arguments, Mapping) or not isinstance(given := arguments.get(SIGNATURE), str):
        return False
    values = {name: value for name, value in arguments.items() if name != SIGNATURE}
    return any(constant_time_compare(given, each) for each in _signatures(job_id, values))


def of_others(ids: Collection[UUID], user: Any, alias: str) -> set[UUID]:
    """Those of the jobs that are bulk work which somebody else than ``user`` asked for, or nobody."""
    rows = Job.objects.using(alias).filter(id__in=ids, task_name__startswith=INTERNAL)
    return {job.id for job in rows.only("id", "arguments") if not _is_of(job, user)}


def _is_of(job: Job, user: Any) -> bool:
    if not isinstance(user, get_user_model()) or user.pk is None:
        return False
    try:
        kwargs = job.kwargs
    except (LookupError, RecursionError, TypeError, ValueError):
        return False
    return is_signed(str(job.id), kwargs) and kwargs.get(USER) == str(user.pk)


def _signatures(job_id: str, values: Mapping[str, Any]) -> list[str]:
    """The signature, and those by former keys of the project."""
    signer = Signer(salt=f"django_tasks_q.request:{job_id}")
    text = json.dumps(values, sort_keys=True)
    return [signer.signature(text, key) for key in (signer.key, *signer.fallback_keys)]
