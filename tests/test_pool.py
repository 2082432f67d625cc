"""The parent's bookkeeping of its children, played through without any: the tests write what they would."""

import os
import socket
import time
import uuid
from types import SimpleNamespace

import pytest
from django.utils import timezone

from django_tasks_q.conf import Options
from django_tasks_q.outcomes import AttemptOutcome, Outcome
from django_tasks_q.storage import ClaimedJob
from django_tasks_q.worker import pool as pool_module
from django_tasks_q.worker import protocol
from django_tasks_q.worker.forkserver import Pipes
from django_tasks_q.worker.pool import ChildHandle, Ending, Pool
from django_tasks_q.worker.protocol import Channel

KILLED = 9  # as waitpid() reports SIGKILL


def claimed(**values):
    now = timezone.now()
    defaults = {
        "id": uuid.uuid4(), "fence": 1, "task_name": "a", "queue_name": "default", "priority": 0,
        "arguments": "[[],{}]", "options": "", "max_attempts": 1, "timeout": None, "attempts": 1,
        "crashes": 0, "enqueued_at": now, "started_at": now, "last_attempted_at": now, "run_after": None,
    }  # fmt: skip
    return ClaimedJob(**{**defaults, **values})


class FakeChild:
    """The other ends of a child's pipes."""

    def __init__(self, pool, key):
        ours, theirs = socket.socketpair()
        self.channel = Channel(theirs, blocking=True)
        self.tokens, writer = os.pipe()
        os.set_blocking(self.tokens, False)
        pipes = Pipes(ours, os.dup(self.tokens), writer)
        self.handle = ChildHandle(key, Channel(ours, blocking=False), pipes, ready=True)
        pool.children[key] = self.handle

    def take_token(self):
        return os.read(self.tokens, 1)

    def jobs(self):
        return [
            job
            for kind, body in self.channel.receive()
            if kind == protocol.RUN
            for job in protocol.unpack_jobs(body)
        ]

    def answer(self, job, duration=0.0):
        outcome = Outcome.successful(job.id, job.fence, "1", duration)
        self.channel.send(protocol.OUTCOME, protocol.pack_outcome(outcome))

    def close(self):
        self.channel.close()
        os.close(self.tokens)


@pytest.fixture
def pool():
    ours, theirs = socket.socketpair()
    server = SimpleNamespace(channel=Channel(ours, blocking=False))
    pool = Pool(server, 2, Options(), {})
    pool._usual = 0.0  # as after many short jobs
    yield pool
    for child in list(pool.children.values()):
        child.close()
    ours.close()
    theirs.close()


@pytest.fixture
def children(pool):
    children = [FakeChild(pool, key) for key in (1, 2)]
    yield children
    for child in children:
        child.close()


def test_jobs_are_spread_and_arrive_whole(pool, children):
    jobs = [claimed(arguments=f'[["ä",{number}],{{}}]') for number in range(5)]
    pool.backlog.extend(jobs)
    assert pool.feed() == 5
    arrived = [child.jobs() for child in children]
    assert sorted(map(len, arrived)) == [2, 3]
    assert sorted(arrived[0] + arrived[1]) == sorted(jobs)


def test_jobs_behind_a_long_one_are_taken_back_and_go_to_another(pool, children):
    pool.backlog.extend(claimed() for _ in range(6))
    pool.feed()
    slow, quick = children
    slow.take_token()
    for job in quick.jobs():
        quick.take_token()
        quick.answer(job)
    slow.handle.since = time.monotonic() - 2 * pool_module.PATIENCE
    assert len(pool.receive()) == 3
    assert (len(slow.handle.sent), len(pool.backlog)) == (1, 2)
    with pytest.raises(BlockingIOError):
        slow.take_token()
    assert pool.feed() == 2
    assert len(quick.jobs()) == 2
    assert pool.room > 0


def test_a_child_that_jobs_were_taken_from_gets_none_until_it_has_noticed(pool, children):
    slow, quick = children
    pool.backlog.extend(claimed() for _ in range(4))
    pool.feed()
    slow.take_token()
    slow.handle.since = quick.handle.since = time.monotonic() - 2 * pool_module.PATIENCE
    quick.take_token()
    pool.receive()
    assert slow.handle.dropping
    for child in children:
        for job in child.jobs()[:1]:
            child.answer(job)
    pool.receive()
    assert pool.feed() == 0
    slow.channel.send(protocol.DROPPED)
    pool.receive()
    assert pool.feed() == 2


def test_of_a_dead_child_only_the_job_it_ran_has_crashed(pool, children):
    pool.backlog.extend(claimed() for _ in range(8))
    pool.feed()
    dead = children[0]
    done, running, *unstarted = dead.jobs()
    dead.take_token()
    dead.answer(done)
    dead.take_token()
    outcomes = pool._bury(dead.handle, KILLED)
    assert [(outcome.job_id, outcome.kind) for outcome in outcomes] == [
        (done.id, AttemptOutcome.SUCCESSFUL),
        (running.id, AttemptOutcome.CRASHED),
    ]
    assert list(pool.backlog) == unstarted


def test_a_child_that_dies_between_two_jobs_takes_none_along(pool, children):
    pool.backlog.extend(claimed() for _ in range(4))
    pool.feed()
    dead = children[0]
    assert pool._bury(dead.handle, KILLED) == []
    assert len(pool.backlog) == 2


