"""Every fault at every step of a job's way, by real processes: what is promised then is what happens."""

import json
import signal
import uuid
from contextlib import suppress
from datetime import timedelta

import pytest
from django.db import connections, transaction
from django.utils import timezone

from django_tasks_q.models import Job
from django_tasks_q.models.identifiers import uuid7
from django_tasks_q.states import FINAL

from ..faults.nursery import nursery
from ..faults.tasks import quick
from ..project import wait_for
from .audit import audited
from .invariants import Rules, stories, violations
from .scenes import waves

LEASE = 3
COUNT = 3
EFFECTFUL = [f"tests.faults.tasks.{name}" for name in ("quick", "slow", "overrun")]


class Stage:
    """Where the scenes of one wave are played beside each other."""

    def __init__(self, alias, folder, forks):
        self.alias, self.folder, self.forks = alias, folder, forks
        self.jobs = {}
        self.actors = {}

    def play(self, scenes):
        with transaction.atomic(using=self.alias):
            for scene in scenes:
                self.prepare(scene)
        for scene in scenes:
            self.start(scene)
        waiting = list(scenes)

        def have_happened():
            waiting[:] = [scene for scene in waiting if not self.has_happened(scene)]
            return "none" if not waiting else ""

        with suppress(AssertionError):
            wait_for(have_happened)
        if waiting:
            return [f"{scene.name} has not happened: {self.actors[scene].output}" for scene in waiting]
        queues = [word for scene in scenes for word in ("--queue", scene.name)]
        healthy = self.forks.worker("--processes", "2", *queues, env={"PRUNE_EVERY": "0.5"})
        with suppress(AssertionError):  # what it is that has no end, the checker says
            wait_for(self.is_over, 30)
        for scene in scenes:
            if scene.action == "stop" and scene.stops == "parent":
                self.actors[scene].thaw()
        for scene in scenes:
            if scene.action == "stop" and scene.stops == "parent":
                wait_for(lambda scene=scene: "lost its lease" in self.actors[scene].output)
        for fork in (*self.actors.values(), healthy):
            fork.send(signal.SIGTERM)
        for fork in (*self.actors.values(), healthy):
            wait_for(lambda fork=fork: not fork.is_alive)
        return [problem for scene in scenes for problem in self.judge(scene)]

    def prepare(self, scene):
        self.jobs[scene] = []
        for item in scene.jobs:
            task, *args = item if isinstance(item, tuple) else (item,)
            result = task.using(queue_name=scene.name).enqueue(*args)
            self.jobs[scene].append(uuid.UUID(result.id))
        self.provide(scene)

    def provide(self, scene):
        """What is there for a rescuer or a pruner to find: by allowed moves, for the audit to see."""
        if scene.who not in ("rescuer", "pruner"):
            return
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
            if scene.who == "pruner":
                row.update(status="SUCCESSFUL", finished_at=past)
            else:
                self.jobs[scene].append(job.id)

    def start(self, scene):
        env = {"FAILPOINTS": f"{scene.name}@{scene.hit}", "FAILPOINT_MARKS": str(self.folder)}
        if scene.who == "caller":
            self.actors[scene] = self.forks.fork("tests.faults.callers:enqueue", scene.name, COUNT, env=env)
            return
        if scene.who == "pruner":
            env["PRUNE_EVERY"] = "0.5"
        # Whoever only keeps order runs nothing: what it rescues is for the healthy one.
        queue = scene.name if scene.who == "worker" else "none"
        self.actors[scene] = self.forks.worker("--processes", "1", "--queue", queue, env=env)

    def has_happened(self, scene):
        if (self.folder / scene.name).exists():
            return True
        # Others may have come before it.
        found = {"rescuer": "RUNNING", "pruner": "SUCCESSFUL"}.get(scene.who)
        if not Job.objects.filter(queue_name=scene.name, status=found).exists():
            self.provide(scene)
        return False

    def is_over(self):
        old = Job.objects.filter(finished_at__lt=timezone.now() - timedelta(days=29))
        return not (Job.objects.exclude(status__in=FINAL) | old).exists()

    def judge(self, scene):
        read = stories(self.alias)
        if scene.who == "caller":
            found = [story for story in read.values() if story.row and story.row["queue_name"] == scene.name]
            expected = COUNT if scene.step == "enqueue.committed" else 0
            if len(found) != expected:
                yield f"{scene.name}: {len(found)} jobs of {expected}"
        for number, job in enumerate(self.jobs[scene], 1):
            story = read[job]
            promise = scene.promise if number == scene.hit or scene.who == "rescuer" else scene.others
            kinds = tuple(attempt["outcome"] for attempt in story.attempts)
            if promise is not None and kinds != promise:
                yield f"{scene.name}: {kinds} instead of {promise} for the {number}. {story}"


@pytest.mark.parametrize("wave", range(3), ids=["running", "ending", "keeping"])
def test_every_fault_at_every_step_ends_as_promised(project, tmp_path, wave):
    scenes = [
        scene
        for scene in list(waves())[wave]
        if connections[project.alias].vendor == "postgresql" or not scene.needs_server
    ]
    env = project.env | {
        "EXTRA_APPS": '["tests.faults"]',
        "TASKS_OPTIONS": json.dumps({"LEASE": LEASE, "GRACE": 0.5}),
    }
    with audited(project.alias), nursery(env, tmp_path) as forks:
        problems = Stage(project.alias, tmp_path, forks).play(scenes)
        problems += violations(project.alias, Rules(effectful=EFFECTFUL))
        assert problems == []
