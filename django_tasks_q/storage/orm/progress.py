"""What running attempts have to say on their way: how far they are, and what they log."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from ...lifecycle.states import JobStatus
from ...models import Job, LogLine, Progress
from ..session import Part, repeated
from ..values import LogNote, Note, ProgressNote
from .clock import DatabaseNow

#: The columns of a job's progress that a later update changes.
UPDATED = [field.name for field in Progress._meta.concrete_fields if not field.primary_key]


class ProgressUpdates(Part):
    @repeated
    def save(self, notes: Iterable[Note]) -> None:
        progress: dict[UUID, ProgressNote] = {}
        lines: list[LogNote] = []
        for note in notes:
            if isinstance(note, ProgressNote):
                progress[note.job_id] = note
            else:
                lines.append(note)
        with self.session.transaction():
            ids = {*progress, *(line.job_id for line in lines)}
            # In any state: a task with atomic=True ends its job before its last updates arrive.
            owned = set(Job.objects.using(self.alias).filter(id__in=ids).values_list("id", "fence"))
            LogLine.objects.using(self.alias).bulk_create(
                _line(note) for note in lines if (note.job_id, note.fence) in owned
            )
            rows = [
                Progress(job_id=id, fence=note.fence, updated_at=DatabaseNow(), **note.shown)
                # In one order everywhere, so that two workers never wait for each other.
                for id, note in sorted(progress.items())
                if (id, note.fence) in owned
            ]
            by_key = self.connection.features.supports_update_conflicts_with_target
            Progress.objects.using(self.alias).bulk_create(
                rows,
                update_conflicts=True,
                update_fields=UPDATED,
                unique_fields=["job"] if by_key else None,
            )

    @repeated
    def save_metadata(self, job_id: UUID, fence: int, metadata: str) -> bool:
        owned = Job.objects.using(self.alias).filter(id=job_id, fence=fence, status=JobStatus.RUNNING)
        return bool(owned.update(metadata=metadata))


def _line(note: LogNote) -> LogLine:
    moment = datetime.fromtimestamp(note.created, UTC)
    return LogLine(
        job_id=note.job_id,
        fence=note.fence,
        level=note.level,
        logger=note.logger,
        message=note.message,
        created_at=moment if settings.USE_TZ else timezone.make_naive(moment),
    )
