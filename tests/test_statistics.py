"""What is counted of jobs, on every database."""

from datetime import UTC, timedelta
from itertools import pairwise

import pytest
from django.db import connections
from django.utils import timezone

from django_tasks_q.exceptions import WorkerLost
from django_tasks_q.lifecycle.outcome import Failure, Outcome
from django_tasks_q.lifecycle.states import JobStatus
from django_tasks_q.maintenance.statistics import KEPT, condense
from django_tasks_q.models import Job, Statistic
from django_tasks_q.models.identifiers import uuid7
from django_tasks_q.models.statistic import BOUNDS, BUCKETS, FIGURES, percentiles
from django_tasks_q.storage import ClaimedJob, storage_for
from django_tasks_q.storage.timestamps import microseconds
from django_tasks_q.worker.subscribers import metrics as metrics_module
from django_tasks_q.worker.subscribers.metrics import Metrics

from .tasksapp import tasks
from .test_worker import finished, options

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


@pytest.fixture
def storage(storage_alias):
    return storage_for(storage_alias)


@pytest.fixture
def rows(storage):
    return Statistic.objects.using(storage.alias)


def claimed(queue="q", task="t", *, waited=2.0, attempts=1):
    now = microseconds(timezone.now())
    return ClaimedJob(
        id=uuid7(), fence=1, task_name=task, queue_name=queue, priority=0, arguments="", options="",
        max_attempts=1, timeout=None, metadata=None, attempts=attempts, crashes=0,
        enqueued_at=now - round(waited * 1e6), last_attempted_at=now, expires_at=None, run_after=None,
    )  # fmt: skip


FAILURE = Failure("X", "a.B", "", "")
OUTCOMES = {
    "successful": lambda job: Outcome.successful(job.id, job.fence, "1", 0.5),
    "failed": lambda job: Outcome.failed(job.id, job.fence, FAILURE, None, 0.5),
    "retried": lambda job: Outcome.failed(job.id, job.fence, FAILURE, 1.0, 0.5),
    "cancelled": lambda job: Outcome.cancelled(job.id, job.fence, FAILURE, 0.5),
    "crashed": lambda job: Outcome.crashed(job.id, job.fence, WorkerLost(""), True, False, 0.5),
    "released": lambda job: Outcome.released(job.id, job.fence),
    "snoozed": lambda job: Outcome.snoozed(job.id, job.fence, 1.0, 0.5),
}


def test_each_ending_is_counted_as_what_it_is(storage, rows):
    metrics = Metrics(storage, "default")
    jobs = {name: claimed(waited=2.0) for name in OUTCOMES}
    metrics.claimed(jobs.values())
    outcomes = [OUTCOMES[name](job) for name, job in jobs.items()]
    endings = zip(outcomes, jobs.values(), strict=True)
    metrics.written(endings, {outcome.job_id: outcome.status for outcome in outcomes})
    metrics.write(now=True)
    found = rows.get()
    assert (found.backend, found.queue_name, found.task_name) == ("default", "q", "t")
    counts = {name: getattr(found, name) for name in FIGURES if name not in BUCKETS}
    assert counts.pop("seconds_waited") == pytest.approx(2.0 * len(OUTCOMES), abs=0.1)
    assert counts == {
        "started": 7, "successful": 1, "failed": 1, "retried": 2, "crashed": 1, "cancelled": 1, "expired": 0,
        "seconds_run": pytest.approx(0.5 * 6),
    }  # fmt: skip
    assert [getattr(found, name) for name in BUCKETS] == [0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0]
    assert metrics.seconds_to_next == float("inf")


def test_what_was_others_is_not_counted(storage, rows):
    metrics = Metrics(storage, "default")
    job = claimed()
    metrics.claimed([job])
    metrics.written([(OUTCOMES["successful"](job), job)], {})
    metrics.written([(OUTCOMES["successful"](job), None)], {job.id: JobStatus.SUCCESSFUL})
    metrics.write(now=True)
    assert (rows.get().started, rows.get().successful) == (1, 0)


def test_figures_are_added_to_those_of_others(storage, rows):
    for _ in range(3):
        storage.statistics.count(
            "default", {("q", "a"): {"started": 2, "seconds_run": 0.5}, ("q", "b"): {"failed": 1}}
        )
    storage.statistics.count("other", {("q", "a"): {"started": 1}})
    storage.statistics.count("default", {})
    mine = rows.of("default").since(timezone.now() - HOUR)
    assert [
        (row["task_name"], row["started"], row["failed"]) for row in mine.by_task(timezone.now() - HOUR)
    ] == [
        ("a", 6, 0),
        ("b", 0, 3),
    ]
    assert mine.totals()["seconds_run"] == pytest.approx(1.5)
    assert mine.by_queue(timezone.now() - HOUR)[0]["started"] == 6
    assert all(row.moment.second == row.moment.microsecond == 0 for row in mine)


