"""The checker itself: it is silent about what is right, and finds each thing that is wrong."""

import uuid
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from django_tasks_q.exceptions import WorkerLost
from django_tasks_q.lifecycle.outcome import Failure, Outcome
from django_tasks_q.models import Attempt, Job, Worker
from django_tasks_q.models.identifiers import uuid7
from django_tasks_q.storage import Claim, storage_for

from .audit import leave_effect
from .invariants import Rules, violations

ME, YOU = uuid.uuid4(), uuid.uuid4()
RULES = Rules(effectful=["a"])


class Scene:
    """A few verbs on one audited database."""

    def __init__(self, alias):
        self.alias, self.storage = alias, storage_for(alias)
        self.rows = Job.objects.using(alias)

    def add(self, **values):
        values = {"task_name": "a", "queue_name": "default", "arguments": "[[],{}]", **values}
        job = Job(id=uuid7(), backend="default", enqueued_at=timezone.now(), **values)
        Job.objects.using(self.storage.alias).bulk_create([job])
        return job

    def claim(self, worker_id=ME):
        (job,) = self.storage.jobs.claim(Claim(worker_id=worker_id, backend="default", task_names=["a"]), 1)
        return job

    def succeed(self, job):
        leave_effect(self.alias, job.id, job.fence)
        self.storage.jobs.finish([Outcome.successful(job.id, job.fence, f'{{"fence":{job.fence}}}', 0.1)])

    def rescue(self, job, crashes=1, *, is_marked=True):
        if is_marked:
            self.storage.jobs.mark_begun([(job.id, job.fence)])
        self.storage.jobs.finish([Outcome.crashed(job.id, job.fence, WorkerLost("gone"), True, crashes >= 3)])

    def register(self, lease):
        worker = Worker(id=ME, name="w", hostname="h", pid=1, backend="default", processes=1, version="1")
        self.storage.workers.register(worker, lease)

    def problems(self, **rules):
        return [text.split()[0] for text in violations(self.alias, Rules(effectful=["a"], **rules))]


@pytest.fixture
def scene(audit):
    return Scene(audit)


def test_ordinary_lives_break_no_rule(scene):
    scene.register(-1.0)
    for ending in ("success", "failure", "rescue", "release"):
        scene.add(max_attempts=2)
        job = scene.claim()
        match ending:
            case "failure":
                failure = Failure("CODE", "a.B", "message", "")
                scene.storage.jobs.finish([Outcome.failed(job.id, job.fence, failure, 0.0, 0.1)])
                job = scene.claim()
                scene.storage.jobs.finish([Outcome.failed(job.id, job.fence, failure, None, 0.1)])
                continue
            case "rescue":
                scene.rescue(job)
                job = scene.claim(YOU)
            case "release":
                scene.storage.jobs.finish([Outcome.released(job.id, job.fence)])
                job = scene.claim(YOU)
        scene.succeed(job)
    gone = scene.add()
    scene.succeed(scene.claim())
    scene.rows.filter(id=gone.id).update(finished_at=timezone.now() - timedelta(days=2))
    scene.storage.maintenance.prune("default", {"SUCCESSFUL"}, 86400.0)
    found = violations(scene.alias, RULES)
    # Moving the time of an ending is itself a second ending, as the audit sees it.
    assert [text.split()[0] for text in found if str(gone.id) not in text] == []
    assert any(str(gone.id) in text and text.startswith("I3") for text in found)


def test_an_enqueue_that_left_no_row_is_found(scene):
    assert scene.problems(committed=[uuid7()]) == ["I1"]


def test_a_row_that_should_not_be_is_found(scene):
    assert "I1" in scene.problems(rolled_back=[scene.add().id])


def test_a_deletion_before_the_end_is_found(scene):
    scene.add()
    scene.rows.all().delete()
    assert scene.problems() == ["I1"]


def test_a_job_that_waits_for_nothing_is_stuck_once_faults_have_stopped(scene):
    scene.add()
    assert (scene.problems(), scene.problems(settled=False)) == (["I2"], [])


