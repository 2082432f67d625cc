"""Schedules on every database: what is due becomes one job, whoever else is at it."""

import contextlib
import json
import signal
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta
from unittest import mock

import pytest
from django.db import IntegrityError, OperationalError, connections
from django.utils import timezone

from django_tasks_q import actions, failpoints, schedule
from django_tasks_q.checks import check_schedules
from django_tasks_q.maintenance.loop import Maintenance
from django_tasks_q.models import Firing, Job, Schedule, Worker
from django_tasks_q.models.schedule import Outcome
from django_tasks_q.scheduling import fire as duty
from django_tasks_q.scheduling.declare import schedules
from django_tasks_q.scheduling.fire import Firings
from django_tasks_q.storage import ControlState, storage_for
from django_tasks_q.storage.orm import schedules as verbs
from django_tasks_q.timing import MOST_MISSED

from .project import wait_for
from .tasksapp import tasks
from .test_storage import in_threads

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def forget():
    yield
    for declared in list(schedules):
        schedules.remove(declared.name)
    schedules.clashes.clear()


@pytest.fixture
def storage(storage_alias):
    return storage_for(storage_alias)


def firings(storage):
    return Firings(storage, tasks.noop.get_backend())


def declare(storage, name="tick", call=tasks.noop, **options):
    """A schedule of the code that workers know. It answers its row."""
    schedules.remove(name)
    schedule(name, call, **(options or {"cron": "0 * * * *"}))
    firings(storage).declare()
    return row(storage, name)


def row(storage, name="tick"):
    return Schedule.objects.using(storage.alias).get(name=name)


def due(storage, ago=timedelta(seconds=1), name="tick"):
    """Have the next tick of a schedule be in the past. Answers it."""
    tick = timezone.now().replace(microsecond=0) - ago
    Schedule.objects.using(storage.alias).filter(name=name).update(next_at=tick)
    return tick


def jobs(storage):
    return Job.objects.using(storage.alias)


def outcomes(storage, name="tick"):
    found = Firing.objects.using(storage.alias).filter(schedule__name=name).order_by("tick")
    return list(found.values_list("outcome", flat=True))


# What the code declares


def test_what_the_code_declares_becomes_a_row_with_its_next_time(storage):
    found = declare(storage, "nightly", tasks.add.bind(1, b=2), cron="0 3 * * *", timezone="Europe/Berlin")
    assert (found.origin, found.task_name, found.arguments) == ("code", tasks.add.name, '[[1],{"b":2}]')
    assert (found.kind, found.expression, found.timezone) == ("cron", "0 3 * * *", "Europe/Berlin")
    assert found.next_at == found.timing.next_after(timezone.now())
    assert (found.enabled, found.retired_at, found.missed, found.overlap) == (True, None, "one", "allow")


def test_declaring_again_changes_nothing_and_asks_once(storage, django_assert_num_queries):
    found = declare(storage)
    again = firings(storage)
    with django_assert_num_queries(1, using=storage.alias):
        again.declare()
    assert row(storage).next_at == found.next_at


def test_workers_that_start_together_declare_it_once(storage):
    schedule("tick", tasks.noop, every=3600)
    in_threads(4, lambda number: firings(storage).declare())
    assert row(storage).next_at is not None


def test_a_changed_expression_counts_from_now_on_and_other_changes_leave_the_time(storage):
    declare(storage, cron="0 3 * * *")
    before = due(storage, -HOUR)
    assert declare(storage, cron="0 3 * * *", missed="all").next_at == before
    found = declare(storage, every=7200)
    assert (found.kind, found.expression, found.missed) == ("every", "7200", "one")
    assert found.next_at == found.timing.next_after(timezone.now())


def test_what_the_code_has_no_more_is_retired_and_fires_no_more_until_it_is_back(storage, monkeypatch):
    monkeypatch.setattr(verbs, "GRACE", -1.0)
    declare(storage)
    due(storage)
    schedules.remove("tick")
    firings(storage).declare()
    assert row(storage).retired_at is not None
    assert firings(storage).fire() == (0, None)
    found = declare(storage)
    assert found.retired_at is None
    assert found.next_at > timezone.now()