def test_many_figures_take_few_statements(storage, rows, django_assert_max_num_queries):
    counted = {("q", f"task {number:03}"): {"started": 1, "seconds_run": 0.25} for number in range(300)}
    counted["q", "task of nothing"] = {"started": 0}
    several = 12 if storage.alias == "default" else 4  # SQLite takes fewer parameters at once
    for _ in range(2):
        with django_assert_max_num_queries(several, connection=connections[storage.alias]):
            storage.statistics.count("default", counted)
    assert rows.count() == 300
    assert set(rows.values_list("started", "seconds_run", "failed")) == {(2, 0.5, 0)}


def test_nothing_is_written_before_its_time_and_everything_after(storage, rows, monkeypatch):
    metrics = Metrics(storage, "default")
    metrics.write(now=True)
    metrics.claimed([claimed()])
    assert 0 < metrics.seconds_to_next <= metrics_module.EVERY
    metrics.write()
    assert rows.count() == 0
    monkeypatch.setattr(metrics_module, "EVERY", 0.0)
    metrics.write()
    assert rows.get().started == 1


def test_figures_are_bounded_however_many_queues_there_are(storage, rows, monkeypatch):
    monkeypatch.setattr(metrics_module, "MAX_LABELS", 3)
    metrics = Metrics(storage, "default")
    metrics.claimed([claimed(queue=f"q{number}") for number in range(10)])
    metrics.write(now=True)
    assert sorted(rows.values_list("queue_name", "started")) == [("", 7), ("q0", 1), ("q1", 1), ("q2", 1)]


def test_figures_that_the_database_refuses_stop_nobody(storage, rows, caplog):
    metrics = Metrics(storage, "default")
    if storage.alias != "postgres":
        pytest.skip("others take any length, or cut it")
    metrics.claimed([claimed(queue="q" * 300)])
    metrics.write(now=True)
    assert "Statistics were refused" in caplog.text
    assert metrics.seconds_to_next == float("inf")


def test_what_expired_or_was_lost_elsewhere_is_counted(storage, rows):
    jobs = [
        Job(
            id=uuid7(),
            task_name="t",
            queue_name="q",
            backend="default",
            arguments="",
            enqueued_at=timezone.now(),
        )
        for _ in range(5)
    ]
    Job.objects.using(storage.alias).bulk_create(jobs)
    metrics = Metrics(storage, "default")
    metrics.expired([jobs[0].id])
    states = dict.fromkeys((job.id for job in jobs[1:]), JobStatus.READY)
    states |= {jobs[2].id: JobStatus.FAILED, jobs[4].id: JobStatus.CANCELLED}
    # The last two have not begun, as far as known: one runs again, and nobody wants the other any more.
    metrics.rescued(states, [jobs[3].id, jobs[4].id])
    metrics.write(now=True)
    found = rows.get()
    assert (found.expired, found.retried, found.failed, found.crashed) == (1, 1, 1, 2)
    assert found.cancelled == 1


# Keeping it small


def at(rows, moment, **figures):
    values = {"backend": "default", "queue_name": "q", "task_name": "t", **figures}
    return rows.create(moment=moment.replace(second=0, microsecond=0), **values)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata"])
def test_minutes_become_hours_and_hours_go(storage, rows, settings, zone):
    settings.TIME_ZONE = zone
    now = timezone.now()
    hour = (now - 5 * HOUR).astimezone(UTC).replace(minute=0)
    for minute in (0, 1, 30, 59):
        at(rows, hour + minute * MINUTE, started=1, seconds_run=0.5, took_3=2)
        at(rows, hour + minute * MINUTE, started=10, task_name="u")
    at(rows, hour + HOUR + 7 * MINUTE, started=3)
    recent = at(rows, now - HOUR, started=4)
    at(rows, now - timedelta(seconds=KEPT) - HOUR, started=5)
    while condense(storage, "default"):
        pass
    found = {(row.moment, row.task_name): (row.started, row.seconds_run, row.took_3) for row in rows.all()}
    hour = hour.replace(second=0, microsecond=0)
    assert found == {
        (hour, "t"): (4, 2.0, 8),
        (hour, "u"): (40, 0.0, 0),
        (hour + HOUR, "t"): (3, 0.0, 0),
        (recent.moment, "t"): (4, 0.0, 0),
    }
    assert not condense(storage, "default")