def test_a_job_that_nobody_runs_is_stuck_once_faults_have_stopped(scene):
    scene.add()
    scene.claim()
    assert scene.problems() == ["I2"]
    scene.register(60.0)
    assert scene.problems() == []


def test_a_second_ending_is_found(scene):
    scene.add()
    scene.succeed(scene.claim())
    scene.rows.update(finished_at=timezone.now() + timedelta(seconds=1))
    assert "I3" in scene.problems()


def test_an_end_that_is_taken_back_is_found(scene):
    scene.add()
    scene.succeed(scene.claim())
    scene.rows.update(status="READY")
    assert "I3" in scene.problems()


def test_an_ending_by_an_old_fence_is_found(scene):
    scene.add()
    old = scene.claim()
    scene.rescue(old)
    new = scene.claim(YOU)
    leave_effect(scene.alias, new.id, new.fence)
    scene.storage.jobs.finish([Outcome.successful(new.id, new.fence, '{"fence":1}', 0.1)])
    assert scene.problems() == ["I4"]


def test_a_success_without_its_effect_is_found(scene):
    scene.add()
    scene.succeed(scene.claim())
    with connections[scene.alias].cursor() as cursor:
        cursor.execute("DELETE FROM proof_effect")
    assert scene.problems() == ["I5"]


def test_a_second_effect_of_an_atomic_task_is_found(scene):
    scene.add()
    job = scene.claim()
    scene.succeed(job)
    assert violations(scene.alias, Rules(atomic=["a"])) == []
    leave_effect(scene.alias, job.id, job.fence)
    assert [text.split()[0] for text in violations(scene.alias, Rules(atomic=["a"]))] == ["I5"]


def test_an_effect_of_an_atomic_task_that_failed_is_found(scene):
    scene.add()
    job = scene.claim()
    leave_effect(scene.alias, job.id, job.fence)
    failure = Failure("CODE", "a.B", "message", "")
    scene.storage.jobs.finish([Outcome.failed(job.id, job.fence, failure, None, 0.1)])
    assert [text.split()[0] for text in violations(scene.alias, Rules(atomic=["a"]))] == ["I5"]


def test_more_runs_than_allowed_are_found(scene):
    scene.add(max_attempts=1)
    scene.succeed(scene.claim())
    scene.rows.update(attempts=2)
    assert set(scene.problems()) == {"I6"}


def test_an_unmarked_attempt_that_counts_as_lost_is_found(scene):
    scene.add()
    scene.rescue(scene.claim())
    scene.rescue(scene.claim(YOU), is_marked=False)  # there is a mark, of the attempt before
    scene.succeed(scene.claim())
    assert scene.problems() == ["I6"]


@pytest.mark.parametrize("lease", [-1.0, 60.0])
def test_a_rescue_that_does_not_count_is_one_as_well(scene, lease):
    scene.register(lease)
    scene.add()
    job = scene.claim()
    failure = Failure("WORKER_LOST", "a.B", "gone", "")
    scene.storage.jobs.finish([Outcome.rescued(job.id, job.fence, failure)])
    scene.succeed(scene.claim(YOU))
    assert scene.problems() == ([] if lease < 0 else ["I9"])
    scene.rows.update(rescues=2)
    assert "I6" in scene.problems()


def test_a_run_without_its_record_is_found(scene):
    scene.add()
    scene.rescue(scene.claim())
    scene.succeed(scene.claim(YOU))
    Attempt.objects.using(scene.alias).filter(outcome="lost").delete()
    assert set(scene.problems()) == {"I6"}


def test_a_fence_that_was_never_granted_is_found(scene):
    scene.add()
    scene.claim()
    scene.rows.update(fence=7)
    assert {"I3", "I4"} <= set(scene.problems())


def test_an_end_before_the_beginning_is_found(scene):
    scene.add()
    job = scene.claim()
    scene.rows.update(started_at=timezone.now() + timedelta(hours=1), last_attempted_at=None)
    scene.succeed(job)
    assert "I7" in scene.problems()


def test_a_rescue_from_a_live_owner_is_found(scene):
    scene.register(60.0)
    scene.add()
    scene.rescue(scene.claim())
    scene.succeed(scene.claim(YOU))
    assert scene.problems() == ["I9"]
