"""Rows of every model in every state, the same ones wherever they are made."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django_tasks_q import models
from django_tasks_q.actions.selection import first_id
from django_tasks_q.lifecycle.outcome import AttemptOutcome
from django_tasks_q.lifecycle.states import FINAL, JobStatus
from django_tasks_q.storage.timestamps import native

#: Numbers that some settings would write with a separator.
LARGE = 1_234_567


class Seeds:
    """What was made, for addresses: by ``now``, a whole second in UTC."""

    def __init__(self, now: datetime, task: str = "tests.variety.orders.tasks.ship") -> None:
        self.now = now
        self.task = task
        self.jobs: list[UUID] = []
        self.workers: list[UUID] = []
        self.schedules: list[int] = []
        self._made = 0

    def at(self, **ago: float) -> datetime:
        """A moment before ``now``, as the settings have datetimes."""
        return native(self.now - timedelta(**ago))

    def id(self, **ago: float) -> UUID:
        """An id of a job enqueued then."""
        self._made += 1
        first = first_id(self.now - timedelta(**ago))
        return UUID(int=first.int | 7 << 76 | 2 << 62 | self._made)

    def make(self) -> None:
        alive, late = self._worker("alive-1"), self._worker("late-1", lease=timedelta(hours=1))
        self._worker("stopped-1", stopped_at=self.at(minutes=5))
        self._worker("stopping-1", stop_requested_at=self.at(minutes=1), queues='["mails"]')
        for number, status in enumerate(JobStatus.values):
            self._job(status, alive, hours=3 + number, more={"attempts": 1, "fence": 2})
        self._job("SCHEDULED", None, hours=30, more={"attempts": 0, "fence": 0, "priority": -3})
        self._job("RUNNING", late, minutes=7, more={"cancel_requested_at": self.at(minutes=1)})
        self._job("READY", None, days=40, more={"queue_name": "mails", "task_name": "shop.gone"})
        self._job(
            "FAILED",
            None,
            minutes=3,
            more={"pinned_at": self.at(minutes=1), "dismissed_at": self.at(minutes=1)},
        )
        self._queues()
        self._schedules()
        self._statistics()

    def _worker(self, name: str, lease: timedelta = timedelta(days=-400), **more: Any) -> UUID:
        id = self.id(days=2)
        self.workers.append(id)
        values = {
            "name": name,
            "hostname": f"{name}.example",
            "pid": LARGE,
            "backend": "default",
            "processes": 1234,
            "version": "1",
            "memory": LARGE * 1000,
            "running_jobs": 1000,
            "started_at": self.at(days=2),
            "heartbeat_at": self.at(minutes=1),
            "lease_expires_at": native(self.now - lease),
        }
        models.Worker.objects.create(id=id, **values | more)
        return id

    def _job(self, status: str, worker: UUID | None, more: Any, **ago: float) -> None:
        id = self.id(**ago)
        begun = more.get("fence", 1) > 0
        values = {
            "task_name": self.task,
            "queue_name": "default",
            "backend": "default",
            "status": status,
            "arguments": json.dumps([[1], {"weight": "1.50", "at": "2026-01-31T08:00:00+01:00"}]),
            "result": json.dumps({"shipped": LARGE}) if status == "SUCCESSFUL" else None,
            "tags": json.dumps(["warehouse"]),
            "metadata": json.dumps({"customer": LARGE}),
            "parent_id": self.jobs[0] if self.jobs else None,
            "max_attempts": 3,
            "timeout": 1234.5,
            "worker_id": worker if status == "RUNNING" else None,
            "attempts": 1,
            "crashes": 1 if begun else 0,
            "fence": 2,
            "enqueued_at": self.at(**ago),
            "run_after": native(self.now + timedelta(days=1)) if status == "SCHEDULED" else None,
            "expires_at": native(self.now + timedelta(days=9)),
            "started_at": self.at(minutes=2) if begun else None,
            "last_attempted_at": self.at(minutes=2) if begun else None,
            "finished_at": self.at(minutes=1) if status in FINAL else None,
            "duration": 1234.567 if status in FINAL else None,
            "error_code": "UNHANDLED_EXCEPTION" if status == "FAILED" else "",
        }
        job = models.Job.objects.create(id=id, **values | more)
        self.jobs.append(id)
        if begun and status not in ("READY", "WAITING"):
            self._parts(job)

    def _parts(self, job: Any) -> None:
        moment = self.at(minutes=2)
        for number, outcome in enumerate(AttemptOutcome.values, 1):
            models.Attempt.objects.create(
                job=job,
                number=number,
                fence=number,
                outcome=outcome,
                started_at=moment,
                finished_at=self.at(minutes=1),
                duration=1234.5,
                exit_status=-9,
                error_code="CRASHED",
                exception_class="builtins.ValueError",
                message="no such order",
                data=json.dumps({"order": LARGE}),
                traceback="Traceback (most recent call last):\n  ValueError: no such order\n",
            )
        models.Progress.objects.create(
            job=job, fence=2, current=1234.5, total=5000, message="packing", value="[1]", updated_at=moment
        )
        models.LogLine.objects.create(
            job=job, fence=2, level=20, logger="orders", message="packed", created_at=moment
        )

    def _queues(self) -> None:
        models.Queue.objects.create(
            backend="default",
            name="mails",
            paused_at=self.at(minutes=9),
            paused_by="root",
            pause_reason="too many",
            paused_until=native(self.now + timedelta(days=300)),
            max_running=LARGE,
        )
        models.Queue.objects.create(backend="default", name="a queue/of all", max_running=1)

    def _schedules(self) -> None:
        for number, (name, more) in enumerate(
            {
                "nightly": {"origin": "code", "next_at": native(self.now + timedelta(days=1))},
                "hourly": {"kind": "every", "expression": "3600", "next_at": self.at(hours=1)},
                "disabled": {"enabled": False, "disabled_at": self.at(days=1), "disabled_by": "root"},
                "retired": {"origin": "code", "retired_at": self.at(days=1)},
            }.items()
        ):
            values: dict[str, Any] = {
                "origin": "database",
                "task_name": self.task,
                "arguments": '[[1],{"weight":"1.50"}]',
                "kind": "cron",
                "expression": "0 3 * * *",
                "timezone": "Europe/Paris",
                "missed": "one",
                "overlap": "allow",
                "last_at": self.at(hours=2),
            }
            row = models.Schedule.objects.create(
                id=LARGE + number, backend="default", name=name, **values | dict(more)
            )
            self.schedules.append(row.pk)
            for index, outcome in enumerate(models.schedule.Outcome.values):
                job = self.jobs[index] if outcome in ("fired", "manual") else None
                tick = self.at(hours=index)
                models.Firing.objects.create(
                    schedule=row, tick=tick, outcome=outcome, job_id=job, reason="", fired_at=tick
                )

    def _statistics(self) -> None:
        moment = self.now.replace(second=0, microsecond=0)
        for minutes in (1, 10, 300):
            models.Statistic.objects.create(
                backend="default",
                moment=native(moment - timedelta(minutes=minutes)),
                queue_name="default",
                task_name=self.task,
                started=LARGE,
                successful=LARGE,
                failed=1234,
                took_3=LARGE,
                seconds_run=1234.5,
                seconds_waited=0.25,
            )
