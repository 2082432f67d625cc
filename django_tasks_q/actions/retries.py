"""Verbs that have jobs run once more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.utils import timezone

from ..access import database
from ..definition.registry import refuse_internal, registry
from ..lifecycle.admission import admit
from ..models import Job
from ..models.identifiers import uuid7_texts
from ..payload import codec
from ..results.mapper import new_result
from ..storage import NewJobs, storage_for
from ..storage.orm.operations import RETRYABLE
from . import bulk_requests
from .done import Again, Done, Reason
from .perform import Ids, backend_of, moment, perform, tell, text, uuids

#: Columns of a job that its copy has as well, where they are not empty.
COPIED = ("tags", "metadata", "retention", "result_ttl")


def retry(
    ids: Ids,
    *,
    at: datetime | timedelta | None = None,
    reason: str = "",
    using: str | None = None,
    user: Any = None,
) -> Done:
    """Have jobs run once more that have failed, expired or been cancelled: now, or ``at`` a time.

    Their attempts and crashes are counted anew, while the records of those that were stay. An expiry is
    taken away if it would keep the job from being started. Bulk work is done with the rights of whoever
    asked for it, so a job of that kind is left alone unless ``user`` is who did.
    """
    start, wanted, alias = moment(at, "at"), uuids(ids), using or database()
    others = bulk_requests.of_others(wanted, user, alias)
    done = perform(
        "retry",
        [id for id in wanted if id not in others],
        lambda storage, ids: storage.retry(ids, start),
        RETRYABLE,
        using=alias,
        user=user,
        reason=text(reason, "reason"),
        makes_ready=start is None,
    )[0]
    return done._replace(skipped=done.skipped | {Reason.OTHERS: others}) if others else done


def run_again(
    id: str | UUID,
    *,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    reason: str = "",
    using: str | None = None,
    user: Any = None,
) -> Again:
    """Enqueue a new job of the same task under the same options, whatever has become of the old one.

    ``args`` and ``kwargs`` take the place of the old ones, each for itself, and are bound and encoded as by
    ``enqueue()``, which may raise TypeError, UnserializableValue or UnstorableValue; for a task that this
    process does not know, TaskNotRegistered. The old job is the new one's parent. A time to expire is as
    far from now as it was from the old job's enqueue. Raises InvalidTask for a job of the package itself,
    which is asked for anew instead.
    """
    reason, wanted, alias = text(reason, "reason"), UUID(str(id)), using or database()
    old = Job.objects.using(alias).filter(id=wanted).first()
    if old is None:
        return Again(set(), {Reason.GONE: {wanted}}, None)
    refuse_internal(old.task_name)
    send = _copy(old, _edited(old, args, kwargs))
    result = new_result(send, 0)
    backend = backend_of(old.backend)
    if backend is not None:
        backend.store(alias, send, [result])
    else:
        storage_for(alias).enqueue(send)
    tell(Job, "run_again", {wanted}, using=alias, user=user, reason=reason)
    return Again({wanted}, {}, result)


def _edited(old: Job, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None) -> str:
    """The arguments of the new job, as they are stored."""
    if args is None and kwargs is None:
        return old.arguments
    task = registry.get(old.task_name)
    # What is not given is encoded already.
    all_args = old.args if args is None else list(args)
    all_kwargs = old.kwargs if kwargs is None else dict(kwargs)
    task.check_arguments(all_args, all_kwargs)
    encoded_args, encoded_kwargs = task.encoded(args or (), kwargs or {})
    backend = backend_of(old.backend)
    return codec.dump_arguments(
        all_args if args is None else encoded_args,
        all_kwargs if kwargs is None else encoded_kwargs,
        backend.settings.max_arguments_bytes if backend is not None else len(old.arguments.encode()),
    )


def _copy(old: Job, arguments: str) -> NewJobs:
    now = timezone.now()
    return NewJobs(
        ids=uuid7_texts(1),
        arguments=[arguments],
        task_name=old.task_name,
        queue_name=old.queue_name,
        backend=old.backend,
        priority=old.priority,
        status=admit().status.value,
        options=old.options,
        max_attempts=old.max_attempts,
        timeout=old.timeout,
        run_after=None,
        expires_at=None
        if old.expires_at is None
        else now + max(timedelta(), old.expires_at - old.enqueued_at),
        enqueued_at=now,
        more={
            **{name: value for name in COPIED if (value := getattr(old, name)) is not None},
            "parent_id": old.id,
        },
    )
