"""When a busy worker collects endings to write them in a batch, and that it does."""

import uuid
from types import SimpleNamespace

import pytest

from django_tasks_q.lifecycle.states import JobStatus
from django_tasks_q.models import Job
from django_tasks_q.worker import batching
from django_tasks_q.worker.batching import LONGEST, Batching
from django_tasks_q.worker.subscribers.waiters import WaiterNotifications
from django_tasks_q.worker.supervisor import Supervisor

from .tasksapp import tasks
from .test_pool import children, claimed, fed, pool  # noqa: F401 - fixtures


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(batching, "time", clock)
    return clock


def test_a_pause_lasts_for_half_of_what_children_have_to_do_and_never_long(clock):
    pause = Batching()
    assert pause.left == 0
    pause.begin(LONGEST)
    assert pause.left == pytest.approx(LONGEST / 2)
    pause.end()
    pause.begin(60)
    assert pause.left == pytest.approx(LONGEST)


def test_a_pause_is_not_prolonged(clock):
    pause = Batching()
    pause.begin(60)
    clock.now += LONGEST / 2
    pause.begin(60)
    assert pause.left == pytest.approx(LONGEST / 2)
    clock.now += LONGEST
    assert pause.left == 0


def hand_out(pool, count):  # noqa: F811
    pool.groups[0].usual_duration = 0.001
    pool.groups[0].backlog.extend(claimed() for _ in range(count))
    return fed(pool)


def waited_for(pool):  # noqa: F811
    channels = [channel for channel, _ in pool.channels(quiet=True)]
    return [child.key for child in pool.children.values() if child.channel in channels]


def test_children_are_left_alone_for_as_long_as_the_first_of_them_has_jobs(pool, children):  # noqa: F811
    assert hand_out(pool, 9) == 9
    assert pool.seconds_of_work == pytest.approx(0.003)  # four and five, of which one runs
    assert waited_for(pool) == []


def test_one_that_has_nothing_is_not_kept_waiting(pool, children):  # noqa: F811
    assert pool.seconds_of_work == 0
    pool.children[2].ready = False
    hand_out(pool, 5)
    assert pool.seconds_of_work > 0  # it cannot take anything yet
    assert waited_for(pool) == [2]
    pool.children[2].ready = True
    assert pool.seconds_of_work == 0


def test_one_with_a_job_and_none_behind_it_is_listened_to(pool, children):  # noqa: F811
    hand_out(pool, 2)
    assert pool.seconds_of_work == 0
    pool.children[2].is_retiring = True
    hand_out(pool, 4)
    assert pool.seconds_of_work > 0
    assert waited_for(pool) == [2]


def test_large_results_are_read_before_they_fill_the_pipe(pool, children):  # noqa: F811
    hand_out(pool, 10)
    pool.groups[0].learn(0.001, 300_000)
    assert pool.seconds_of_work < 0.0005


def test_a_busy_worker_writes_several_endings_at_once(project):
    if project.alias == "mariadb":
        pytest.skip("each ending has a statement of its own there, and a time")
    tasks.sleep.enqueue_many([(0.003,)] * 200)
    project.run("runworker", "--batch", "--processes", "1")
    ended = list(Job.objects.values_list("finished_at", flat=True))
    assert None not in ended
    # What one statement has written has one time.
    assert len(set(ended)) < 120


def test_a_waiter_is_remembered_until_it_is_notified():
    notified = []
    storage = SimpleNamespace(
        notifications=SimpleNamespace(notify_ended=lambda backend, ids: notified.append(set(ids)))
    )
    waiters, id = WaiterNotifications(storage, "default"), uuid.uuid4()
    assert not waiters.are_waited_for
    waiters.remember([id], {id})
    assert waiters.are_waited_for
    waiters.written({id: JobStatus.SUCCESSFUL})
    waiters.notify()
    assert notified == [{id}]
    assert not waiters.are_waited_for


@pytest.mark.parametrize(
    ("stops", "waited", "limits", "work", "may"),
    [
        (0, False, [], 0.01, True),
        (1, False, [], 0.01, False),
        (0, True, [], 0.01, False),
        (0, False, ["mail"], 0.01, False),
        (0, False, [], 0.0, False),
    ],
)
def test_nothing_is_collected_where_it_is_needed_at_once(stops, waited, limits, work, may):
    supervisor = SimpleNamespace(
        signals=SimpleNamespace(stops=stops),
        waiters=SimpleNamespace(are_waited_for=waited),
        fetcher=SimpleNamespace(limits=limits),
        pool=SimpleNamespace(seconds_of_work=work),
    )
    assert Supervisor._may_batch(supervisor) is may
