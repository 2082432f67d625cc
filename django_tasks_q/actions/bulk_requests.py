"""Signatures of requests for bulk work.

A request names an action and a user, and the action is performed with the rights of that user. So a request
is signed for the job that carries it: a copy or an edit of it is refused. Only the user of a request may
retry its job.
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
#: The argument that holds the primary key of the user, as text.
USER = "user"


def signed(job_id: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments in JSON types with the signature for that job."""
    return {**values, SIGNATURE: _signatures(job_id, values)[0]}


def is_signed(job_id: str, arguments: Any) -> bool:
    """Whether arguments have a valid signature for that job."""
    if not isinstance(arguments, Mapping) or not isinstance(given := arguments.get(SIGNATURE), str):
        return False
    values = {name: value for name, value in arguments.items() if name != SIGNATURE}
    return any(constant_time_compare(given, each) for each in _signatures(job_id, values))


def of_others(ids: Collection[UUID], user: Any, alias: str) -> set[UUID]:
    """Return the jobs that are bulk work which ``user`` did not request."""
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
    """Return the signatures by the secret key of the project and by its fallback keys."""
    signer = Signer(salt=f"django_tasks_q.request:{job_id}")
    text = json.dumps(values, sort_keys=True)
    return [signer.signature(text, key) for key in (signer.key, *signer.fallback_keys)]
