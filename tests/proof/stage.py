"""Plays scenes with real processes, and compares what they have come to with what was promised."""

from __future__ import annotations

import signal
import uuid
from contextlib import suppress
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from django_tasks_q.lifecycle.states import FINAL
from django_tasks_q.models import Job
from django_tasks_q.models.identifiers import uuid7

from ..faults.tasks import quick
from ..project import wait_for
from .invariants import stories

#: Jobs that a caller enqueues at once.
COUNT = 3
#: Whoever does one duty only, by its name.
KEEPERS = ("rescue", "prune")


class Stage:
    """Where the scenes of one wave are played beside each other."""

    def __init__(self, alias, folder, forks):
        self.alias, self.folder, self.forks = alias, folder, forks
        self.jobs = {}
        self.actors = {}

    def play(self, scenes):
        """Answers a sentence for each promise that was not kept."""
        for scene in scenes:
            if scene.who in KEEPERS:
                # One by one: what is lost or old is for whoever finds it first.
                self.prepare(scene)
                self.start(scene)
                wait_for(lambda scene=scene: self.has_happened(scene))
                wait_for(lambda scene=scene: scene.action == "stop" or not self.actors[scene].is_alive)
        others = [scene for scene in scenes if scene.who not in KEEPERS]
        with transaction.atomic(using=self.alias):
            for scene in others:
                self.prepare(scene)
        for scene in others:
            self.start(scene)
        for scene in others:
            if scene.step == "release.sending":
                self.block(scene)
        waiting = list(others)

        def have_happened():
            for scene in [scene for scene in waiting if self.has_happened(scene)]:
                waiting.remove(scene)
                if scene.keeps_behind:
                    self.send(scene, scene.jobs[1:])
            return not waiting

        with suppress(AssertionError):
            wait_for(have_happened, 40)
        if waiting:
            return [f"{scene.name} has not happened: {self.actors[scene].output}" for scene in waiting]
        self.recover(scenes)
        return [problem for scene in scenes for problem in self.judge(scene)]

    def recover(self, scenes):
        """A healthy worker does what is left; then those wake that were stopped, and everybody leaves."""
        queues = [word for scene in scenes for word in ("--queue", scene.name)]
        healthy = self.forks.worker("--processes", "2", *queues, env={"PRUNE_EVERY": "0.5"})
        with suppress(AssertionError):  # what it is that has no end, the checker says
            wait_for(self.is_over, 40)
        stopped = [scene for scene in scenes if scene.action == "stop" and scene.stops == "parent"]
        for scene in stopped:
            self.actors[scene].thaw()
        for scene in stopped:
            if scene.who == "worker":
                wait_for(lambda scene=scene: "lost its lease" in self.actors[scene].output)
        for fork in (*self.actors.values(), healthy):
            fork.send(signal.SIGTERM)
        for fork in (*self.actors.values(), healthy):
            wait_for(lambda fork=fork: not fork.is_alive)

    def prepare(self, scene):
        self.jobs[scene] = []
        self.send(scene, scene.jobs[:1] if scene.keeps_behind else scene.jobs)
        if scene.who in KEEPERS:
            self.provide(scene)

    def send(self, scene, items):
        for item in items:
            task, *args = item if isinstance(item, tuple) else (item,)
            result = task.using(queue_name=scene.name).enqueue(*args)
            self.jobs[scene].append(uuid.UUID(result.id))

    def provide(self, scene):
        """What is there for a keeper to find: by allowed moves, for the audit to see."""
        past = timezone.now() - timedelta(days=30)
        job = Job(
            task_name=quick.name, queue_name=scene.name, backend="default", arguments="[[],{}]",
            max_attempts=5, enqueued_at=past,
        )  # fmt: skip
        with transaction.atomic(using=self.alias):  # so that no worker has it in between
            job.save(using=self.alias, force_insert=True)
            row = Job.objects.using(self.alias).filter(id=job.id)
            run = {"started_at": past, "last_attempted_at": past, "worker_id": uuid7()}
            row.update(status="RUNNING", fence=1, attempts=1, **run)
            if scene.who == "prune":
                row.update(status="SUCCESSFUL", finished_at=past)
            else:
                self.jobs[scene].append(job.id)

    def start(self, scene):
        env = {"FAILPOINTS": f"{scene.name}@{scene.at}", "FAILPOINT_MARKS": str(self.folder)}
        if (scene.step, scene.action) == ("attempt.received", "stop"):
            env["START_TIMEOUT"] = "1"  # the clock of the task does not run yet
        if scene.who == "worker":
            fork = self.forks.worker("--processes", "1", "--queue", scene.name, env=env)
        elif scene.who == "caller":
            fork = self.forks.fork("tests.faults.callers:enqueue", scene.name, COUNT, env=env)
        else:
            fork = self.forks.fork("tests.faults.callers:keep", scene.who, env=env)
        self.actors[scene] = fork

    def block(self, scene):
        """Stop a worker's only child while it is idle: what is handed to it is taken back and released."""
        wait_for(lambda: Job.objects.filter(queue_name=scene.name, status="SUCCESSFUL").exists())
        for process in self.actors[scene].tree()[2:]:
            process.suspend()
        result = quick.using(queue_name=scene.name).enqueue()
        self.jobs[scene].append(uuid.UUID(result.id))

    def has_happened(self, scene):
        return (self.folder / scene.name).exists()

    def is_over(self):
        old = Job.objects.filter(finished_at__lt=timezone.now() - timedelta(days=29))
        return not (Job.objects.exclude(status__in=FINAL) | old).exists()

    def judge(self, scene):
        read = stories(self.alias)
        if scene.who == "caller":
            found = [story for story in read.values() if story.row and story.row["queue_name"] == scene.name]
            expected = COUNT if scene.step == "enqueue.committed" or scene.action == "sleep" else 0
            if len(found) != expected:
                yield f"{scene.name}: {len(found)} jobs of {expected}"
        for number, job in enumerate(self.jobs[scene], 1):
            story = read[job]
            promise = scene.promise if number == scene.hit else scene.others
            kinds = tuple(attempt["outcome"] for attempt in story.attempts)
            if promise is not None and kinds != promise:
                yield f"{scene.name}: {kinds} instead of {promise} for the {number}. {story}"