def test_what_an_operator_has_disabled_stays_so_whatever_the_code_says(storage):
    declare(storage)
    storage.schedules.disable("default", "tick", by="ada", reason="floods")
    found = declare(storage, cron="*/5 * * * *")
    assert (found.enabled, found.next_at, found.expression) == (False, None, "*/5 * * * *")
    assert firings(storage).fire() == (0, None)


def test_a_name_that_people_have_taken_is_left_to_them(storage, caplog):
    storage.schedules.save(
        Schedule(backend="default", name="tick", task_name=tasks.noop.name, expression="0 1 * * *"),
        duty.first_tick,
    )
    found = declare(storage, cron="0 2 * * *")
    assert (found.origin, found.expression) == ("database", "0 1 * * *")
    assert "the table has another schedule of that name" in caplog.text


@pytest.mark.parametrize(
    ("call", "options", "message"),
    [
        (tasks.add, {"every": 5}, "missing a required argument: 'a'"),
        (tasks.noop, {"every": 5, "missed": "some"}, "missed must be"),
        (len, {"every": 5}, "task.bind"),
        (tasks.noop.using(run_after=HOUR), {"every": 5}, "run_after belongs to one job"),
        (tasks.noop, {}, "either cron= or every="),
        (tasks.noop, {"cron": "x"}, "no cron expression"),
    ],
)
def test_a_bad_declaration_gets_one_clear_error(call, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        schedule("bad", call, **options)
    assert "bad" not in schedules


def test_two_of_one_name_are_an_error_that_a_check_repeats():
    schedule("twice", tasks.noop, every=60)
    with pytest.raises(ValueError, match=r"'twice' is taken at tests[.]test_schedules:"):
        schedule("twice", tasks.noop, every=60)
    (error,) = check_schedules(None)
    assert error.id == "django_tasks_q.E015"


def test_arguments_that_cannot_be_stored_are_found_by_a_check(storage_alias):
    schedule("bad", tasks.add.bind(object()), every=60)
    (error,) = check_schedules(None)
    assert (error.id, "bad" in error.msg) == ("django_tasks_q.E016", True)
    assert Firings(storage_for(storage_alias), tasks.noop.get_backend()).known.names == []


# What is due


def test_what_is_due_becomes_a_job_and_the_next_time_is_set(storage):
    declare(storage, call=tasks.add.using(queue_name="reports", priority=9).bind(4))
    tick = due(storage)
    count, seconds = firings(storage).fire()
    job, firing = jobs(storage).get(), Firing.objects.using(storage.alias).get()
    assert (count, job.task_name, job.arguments) == (1, tasks.add.name, "[[4],{}]")
    assert (job.queue_name, job.priority, job.status) == ("reports", 9, "READY")
    assert (firing.tick, firing.outcome, firing.job_id) == (tick, "fired", job.id)
    found = row(storage)
    assert found.last_at == tick
    assert found.next_at == found.timing.next_after(timezone.now())
    assert 0 < seconds <= 3600
    assert firings(storage).fire()[0] == 0


def test_without_schedules_a_look_is_one_statement(storage, django_assert_num_queries):
    idle = firings(storage)
    with django_assert_num_queries(1, using=storage.alias):
        assert idle.fire() == (0, None)


def test_a_worker_hears_of_schedules_with_its_orders_and_looks_for_none_else(storage):
    assert storage.queues.control("default", uuid.uuid4()) == ControlState()
    declare(storage)
    Schedule.objects.using(storage.alias).update(next_at=timezone.now() + timedelta(seconds=30))
    assert storage.queues.control("default", uuid.uuid4()) == ControlState()
    due(storage, timedelta(seconds=-9))
    assert 7 < storage.queues.control("default", uuid.uuid4()).fires_in < 9.1
    due(storage)
    assert storage.queues.control("default", uuid.uuid4()).fires_in < 0
    storage.schedules.disable("default", "tick", by="", reason="")
    assert storage.queues.control("default", uuid.uuid4()) == ControlState()
    maintenance = Maintenance(storage, tasks.noop.get_backend(), [])
    with mock.patch.object(Firings, "fire", autospec=True, return_value=(0, None)) as looks:
        for _ in range(20):
            maintenance.perform(uuid.uuid4(), (), idle=True)
        assert looks.call_count == 1
        maintenance.fires_in(float("inf"))
        assert maintenance.seconds_to("fire") > 200
        maintenance.fires_in(0.5)
        assert 0 < maintenance.seconds_to_next < 0.51


@pytest.mark.parametrize(
    ("missed", "expected"),
    [
        ("one", ["missed", "fired"]),
        ("skip", ["missed"]),
        ("all", ["fired", "fired", "fired", "fired"]),
    ],
)
def test_after_three_hours_each_policy_does_what_it_says(storage, missed, expected):
    declare(storage, cron=f"{(timezone.now() - timedelta(minutes=10)).minute} * * * *", missed=missed)
    tick = row(storage).timing.last_before(timezone.now()) - 3 * HOUR
    Schedule.objects.using(storage.alias).update(next_at=tick)
    firings(storage).fire()
    assert outcomes(storage) == expected
    assert jobs(storage).count() == expected.count("fired")
    assert row(storage).next_at > timezone.now()


def test_making_up_for_all_has_an_end(storage):
    declare(storage, every=1, missed="all")
    due(storage, HOUR)
    firings(storage).fire()
    assert jobs(storage).count() == MOST_MISSED
    assert outcomes(storage)[0] == "missed"


def test_while_the_job_before_has_not_ended_the_tick_is_skipped_with_its_reason(storage):
    declare(storage, every=86400, overlap="skip")
    due(storage, timedelta(seconds=9))
    assert firings(storage).fire()[0] == 1
    due(storage, timedelta(seconds=6))
    assert firings(storage).fire()[0] == 0
    assert outcomes(storage) == ["fired", "overlap"]
    jobs(storage).update(status="FAILED", finished_at=timezone.now())
    due(storage, timedelta(seconds=3))
    assert firings(storage).fire()[0] == 1


def test_without_that_policy_jobs_may_overlap(storage):
    declare(storage, every=86400)
    for seconds in (6, 3):
        due(storage, timedelta(seconds=seconds))
        firings(storage).fire()
    assert outcomes(storage).count("fired") == jobs(storage).count() == 2


def test_a_schedule_of_an_unknown_task_is_left_to_a_worker_that_knows_it_and_is_late(storage):
    declare(storage)
    storage.schedules.save(
        Schedule(backend="default", name="other", task_name="of.the.future", expression="0 1 * * *"),
        duty.first_tick,
    )
    due(storage, HOUR)
    due(storage, HOUR, "other")
    schedules.remove("tick")
    stranger = firings(storage)
    assert stranger.fire() == (0, None)
    late = Schedule.objects.using(storage.alias).late()
    assert sorted(late.values_list("name", flat=True)) == ["other", "tick"]


def test_a_call_that_the_backend_refuses_is_recorded_and_stops_no_other(storage, settings):
    declare(storage, "bad", tasks.add.using(queue_name="gone").bind(1))
    declare(storage, "good")
    due(storage, name="bad")
    due(storage, name="good")
    settings.TASKS = {"default": settings.TASKS["default"] | {"QUEUES": ["default"]}}
    assert firings(storage).fire()[0] == 1
    assert (outcomes(storage, "bad"), outcomes(storage, "good")) == (["failed"], ["fired"])
    assert "gone" in Firing.objects.using(storage.alias).get(outcome="failed").reason
    assert row(storage, "bad").next_at > timezone.now()


UNREADABLE = [
    {"expression": "nonsense"},
    {"timezone": "Europe/Atlantis"},
    {"missed": "some"},
    {"overlap": "queue"},
    {"kind": "moon"},
]


@pytest.mark.parametrize("values", UNREADABLE, ids=str)
def test_a_schedule_that_one_worker_cannot_read_stays_due_for_others(storage, caplog, values):
    declare(storage)
    declare(storage, "other", every=timedelta(days=300))  # an hour might end meanwhile
    tick = due(storage)
    readable = {name: getattr(row(storage), name) for name in values}
    Schedule.objects.using(storage.alias).filter(name="tick").update(**values)
    old = firings(storage)
    due(storage, name="other")
    assert old.fire()[0] == 1  # the others go on
    assert old.fire()[0] == 0
    assert old.fire()[1] > 60  # and it does not look for it again and again
    assert outcomes(storage) == []
    assert (row(storage).next_at, row(storage).enabled) == (tick, True)
    assert [record.args[0] for record in caplog.records if "cannot read it" in record.message] == ["tick"]
    Schedule.objects.using(storage.alias).filter(name="tick").update(**readable)  # as others read it
    assert firings(storage).fire()[0] == 1
    assert outcomes(storage) == ["fired"]


def test_a_schedule_that_could_not_be_read_is_tried_again(storage, monkeypatch):
    monkeypatch.setattr(duty, "LEAVE_FOR", -1.0)
    declare(storage)
    due(storage)
    old = firings(storage)
    Schedule.objects.using(storage.alias).update(timezone="Europe/Atlantis")
    assert old.fire()[0] == 0
    Schedule.objects.using(storage.alias).update(timezone="UTC")
    assert old.fire()[0] == 1


def test_a_clock_that_goes_back_fires_nothing_twice(storage):
    declare(storage, every=86400)
    tick = due(storage)
    firings(storage).fire()
    # As if the next tick had been computed by the clock that was wrong.
    Schedule.objects.using(storage.alias).update(next_at=tick)
    firings(storage).fire()
    assert jobs(storage).count() == 1
    assert row(storage).next_at > timezone.now()


def test_old_ticks_are_forgotten_in_slices_but_the_latest_of_each_schedule(storage):
    first, second = declare(storage, "often"), declare(storage, "seldom")
    old = timezone.now() - timedelta(days=30)
    for schedule_, count in ((first, 50), (second, 3)):
        Firing.objects.using(storage.alias).bulk_create(
            Firing(schedule=schedule_, tick=old + timedelta(minutes=n), outcome="fired", fired_at=old)
            for n in range(count)
        )
    deleted = [storage.schedules.forget_firings(duty.KEPT, 20) for _ in range(3)]
    assert deleted == [20, 10, 0]
    left = Firing.objects.using(storage.alias).filter(schedule=first).order_by("tick")
    assert left.count() == verbs.LATEST_TICKS
    assert left[0].tick == old + timedelta(minutes=30)
    assert Firing.objects.using(storage.alias).filter(schedule=second).count() == 3


# Many at once


def race(storage, count=6):
    """Many workers at the same tick. Answers how many jobs there are."""
    workers = [firings(storage) for _ in range(count)]
    gate = threading.Barrier(count)

    def work(number):
        gate.wait(10)
        with contextlib.suppress(IntegrityError):
            workers[number].fire()

    in_threads(count, work)
    return jobs(storage).count()


def test_many_workers_at_the_same_tick_make_one_job_of_it(storage):
    declare(storage, every=3600)
    start = timezone.now().replace(microsecond=0)
    for number in range(1, 6):
        tick = start - timedelta(seconds=number)
        Schedule.objects.using(storage.alias).update(next_at=tick)
        assert race(storage) == number
    assert outcomes(storage) == ["fired"] * 5


class Unguarded:
    """The verb without some of the three things each of which keeps a tick from firing twice."""

    def __init__(self, *missing):
        self.missing = missing

    def __enter__(self):
        self.patches = []
        if "lock" in self.missing:
            # Everybody has read what is due before anybody writes.
            gate = threading.Barrier(2)
            original = verbs.Schedules._is_taken

            def together(storage, row):
                with contextlib.suppress(threading.BrokenBarrierError):
                    gate.wait(1)
                return original(storage, row)

            def unlocked(storage, rows, limit):
                return list(rows.order_by("id").annotate(now=verbs.DatabaseNow())[:limit])

            self.patches.append(mock.patch.object(verbs.Schedules, "_locked", unlocked))
            self.patches.append(mock.patch.object(verbs.Schedules, "_is_taken", together))
        if "guard" in self.missing:
            original_move = verbs.Schedules._move_on

            def move(storage, row, decision):
                original_move(storage, row, decision)
                return True

            self.patches.append(mock.patch.object(verbs.Schedules, "_move_on", move))
        for patch in self.patches:
            patch.start()

    def __exit__(self, *error):
        for patch in self.patches:
            patch.stop()


@pytest.mark.parametrize("missing", [("lock",), ("guard",), ("lock", "guard")])
def test_without_the_lock_or_the_guard_a_tick_still_makes_one_job(storage, missing):
    if connections[storage.alias].vendor == "sqlite":
        pytest.skip("only one transaction writes at a time")
    declare(storage, every=3600)
    due(storage)
    with Unguarded(*missing):
        assert race(storage, 2) == 1


def test_without_all_three_it_makes_two(storage):
    if connections[storage.alias].vendor != "postgresql":
        pytest.skip("the index cannot be missed for a moment elsewhere")
    declare(storage, every=3600)
    due(storage)
    with connections[storage.alias].cursor() as cursor:
        cursor.execute("ALTER TABLE django_tasks_q_firing DROP CONSTRAINT dtq_firing_schedule_tick")
    try:
        with Unguarded("lock", "guard"):
            assert race(storage, 2) == 2
    finally:
        Firing.objects.using(storage.alias).all().delete()
        with connections[storage.alias].cursor() as cursor:
            cursor.execute(
                "ALTER TABLE django_tasks_q_firing ADD CONSTRAINT dtq_firing_schedule_tick "
                "UNIQUE (schedule_id, tick)"
            )


def test_a_worker_that_is_at_it_keeps_no_other_waiting(storage):
    if not connections[storage.alias].features.has_select_for_update_skip_locked:
        pytest.skip("locked rows cannot be passed over there")
    declare(storage, "one", every=3600)
    due(storage, name="one")
    met = []

    def elsewhere(step):
        if step == "schedule.written" and not met:
            met.append(step)
            in_threads(1, lambda number: met.append(firings(storage).fire()))

    failpoints.install(elsewhere)
    try:
        assert firings(storage).fire()[0] == 1
    finally:
        failpoints._handlers.remove(elsewhere)
    assert met == ["schedule.written", (0, 0.05)]
    assert jobs(storage).count() == 1


# Workers as processes


def scheduled(project, *declared):
    project.env |= {"EXTRA_APPS": '["tests.scheduled"]', "SCHEDULES": json.dumps(declared)}


def fired():
    return Firing.objects.filter(outcome=Outcome.FIRED)


def test_several_workers_fire_every_second_once_a_second(project):
    scheduled(project, {"name": "tick", "cron": "* * * * * *", "missed": "all"})
    with (
        project.worker("--processes", "1"),
        project.worker("--processes", "1"),
        project.worker("--processes", "1"),
    ):
        wait_for(lambda: Job.objects.filter(status="SUCCESSFUL").count() >= 5, 40)
    ticks = list(fired().order_by("tick").values_list("tick", flat=True))
    assert len(ticks) == len(set(ticks)) == Job.objects.count()
    assert ticks == [ticks[0] + timedelta(seconds=number) for number in range(len(ticks))]
    late = [(firing.fired_at - firing.tick).total_seconds() for firing in fired()]
    assert sorted(late)[len(late) // 2] < 0.5


def test_a_worker_notices_a_schedule_that_is_made_while_it_idles(project):
    with project.worker("--processes", "1") as worker:
        wait_for(lambda: "ready" in worker.output.lower() or worker.output)
        time.sleep(1)
        storage_for(project.alias).schedules.save(
            Schedule(backend="default", name="new", task_name=tasks.noop.name, expression="* * * * * *"),
            duty.first_tick,
        )
        since = time.monotonic()
        wait_for(lambda: fired().exists(), 15)
        assert time.monotonic() - since < 12


def test_a_worker_that_hears_hints_notices_an_edit_at_once(project):
    if project.alias != "postgres":
        pytest.skip("nobody sends hints there")
    with project.worker("--processes", "1"):
        wait_for(lambda: Worker.objects.exists())
        time.sleep(3)  # its first orders are read, and the next look is seven seconds off
        actions.save_schedule("new", tasks.noop.name, cron="* * * * * *")
        since = time.monotonic()
        wait_for(lambda: fired().exists(), 15)
        assert time.monotonic() - since < 4


def test_a_try_that_fails_is_made_again_soon(storage):
    schedule("tick", tasks.noop, every=3600)
    maintenance = Maintenance(storage, tasks.noop.get_backend(), [])
    with mock.patch.object(Firings, "declare", side_effect=OperationalError):
        with pytest.raises(OperationalError):
            maintenance.perform(uuid.uuid4(), (), idle=False)
        assert 0 < maintenance.seconds_to("declare") <= 1

    def is_declared():
        maintenance.perform(uuid.uuid4(), (), idle=False)
        return Schedule.objects.using(storage.alias).exists()

    wait_for(is_declared)
    assert row(storage).next_at is not None


@pytest.mark.parametrize("step", ["schedule.locked", "schedule.written", "schedule.committed"])
def test_a_worker_that_dies_at_a_tick_leaves_it_whole_to_another(project, tmp_path, step):
    scheduled(project, {"name": "tick", "every": 3600})
    project.run("runworker", "--batch")
    due(storage_for(project.alias))
    project.env["EXTRA_APPS"] = '["tests.scheduled", "tests.faults"]'
    project.env |= {"FAILPOINTS": f"{step}=kill", "FAILPOINT_MARKS": str(tmp_path)}
    with project.worker() as worker:
        wait_for(lambda: worker.process.poll() is not None)
    assert (worker.process.returncode, len(list(tmp_path.glob("schedule.*")))) == (-signal.SIGKILL, 1)
    assert Job.objects.count() == fired().count() == (1 if step == "schedule.committed" else 0)
    with project.worker():
        wait_for(lambda: Job.objects.filter(status="SUCCESSFUL").exists(), 30)
    assert Job.objects.count() == fired().count() == 1


def test_a_project_without_time_zones_fires_by_its_own_clock(project):
    scheduled(project, {"name": "tick", "cron": "* * * * * *", "timezone": "Europe/Berlin"})
    project.env["DJANGO_SETTINGS_MODULE"] = "tests.naive_settings"
    with project.worker("--processes", "1"):
        wait_for(lambda: fired().count() >= 2, 30)
    now = datetime.now(UTC)
    if project.alias != "postgres":
        # Kathmandu is 5:45 ahead, and elsewhere its clock is what such a project stores.
        now += timedelta(hours=5, minutes=45)
    assert abs((fired().latest("tick").tick - now).total_seconds()) < 30


# Workers of two releases, or of two services


def worker_of(storage, *names, started=0.0, lease=60.0, **options):
    """A live worker whose code has these schedules. It answers what it does at each of its rounds."""
    id = uuid.uuid4()
    storage.workers.register(
        Worker(id=id, name="w", hostname="h", pid=1, backend="default", processes=1, version="1"), lease
    )
    moment = timezone.now() + timedelta(seconds=started)
    Worker.objects.using(storage.alias).filter(id=id).update(started_at=moment)
    for declared in list(schedules):
        schedules.remove(declared.name)
    for name in names:
        schedule(name, tasks.noop, **(options or {"cron": "0 3 * * *"}))
    found = firings(storage)

    def look():
        found.declare(id)

    look.id = id
    look()
    return look


def end(storage, look, ago=0.0):
    moment = timezone.now() - timedelta(seconds=ago)
    rows = Worker.objects.using(storage.alias).filter(id=look.id)
    rows.update(lease_expires_at=moment, stopped_at=moment)


def test_an_old_worker_that_starts_during_a_deploy_retires_nothing_that_is_declared(storage, caplog):
    caplog.set_level("INFO", "django_tasks_q.maintenance")
    old = worker_of(storage, "nightly", started=-100)
    new = worker_of(storage, "nightly", "hourly", started=-50)
    end(storage, old, ago=1000)
    old = worker_of(storage, "nightly", started=-10)
    assert row(storage, "hourly").retired_at is None
    end(storage, old)
    for _ in range(2):
        new()
    assert (row(storage, "hourly").retired_at, row(storage, "hourly").fires) == (None, True)
    assert row(storage, "hourly").next_at is not None
    assert "not fire any more" not in caplog.text


def test_two_services_on_one_backend_leave_each_others_schedules_alone(storage):
    one, two = worker_of(storage, "one"), worker_of(storage, "two")
    Schedule.objects.using(storage.alias).update(declared_at=timezone.now() - HOUR)
    for _ in range(3):
        one()
        two()
    assert not Schedule.objects.using(storage.alias).exclude(retired_at=None).exists()


def test_what_no_live_worker_declares_is_retired_after_a_while(storage, caplog):
    one = worker_of(storage, "gone", "kept")
    two = worker_of(storage, "kept")
    Schedule.objects.using(storage.alias).update(declared_at=timezone.now() - HOUR)
    end(storage, one, ago=verbs.GRACE / 2)
    two()
    assert row(storage, "gone").retired_at is None  # another that declares it may be about to take over
    assert row(storage, "kept").declared_by == two.id
    end(storage, one, ago=verbs.GRACE + 5)
    two()
    assert row(storage, "gone").retired_at is not None
    assert row(storage, "gone").next_at is None
    assert "Schedule 'gone' does not fire any more" in caplog.text


def test_another_worker_that_declares_it_takes_over(storage):
    one, two, three = worker_of(storage, "tick"), worker_of(storage, "tick"), worker_of(storage, "else")
    Schedule.objects.using(storage.alias).update(declared_at=timezone.now() - HOUR)
    assert row(storage).declared_by == one.id
    end(storage, one)
    two()
    assert row(storage).declared_by == two.id
    end(storage, one, ago=1000)
    three()
    assert row(storage).retired_at is None


def test_of_two_timings_that_of_the_worker_that_started_last_stands(storage, caplog):
    caplog.set_level("INFO", "django_tasks_q.maintenance")
    old = worker_of(storage, "tick", cron="0 1 * * *", started=-100)
    new = worker_of(storage, "tick", cron="0 2 * * *", started=-50)
    assert row(storage).expression == "0 2 * * *"
    assert "expression '0 1 * * *' → '0 2 * * *'" in caplog.text
    due(storage, -HOUR)
    before = row(storage)
    caplog.clear()
    for _ in range(3):
        old()
        new()
    assert (row(storage).expression, row(storage).next_at) == ("0 2 * * *", before.next_at)
    assert caplog.text == ""
    late = worker_of(storage, "tick", cron="0 1 * * *")  # of the old release once more, during the deploy
    assert row(storage).expression == "0 1 * * *"
    new()
    assert row(storage).expression == "0 1 * * *"
    end(storage, late)
    new()
    assert row(storage).expression == "0 2 * * *"
    end(storage, new)
    old()
    assert row(storage).expression == "0 1 * * *"


def test_declaring_again_by_a_live_worker_asks_once(storage, django_assert_num_queries):
    look = worker_of(storage, "tick")
    with django_assert_num_queries(1, using=storage.alias):
        look()


def test_a_clash_is_told_once(storage, caplog):
    storage.schedules.save(
        Schedule(backend="default", name="tick", task_name=tasks.noop.name, expression="0 1 * * *"),
        duty.first_tick,
    )
    look = worker_of(storage, "tick")
    look()
    assert caplog.text.count("the table has another schedule of that name") == 1