def test_abandoned_jobs_have_no_outcome(pool, children, monkeypatch):
    monkeypatch.setattr(pool_module, "kill_group", lambda pid: None)
    pool.backlog.extend(claimed() for _ in range(8))
    pool.feed()
    dead = children[0]
    dead.handle.pid = 1
    first, *_ = dead.jobs()
    dead.take_token()
    dead.answer(first)
    pool.abandon()
    assert pool.receive() == []
    assert pool._bury(dead.handle, KILLED) == []
    assert pool.held == 0


def test_what_a_dead_child_had_not_told_another_tells(pool, children):
    job = claimed()
    pool.backlog.append(job)
    pool.feed()
    dead = next(child for child in children if child.handle.sent)
    other = next(child for child in children if child is not dead)
    dead.take_token()
    dead.answer(job)
    outcomes = pool.receive()
    pool.confirm(outcomes, {job.id})
    pool._bury(dead.handle, KILLED)
    pool.tell()
    ((kind, body),) = list(other.channel.receive())
    assert kind == protocol.ENDED
    assert [header for header, _ in protocol.unpack(body)] == [[str(job.id), True]]


def test_one_long_job_is_enough_to_claim_fewer_ahead(pool, children):
    many = pool.room
    pool._learn(1.0)
    assert pool.room == 2 < many
    for _ in range(20):
        pool._learn(0.0)
    assert 2 <= pool.room < many


def test_a_busy_channel_keeps_what_the_other_side_does_not_take(pool, children):
    big = "x" * 200_000
    jobs = [claimed(arguments=f'[["{big}"],{{}}]') for _ in range(20)]
    pool.backlog.extend(jobs)
    pool.feed()
    assert children[0].handle.channel.has_unsent
    arrived = []
    while len(arrived) < 10:
        arrived += children[0].jobs()
        children[0].handle.channel.flush()
    assert all(job.arguments == jobs[0].arguments for job in arrived)


def test_frames_survive_being_cut_anywhere():
    ours, theirs = socket.socketpair()
    sender, receiver = Channel(ours, blocking=True), Channel(theirs, blocking=False)
    job = claimed()
    whole = protocol.HEAD.pack(protocol.RUN, len(body := protocol.pack_jobs([job, job]))) + body
    received = []
    for byte in whole:
        sender.sock.sendall(bytes([byte]))
        received += receiver.receive()
    ((kind, body),) = received
    assert kind == protocol.RUN
    assert list(protocol.unpack_jobs(body)) == [job, job]
    sender.close()
    with pytest.raises(EOFError):
        list(receiver.receive())
    receiver.close()


def test_a_job_does_not_wait_for_a_child_that_is_busy_with_something_else(pool, children):
    busy, free = children
    free.handle.ready = False
    pool.backlog.append(claimed())
    assert pool.feed() == 1
    free.handle.ready = True
    busy.handle.since = time.monotonic() - 2 * pool_module.PATIENCE
    pool.receive()
    assert (list(busy.handle.sent), len(pool.backlog), busy.handle.dropping) == ([], 1, True)
    assert pool.feed() == 1
    assert len(free.jobs()) == 1


def test_a_job_that_has_started_stays_where_it_is(pool, children):
    one = children[0]
    children[1].handle.ready, children[1].handle.since = False, time.monotonic()
    pool.backlog.append(claimed(timeout=100.0))
    pool.feed()
    one.take_token()
    one.handle.since = time.monotonic() - 2 * pool_module.PATIENCE
    pool.receive()
    assert one.handle.started
    assert len(one.handle.sent) == 1
    assert pool.deadline() > 1


def test_a_receiver_that_takes_its_process_down_does_so_twice_at_most(pool, children, caplog):
    first, second = children
    pool._tell(first.handle, [Ending("suspect", True)])
    pool._bury(first.handle, KILLED)
    pool.tell()
    assert pool.untold == []
    assert not caplog.text
    pool._bury(second.handle, KILLED)
    assert pool.untold == []
    assert "Receivers of task_finished end their process: job id=suspect" in caplog.text


def test_what_is_told_is_not_blamed_for_the_death_of_a_job(pool, children):
    pool.backlog.append(claimed())
    pool.feed()
    dead = next(child for child in children if child.handle.sent)
    dead.take_token()
    pool._tell(dead.handle, [Ending("innocent", True, died=1)])
    pool._bury(dead.handle, KILLED)
    assert pool.untold == [Ending("innocent", True, died=1)]


def test_a_receiver_that_hangs_is_killed_in_the_end(pool, children, monkeypatch):
    killed = []
    monkeypatch.setattr(pool_module, "kill_group", killed.append)
    child = children[0]
    child.handle.pid = 4711
    pool._tell(child.handle, [Ending("id", True)])
    pool.receive()
    assert killed == []
    child.handle.since = time.monotonic() - 2 * pool_module.HOOK_TIMEOUT
    pool.receive()
    assert killed == [4711]


def test_a_child_that_closed_its_pipe_is_waited_for_a_little(pool, children, monkeypatch):
    killed = []
    monkeypatch.setattr(pool_module, "kill_group", killed.append)
    child = children[0]
    child.handle.pid = 4711
    child.channel.sock.shutdown(socket.SHUT_RDWR)
    pool.receive()
    assert child.handle.channel not in [channel for channel, _ in pool.channels()]
    assert killed == []
    assert 1 < pool.deadline() <= pool_module.GONE_PATIENCE
    child.handle.gone_at -= 2 * pool_module.GONE_PATIENCE
    pool.receive()
    assert killed == [4711]
