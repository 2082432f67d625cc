"""The table of transitions, and that every write keeps to it."""

import itertools
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from django_tasks_q.lifecycle import states
from django_tasks_q.lifecycle.admission import Admission, admit
from django_tasks_q.lifecycle.outcome import AttemptOutcome, Failure, Outcome
from django_tasks_q.lifecycle.states import TRANSITIONS, IllegalTransition, JobStatus
from django_tasks_q.models import Job
from django_tasks_q.models.identifiers import uuid7
from django_tasks_q.storage import Claim, storage_for

PAIRS = list(itertools.product(JobStatus, JobStatus))
ILLEGAL = [pair for pair in PAIRS if pair[1] not in TRANSITIONS[pair[0]]]
FENCE = 3
PAST, LATER = timezone.now() - timedelta(hours=10), timezone.now() + timedelta(hours=10)
FAILURE = Failure("CODE", "builtins.ValueError", "message", "traceback")
#: Of parameters, without the time of this run in them, so that every test runner collects the same.
EARLY, NOW, LATE = (datetime(year, 1, 1, tzinfo=UTC) for year in (2020, 2026, 2100))


@pytest.fixture
def lenient(monkeypatch):
    """As in production."""
    monkeypatch.setattr(states, "is_strict", False)


@pytest.fixture
def storage(storage_alias):
    return storage_for(storage_alias)


def add(storage, status, **values):
    job = Job(
        id=uuid7(), status=status, task_name="a", queue_name="default", backend="default",
        arguments="[[],{}]", enqueued_at=PAST, fence=FENCE, attempts=1, **values,
    )  # fmt: skip
    Job.objects.using(storage.alias).bulk_create([job])
    return job


def one_of_each(storage, **values):
    return {add(storage, status, **values).id: status for status in JobStatus}


def changed(storage, before):
    """The transitions that have happened to jobs."""
    rows = Job.objects.using(storage.alias).filter(id__in=before).values_list("id", "status")
    return {(before[id], JobStatus(status)) for id, status in rows if status != before[id]}


def outcome(id, status):
    return Outcome(id, FENCE, AttemptOutcome.FAILED, status, failure=FAILURE, duration=0.1)


# The check


@pytest.mark.once
@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_only_what_the_table_has_is_legal(old, new, monkeypatch):
    monkeypatch.setattr(states, "is_strict", False)
    allowed = new in TRANSITIONS[old]
    assert states.is_legal(old, new) is allowed
    assert states.legal_sources([old], new) == ([old] if allowed or old == new else [])
    monkeypatch.setattr(states, "is_strict", True)
    if allowed:
        assert states.is_legal(old, new)
        states.require(old, new)
        return
    for check in (states.is_legal, states.require):
        with pytest.raises(IllegalTransition, match=f"from {old.value} to {new.value}"):
            check(old, new)


# Writes


@pytest.mark.parametrize("new", JobStatus)
def test_an_ending_that_is_no_end_of_a_run_is_refused(storage, new, lenient):
    before = one_of_each(storage)
    written = storage.jobs.finish([outcome(id, new) for id in before])
    expected = {(JobStatus.RUNNING, new)} if new in TRANSITIONS[JobStatus.RUNNING] else set()
    assert changed(storage, before) == expected
    assert list(written.values()) == [new for _ in expected]


def test_an_ending_that_is_no_end_of_a_run_raises_in_tests(storage):
    assert states.is_strict
    job = add(storage, JobStatus.RUNNING)
    for new in set(JobStatus) - TRANSITIONS[JobStatus.RUNNING].keys():
        with pytest.raises(IllegalTransition):
            storage.jobs.finish([outcome(job.id, new)])
    assert changed(storage, {job.id: JobStatus.RUNNING}) == set()


@pytest.mark.parametrize("new", JobStatus)
def test_a_verb_of_people_cannot_make_an_illegal_transition(storage, new, lenient):
    before = one_of_each(storage)
    storage.jobs._move(list(before), tuple(JobStatus), status=new)
    assert changed(storage, before) == {(old, end) for old, end in PAIRS if end == new} - set(ILLEGAL)


CLAIM = Claim(worker_id=uuid.uuid4(), backend="default", task_names=["a"])

