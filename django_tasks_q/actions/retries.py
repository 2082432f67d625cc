"""Actions that run jobs once more: retry and run again."""

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
from .perform import Ids, backend_of, moment, perform, send_action_performed, text, uuids

#: The columns that a copy of a job takes over unless they are empty.
COPIED = ("tags", "metadata", "retention", "result_ttl")


def retry(
    ids: Ids,
    *,
    at: datetime | timedelta | None = None,
    reason: str = "",
    using: str | None = None,
    user: Any = None,
) -> Done:
    """Run jobs once more that have failed, expired or been cancelled: now, or at the time ``at``.

    The attempts and crashes of each job are counted from zero again. The records of earlier attempts are
    kept. An expiry is removed if the job could not be started because of it. Bulk work is done with the
    rights of the user who requested it, so a job of that kind is skipped unless ``user`` is that user.
    """
    start, wanted, alias = moment(at, "at"), uuids(ids), using or database()
    others = bulk_requests.of_others(wanted, user, alias)
    done = perform(
        "retry",
        [id for id in wanted if id not in others],
        lambda storage, ids: storage.jobs.retry(ids, start),
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
    """Enqueue a new job of the same task with the same options. The state of the old job does not matter.

    ``args`` replaces the old positional arguments, and ``kwargs`` the old keyword arguments. They are bound
    and encoded as by ``enqueue()``, which raises TypeError, UnserializableValue or UnstorableValue. Raise
    TaskNotRegistered if this process does not know the task, and InvalidTask for a job of the package's own
    tasks. The old job is the parent of the new one. The new job expires as long after its enqueue as the old
    job did.
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
        storage_for(alias).jobs.enqueue(send)
    send_action_performed(Job, "run_again", {wanted}, using=alias, user=user, reason=reason)
    return Again({wanted}, {}, result)


def _edited(old: Job, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None) -> str:
    """Return the stored form of the arguments of the new job."""
    if args is None and kwargs is None:
        return old.arguments
    task = registry.get(old.task_name)
    # Arguments that are not replaced are encoded already.
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