def test_two_that_fold_at_once_count_nothing_twice(storage, rows):
    import threading

    from django.db import connections

    hour = (timezone.now() - 5 * HOUR).replace(minute=0)
    for minute in range(60):
        at(rows, hour + minute * MINUTE, started=1)
    errors, barrier = [], threading.Barrier(3)

    def fold():
        try:
            barrier.wait(10)
            for _ in range(5):
                storage.statistics.fold("default")
        except BaseException as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=fold) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []
    assert list(rows.values_list("started", flat=True)) == [60]


# Reading


def test_a_series_has_every_step(storage, rows):
    now = timezone.now().replace(second=0, microsecond=0)
    at(rows, now, started=1)
    at(rows, now - 5 * MINUTE, started=2)
    at(rows, now - 5 * MINUTE, started=3, task_name="u")
    points = rows.of("default").series(now - 10 * MINUTE)
    assert [point.moment for point in points][:11] == [now - (10 - number) * MINUTE for number in range(11)]
    assert [point.figures["started"] for point in points][:11] == [0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 1]
    for step in (timedelta(seconds=90), timedelta(0)):
        with pytest.raises(ValueError, match="whole minutes"):
            rows.series(now - HOUR, step)
    with pytest.raises(ValueError, match="too many"):
        rows.series(now - timedelta(days=4000), HOUR)


def test_a_series_of_long_ago_goes_by_the_hour(storage, rows):
    now = timezone.now().replace(second=0, microsecond=0)
    at(rows, (now - 7 * HOUR).replace(minute=0), started=60)
    points = rows.series(now - 24 * HOUR, MINUTE)
    assert {later.moment - earlier.moment for earlier, later in pairwise(points)} == {HOUR}
    assert sum(point.figures["started"] for point in points) == 60
    days = rows.series(now - timedelta(days=7), timedelta(days=1))
    assert len(days) == 8


def test_percentiles_come_from_the_histogram(storage, rows):
    assert rows.percentiles() == {0.5: None, 0.95: None}
    at(rows, timezone.now(), took_0=50, took_5=40, took_11=10, seconds_run=80_000)
    found = rows.percentiles(0.25, 0.5, 0.9, 0.99)
    # Each is true of so many runs: none is between two ends of columns, where nobody knows.
    assert found[0.25] == found[0.5] == BOUNDS[0]
    assert found[0.9] == BOUNDS[5]
    assert BOUNDS[-1] < found[0.99] <= 80_000 / 2
    (row,) = rows.by_task(timezone.now() - HOUR)
    assert percentiles(row, 0.5) == {0.5: found[0.5]}


@pytest.mark.once
@pytest.mark.parametrize(
    ("durations", "share", "least", "most"),
    [
        ([77.0], 0.5, 77.0, 77.0),
        ([0.000_02] * 100, 0.5, 0.000_02, 0.000_04),
        ([0.000_02] * 100, 0.95, 0.000_02, 0.001),
        ([0.5, 0.5, 0.5, 30.0], 0.5, 0.5, 1.024),
        ([5000.0, 6000.0], 0.95, 6000.0, 11_000.0),
    ],
)
def test_no_percentile_is_made_up(durations, share, least, most):
    """It is never below the true one, and never above all that was run."""
    from bisect import bisect_left

    row = dict.fromkeys(FIGURES, 0) | {"seconds_run": sum(durations)}
    for duration in durations:
        row[BUCKETS[bisect_left(BOUNDS, duration)]] += 1
    found = percentiles(row, share)[share]
    assert least <= found + 1e-12
    assert found <= most + 1e-12


def test_a_run_falls_into_the_first_column_that_holds_it():
    from bisect import bisect_left

    assert len(BUCKETS) == len(BOUNDS) + 1 == 12
    for duration, bucket in ((0.0, 0), (0.001, 0), (0.0011, 1), (1.0, 5), (1.1, 6), (5000.0, 11)):
        assert bisect_left(BOUNDS, duration) == bucket


# By way of a worker


def test_a_worker_writes_what_it_has_counted(project):
    options(project, lease=5)
    good = [tasks.noop.enqueue() for _ in range(5)]
    bad = tasks.fail_thrice.enqueue()
    with project.worker("--processes", "2") as worker:
        finished(project, *good, bad)
        assert worker.stop() == 0
    rows = {row["task_name"]: row for row in Statistic.objects.by_task(timezone.now() - HOUR)}
    done, failed = rows[tasks.noop.name], rows[tasks.fail_thrice.name]
    assert (done["started"] >= 5, done["successful"], done["retried"]) == (True, 5, 0)
    assert sum(done[name] for name in BUCKETS) == 5
    assert (failed["failed"], failed["retried"], failed["successful"]) == (1, 2, 0)
    assert done["seconds_waited"] > 0
    assert Statistic.objects.percentiles()[0.5] is not None