#: Every verb that writes a state, and the transitions that it makes of a job of each state.
VERBS = {
    "claim": lambda storage, ids: storage.jobs.claim(CLAIM, 99),
    "promote": lambda storage, ids: storage.maintenance.promote("default"),
    "expire": lambda storage, ids: storage.maintenance.expire("default"),
    "cancel": lambda storage, ids: storage.jobs.cancel(ids),
    "discard": lambda storage, ids: storage.jobs.discard(ids),
    "retry": lambda storage, ids: storage.jobs.retry(ids),
    "retry at": lambda storage, ids: storage.jobs.retry(ids, LATER),
    "reschedule": lambda storage, ids: storage.jobs.reschedule(ids, None),
    "reschedule at": lambda storage, ids: storage.jobs.reschedule(ids, LATER),
    "run now": lambda storage, ids: storage.jobs.run_now(ids),
    "finish": lambda storage, ids: storage.jobs.finish(
        [Outcome.successful(id, FENCE, "1", 0.1) for id in ids]
    ),
    "retry later": lambda storage, ids: storage.jobs.finish(
        [Outcome.snoozed(id, FENCE, 9.0, 0.1) for id in ids]
    ),
    "release": lambda storage, ids: storage.jobs.finish([Outcome.released(id, FENCE) for id in ids]),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_makes_the_transitions_that_the_table_says_it_makes(storage, verb):
    expires = PAST if verb == "expire" else None
    before = one_of_each(storage, run_after=PAST, expires_at=expires)
    VERBS[verb](storage, list(before))
    found = changed(storage, before)
    assert found
    assert not found & set(ILLEGAL)
    name = verb.removesuffix(" at")
    if verb in ("retry", "retry at"):
        target = JobStatus.READY if verb == "retry" else JobStatus.SCHEDULED
        assert found == {(old, target) for old in states.FINAL - {JobStatus.SUCCESSFUL}}
        return
    for old, new in found:
        assert name in TRANSITIONS[old][new].replace(", ", ",").split(",")


# Into READY and SCHEDULED


@pytest.mark.once
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, Admission(JobStatus.READY, delay=0.0)),
        ({"keeps_place": True}, Admission(JobStatus.READY)),
        ({"delay": 0.0}, Admission(JobStatus.READY, delay=0.0)),
        ({"delay": 0.0, "keeps_place": True}, Admission(JobStatus.READY)),
        ({"delay": 5.0}, Admission(JobStatus.SCHEDULED, delay=5.0)),
        ({"delay": 5.0, "keeps_place": True}, Admission(JobStatus.SCHEDULED, delay=5.0)),
        ({"at": EARLY}, Admission(JobStatus.SCHEDULED, at=EARLY)),
        ({"at": LATE}, Admission(JobStatus.SCHEDULED, at=LATE)),
        ({"at": EARLY, "now": NOW}, Admission(JobStatus.READY, at=EARLY)),
        ({"at": LATE, "now": NOW}, Admission(JobStatus.SCHEDULED, at=LATE)),
    ],
    ids=str,
)
def test_where_a_job_is_admitted_to(given, expected):
    assert admit(**given) == expected


def seconds_until(storage, id):
    run_after = Job.objects.using(storage.alias).values_list("run_after", flat=True).get(id=id)
    return run_after and (run_after - timezone.now()).total_seconds()


@pytest.mark.parametrize(
    ("verb", "old", "status", "wait"),
    [
        ("promote", "SCHEDULED", "READY", -36000),
        ("release", "RUNNING", "READY", -36000),
        ("retry later", "RUNNING", "SCHEDULED", 9),
        ("retry", "FAILED", "READY", 0),
        ("retry at", "FAILED", "SCHEDULED", 36000),
        ("reschedule", "SCHEDULED", "READY", 0),
        ("reschedule", "READY", "READY", -36000),  # it was like that already
        ("reschedule at", "READY", "SCHEDULED", 36000),
        ("run now", "SCHEDULED", "READY", 0),
    ],
)
def test_how_each_way_in_sets_the_time(storage, verb, old, status, wait):
    job = add(storage, JobStatus(old), run_after=PAST)
    VERBS[verb](storage, [job.id])
    assert Job.objects.using(storage.alias).get(id=job.id).status == status
    assert abs(seconds_until(storage, job.id) - wait) < 1800  # the run of the tests may have begun long ago
