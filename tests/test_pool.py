"""The supervisor's bookkeeping of its children, without any: the tests write what they would."""

import os
import random
import select
import socket
import time
import uuid
from types import SimpleNamespace

import pytest
from django.utils import timezone

from django_tasks_q.conf import Options
from django_tasks_q.events import AttemptsEnded, ChildExited, EndingsWritten, Events
from django_tasks_q.lifecycle.outcome import AttemptOutcome, Outcome
from django_tasks_q.lifecycle.states import JobStatus
from django_tasks_q.storage import ClaimedJob
from django_tasks_q.storage.timestamps import DatabaseClock, boot_time, microseconds
from django_tasks_q.worker.children import parent_side, process, protocol
from django_tasks_q.worker.children.concurrent import RESPONSE_TIMEOUT
from django_tasks_q.worker.children.fork_server import Pipes
from django_tasks_q.worker.children.handover import TOKEN_SIZE, OfferState, serial_of
from django_tasks_q.worker.children.parent_side import FinishedJob
from django_tasks_q.worker.children.pool import PARENT_SIDES, Pool
from django_tasks_q.worker.children.protocol import Channel
from django_tasks_q.worker.children.shared_memory import AttemptClock, open_memory
from django_tasks_q.worker.executor_groups import BACKLOG_BYTES, FRAME_BYTES, Group
from django_tasks_q.worker.recycling import Recycling
from django_tasks_q.worker.starts import MAX_FAILURES
from django_tasks_q.worker.subscribers.finished_signals import FinishedSignals

KILLED = 9  # as waitpid() reports SIGKILL


def claimed(**values):
    now = microseconds(timezone.now())
    defaults = {
        "id": uuid.uuid4(), "fence": 1, "task_name": "a", "queue_name": "default", "priority": 0,
        "arguments": "[[],{}]", "options": "", "max_attempts": 1, "timeout": None, "metadata": None,
        "attempts": 1,
        "crashes": 0, "enqueued_at": now, "last_attempted_at": now, "run_after": None,
        "expires_at": None,
    }  # fmt: skip
    return ClaimedJob(**{**defaults, **values})


def fed(pool):
    """Hand out what can be. Return how much went."""
    before = pool.waiting
    assert pool.feed() == []
    return before - pool.waiting


class FakeChild:
    """The other ends of a child's pipes."""

    def __init__(self, pool, key):
        ours, theirs = socket.socketpair()
        self.channel = Channel(theirs, blocking=True)
        self.tokens, writer = os.pipe()
        os.set_blocking(self.tokens, False)
        memory = open_memory()
        self.attempt_clock = AttemptClock(memory)
        group = pool.groups[0]
        self.parent_side = PARENT_SIDES[group.kind](
            key, group, Pipes(ours, os.dup(self.tokens), writer, memory)
        )
        self.parent_side.ready = True
        pool.children[key] = self.parent_side

    def take_token(self):
        """Start the next job, as far as the supervisor can see."""
        token = os.read(self.tokens, TOKEN_SIZE)
        self.attempt_clock.take_turn(serial_of(token))

    @property
    def held(self):
        """The jobs that the supervisor takes it to hold."""
        return [offer.job for offer in self.parent_side.handover]

    def offer_of(self, job):
        (offer,) = (offer for offer in self.parent_side.handover if offer.job == job)
        return offer

    def jobs(self):
        return [
            job
            for kind, body in self.channel.receive()
            if kind == protocol.RUN
            for job in protocol.unpack_jobs(body)[1]
        ]

    def report(self, job, duration=0.0):
        outcome = Outcome.successful(job.id, job.fence, "1", duration)
        self.channel.send(protocol.SUCCESS, protocol.pack_success(outcome, has_receivers=True))

    def close(self):
        self.channel.close()
        self.attempt_clock.close()
        os.close(self.tokens)


def group_of(kind, size=2, capacity=1, **values):
    return Group(kind, kind, Options(**values), Recycling(), size, capacity, ["a"], usual_duration=0.0)


@pytest.fixture
def pool():
    ours, theirs = socket.socketpair()
    server = SimpleNamespace(channel=Channel(ours, blocking=False))
    events = Events()
    pool = Pool(server, {"a": group_of("process")}, {}, events)  # as after many short jobs
    pool.signals = FinishedSignals(pool.children)
    events.subscribe(AttemptsEnded, pool.signals.ended)
    events.subscribe(EndingsWritten, pool.signals.written)
    events.subscribe(ChildExited, pool.signals.exited)
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
    pool.groups[0].backlog.extend(jobs)
    assert fed(pool) == 5
    arrived = [child.jobs() for child in children]
    assert sorted(map(len, arrived)) == [2, 3]
    assert sorted(arrived[0] + arrived[1]) == sorted(jobs)


def test_jobs_behind_a_long_one_are_taken_back_and_go_to_another(pool, children):
    pool.groups[0].backlog.extend(claimed() for _ in range(6))
    pool.feed()
    slow, quick = children
    slow.take_token()
    for job in quick.jobs():
        quick.take_token()
        quick.report(job)
    slow.parent_side.since = time.monotonic() - 2 * process.TAKE_BACK_AFTER
    assert len(pool.receive()) == 3
    assert (len(slow.held), len(pool.groups[0].backlog)) == (1, 2)
    with pytest.raises(BlockingIOError):
        slow.take_token()
    assert fed(pool) == 2
    assert len(quick.jobs()) == 2
    assert pool.room(pool.groups[0]) > 0


def test_a_child_that_jobs_were_taken_from_gets_others_when_it_is_free(pool, children):
    slow, quick = children
    pool.groups[0].backlog.extend(claimed() for _ in range(4))
    pool.feed()
    slow.take_token()
    quick.take_token()
    slow.parent_side.since = quick.parent_side.since = time.monotonic() - 2 * process.TAKE_BACK_AFTER
    pool.receive()
    assert (slow.parent_side.held, quick.parent_side.held, pool.waiting) == (1, 1, 2)
    assert fed(pool) == 0  # both still run
    for child in children:
        for job in child.jobs()[:1]:
            child.report(job)
    pool.receive()
    assert fed(pool) == 2


class Ends:
    """Both ends of the pipe of a process child, in one process. A job runs when the test says so."""

    def __init__(self, monkeypatch):
        # This process is no child: its descendants are those of the test run.
        monkeypatch.setattr(process, "adopt_orphans", lambda: None)
        monkeypatch.setattr(process, "kill_descendants", lambda: False)
        ours, theirs = socket.socketpair()
        reader, writer = os.pipe()
        for end in (reader, writer):
            os.set_blocking(end, False)
        memory = open_memory()
        self.ran = []
        runner = SimpleNamespace(run=self._run, clock=DatabaseClock(), altered="")
        self.group = group_of("process")
        theirs_of = [os.dup(reader), os.dup(writer), os.dup(memory)]
        #: Of the child, which closes none of them: they end with its process.
        self.fds = theirs_of
        self.child = process.ProcessChildSide(Pipes(theirs, *theirs_of), lambda **more: runner, 1)
        self.supervisor = process.ProcessParentSide(1, self.group, Pipes(ours, reader, writer, memory))
        self.supervisor.ready = True
        #: Called while a job runs.
        self.during = None

    def _run(self, job, control, hooks):
        self.ran.append(job)
        during, self.during = self.during, None
        if during is not None:
            during()
        return Outcome.successful(job.id, job.fence, "1", 0.0)

    def send(self, *jobs):
        if self.supervisor.room(time.monotonic()) >= len(jobs):
            self.supervisor.send(list(jobs))
            return True
        return False

    def take_back(self):
        return self.supervisor.take_back()

    def receive(self):
        """The child reads what has arrived, if it would not wait for it."""
        if select.select([self.child.channel], [], [], 0)[0]:
            self.child.read_at = 0.0
            self.child._receive()

    def run_next(self):
        if self.child.handover:
            self.child._run_next()

    def pump(self):
        """The supervisor reads what the child has sent."""
        for kind, body in self.supervisor.channel.receive():
            if kind == protocol.SUCCESS:
                outcome, _ = protocol.unpack_success(body, self.supervisor.handover.expected)
                assert self.supervisor.ended(outcome, len(body))

    def close(self):
        self.supervisor.close()
        self.supervisor.channel.close()
        self.child.channel.close()
        self.child.attempt_clock.close()
        for fd in self.fds:
            os.close(fd)


@pytest.fixture
def ends(monkeypatch):
    ends = Ends(monkeypatch)
    yield ends
    ends.close()


def test_a_frame_that_was_not_read_when_its_jobs_were_taken_back_starts_none_of_them(ends):
    first, *jobs = (claimed() for _ in range(6))
    taken = []

    def meanwhile():
        assert ends.send(*jobs[2:4])
        taken.extend(ends.take_back())

    ends.send(first, *jobs[:2])
    ends.receive()
    ends.during = meanwhile
    ends.run_next()
    assert taken == jobs[:4]
    ends.run_next()  # before it has read anything more: no token is left
    ends.pump()
    is_sent = ends.send(jobs[4])  # at once, if the child said that it has noticed
    for _ in range(3):
        ends.receive()
        ends.pump()
        is_sent = is_sent or ends.send(jobs[4])
        ends.run_next()
    assert is_sent
    assert ends.ran == [first, jobs[4]]


@pytest.mark.parametrize("block", range(10))
def test_no_job_that_was_taken_back_is_run_by_the_child_in_any_order_of_steps(monkeypatch, block):
    for seed in range(30 * block, 30 * block + 30):
        play_both_ends(monkeypatch, seed)


def play_both_ends(monkeypatch, seed):
    draw, ends, taken, sent = random.Random(seed), Ends(monkeypatch), set(), []

    def send():
        jobs = [claimed() for _ in range(draw.randint(1, 3))]
        if ends.send(*jobs):
            sent.extend(job.id for job in jobs)

    def take_back():
        taken.update(job.id for job in ends.take_back())

    def run_next():
        ends.during = draw.choice([None, send, take_back, ends.pump])
        ends.run_next()

    try:
        for _ in range(40):
            draw.choice([send, send, take_back, ends.receive, ends.receive, run_next, run_next, ends.pump])()
        for _ in range(200):  # all that is left
            for step in (ends.pump, ends.receive, ends.run_next):
                step()
    finally:
        ends.close()
    ran = [job.id for job in ends.ran]
    assert not taken & set(ran)
    assert sorted([*taken, *ran]) == sorted(sent)


def test_a_child_leaves_no_descriptor_behind(monkeypatch):
    Ends(monkeypatch).close()  # what is opened once
    before = sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(3):
        Ends(monkeypatch).close()
    assert sorted(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_of_a_dead_child_only_the_job_it_ran_has_crashed(pool, children):
    pool.groups[0].backlog.extend(claimed() for _ in range(8))
    pool.feed()
    dead = children[0]
    done, running, *unstarted = dead.jobs()
    dead.take_token()
    dead.report(done)
    dead.take_token()
    dead.attempt_clock.mark_begun()
    outcomes = pool._bury(dead.parent_side, KILLED)
    assert [(outcome.job_id, outcome.kind) for outcome in outcomes] == [
        (done.id, AttemptOutcome.SUCCESSFUL),
        (running.id, AttemptOutcome.CRASHED),
    ]
    assert list(pool.groups[0].backlog) == unstarted


def test_a_child_that_dies_between_two_jobs_takes_none_along(pool, children):
    pool.groups[0].backlog.extend(claimed() for _ in range(4))
    pool.feed()
    dead = children[0]
    assert pool._bury(dead.parent_side, KILLED) == []
    assert len(pool.groups[0].backlog) == 2


def test_abandoned_jobs_have_no_outcome(pool, children, monkeypatch):
    monkeypatch.setattr(parent_side, "kill_group", lambda pid: None)
    pool.groups[0].backlog.extend(claimed() for _ in range(8))
    pool.feed()
    dead = children[0]
    dead.parent_side.pid = 1
    first, *_ = dead.jobs()
    dead.take_token()
    dead.report(first)
    pool.abandon()
    assert pool.receive() == []
    assert pool._bury(dead.parent_side, KILLED) == []
    assert pool.held == 0


def test_signals_that_a_dead_child_had_not_sent_are_sent_by_another(pool, children):
    job = claimed()
    pool.groups[0].backlog.append(job)
    pool.feed()
    dead = next(child for child in children if child.held)
    other = next(child for child in children if child is not dead)
    dead.take_token()
    dead.report(job)
    outcomes = pool.receive()
    confirmed(pool, outcomes, {job.id: JobStatus.SUCCESSFUL})
    pool._bury(dead.parent_side, KILLED)
    pool.signals.send()
    ((kind, body),) = list(other.channel.receive())
    assert kind == protocol.FINISHED
    assert protocol.unpack(body) == [[job.id.hex, True, "SUCCESSFUL", "successful"]]


def test_one_long_job_is_enough_to_claim_fewer_ahead(pool, children):
    many = pool.room(pool.groups[0])
    pool.groups[0].learn(1.0, 1)
    assert pool.room(pool.groups[0]) == 2 < many
    for _ in range(20):
        pool.groups[0].learn(0.0, 1)
    assert 2 <= pool.room(pool.groups[0]) < many


def test_a_busy_channel_keeps_what_the_other_side_does_not_take(pool, children):
    big = "x" * 200_000
    jobs = [claimed(arguments=f'[["{big}"],{{}}]') for _ in range(20)]
    children[0].parent_side.send(jobs)
    assert children[0].parent_side.channel.has_unsent
    arrived = []
    while len(arrived) < 20:
        arrived += children[0].jobs()
        children[0].parent_side.channel.flush()
    assert arrived == jobs


def large(size):
    return claimed(arguments=f'[["{"x" * size}"],{{}}]')


def test_a_child_is_handed_no_more_at_once_than_it_has_read_in_a_moment(pool, children):
    children[1].parent_side.ready = False
    pool.add(large(30_000) for _ in range(20))
    pool.feed()
    sizes = [len(body) for kind, body in children[0].channel.receive() if kind == protocol.RUN]
    assert sizes
    assert max(sizes) <= FRAME_BYTES
    # And nothing more as long as it has not taken what it was handed.
    assert children[0].parent_side.channel.has_unsent or pool.waiting == 0
    assert pool.waiting > 0


def test_a_job_of_any_size_goes_by_itself(pool, children):
    children[1].parent_side.ready = False
    jobs = [large(10 * FRAME_BYTES), claimed(), claimed()]
    pool.add(jobs)
    pool.feed()
    assert children[0].held == jobs[:1]
    arrived = []
    while not arrived:
        arrived = children[0].jobs()
        children[0].parent_side.channel.flush()
    assert arrived == jobs[:1]


def test_the_time_to_begin_counts_from_when_a_job_has_left(pool, children):
    child = children[0]
    children[1].parent_side.ready = False
    pool.add([large(2_000_000)])
    pool.feed()
    assert child.parent_side.channel.unsent > 1_000_000
    while child.parent_side.channel.has_unsent:
        child.parent_side.since = late(2 * process.TAKE_BACK_AFTER)
        child.jobs()  # makes room for the next piece
        pool.receive()
        assert len(child.held) == 1
    child.parent_side.since = late(2 * process.TAKE_BACK_AFTER)
    pool.receive()
    assert (len(child.held), pool.waiting) == (0, 1)


def test_a_child_that_reads_nothing_of_a_job_does_not_keep_it(pool, children):
    child = children[0]
    children[1].parent_side.ready = False
    pool.add([large(2_000_000)])
    pool.feed()
    pool.receive()
    child.parent_side.since = late(2 * process.TAKE_BACK_AFTER)
    pool.receive()
    assert (len(child.held), pool.waiting) == (0, 1)


def test_a_child_that_began_none_of_its_jobs_has_longer_for_the_next(pool, children):
    child = children[0]
    children[1].parent_side.ready = False
    pool.add([claimed()])
    waited = []
    for _ in range(4):
        pool.feed()
        waited.append(child.parent_side.take_back_after)
        child.parent_side.enforce(child.parent_side.since + child.parent_side.take_back_after * 0.9)
        assert child.held
        child.parent_side.enforce(child.parent_side.since + child.parent_side.take_back_after * 1.1)
        assert not child.held
        child.jobs()
        child.channel.send(protocol.PONG)
        pool.receive()
    assert waited == [process.TAKE_BACK_AFTER * 2**times for times in range(4)]
    pool.feed()
    (job,) = child.jobs()
    child.take_token()
    child.report(job)
    pool.receive()
    assert child.parent_side.take_back_after == process.TAKE_BACK_AFTER


def test_the_supervisor_claims_less_where_calls_are_large(pool, children):
    before = pool.room(pool.groups[0])
    pool.add(large(250_000) for _ in range(200))
    pool.groups[0].backlog.clear()
    assert 1 <= pool.room(pool.groups[0]) <= BACKLOG_BYTES // 250_000 + 1 < before
    pool.add([large(10 * BACKLOG_BYTES)] * 4)
    assert pool.room(pool.groups[0]) == 0
    pool.groups[0].backlog.clear()
    assert pool.room(pool.groups[0]) == 1
    for _ in range(2000):
        pool.add([claimed()])
        pool.groups[0].backlog.clear()
    assert pool.room(pool.groups[0]) == before


def test_large_calls_reach_all_the_threads_of_a_child_at_once(pool, several):
    pool.add(large(50_000) for _ in range(3))
    pool.feed()
    assert (several.parent_side.held, pool.waiting) == (3, 0)


def test_an_outcome_of_an_earlier_attempt_is_not_that_of_the_next(pool, several):
    job = claimed()
    begin(pool, several, job._replace(fence=2))
    several.report(job)
    assert pool.receive() == []
    several.report(job._replace(fence=2))
    assert [outcome.fence for outcome in pool.receive()] == [2]


def test_a_child_that_reports_a_job_it_does_not_hold_is_replaced(pool, children, monkeypatch):
    killed = []
    monkeypatch.setattr(parent_side, "kill_group", killed.append)
    child, job = children[0], claimed()
    child.parent_side.pid = 4711
    child.parent_side.send([job])
    child.take_token()
    child.report(claimed())
    assert pool.receive() == []
    assert killed == [4711]
    (outcome,) = pool._bury(child.parent_side, KILLED)
    assert (outcome.job_id, outcome.kind) == (job.id, AttemptOutcome.RELEASED)


def test_frames_survive_being_cut_anywhere():
    ours, theirs = socket.socketpair()
    sender, receiver = Channel(ours, blocking=True), Channel(theirs, blocking=False)
    job = claimed()
    whole = protocol.HEAD.pack(protocol.RUN, len(body := protocol.pack_jobs([job, job], 7))) + body
    received = []
    for byte in whole:
        sender.sock.sendall(bytes([byte]))
        received += receiver.receive()
    ((kind, body),) = received
    assert kind == protocol.RUN
    assert protocol.unpack_jobs(body) == (7, [job, job])
    sender.close()
    with pytest.raises(EOFError):
        list(receiver.receive())
    receiver.close()


def test_a_job_does_not_wait_for_a_child_that_is_busy_with_something_else(pool, children):
    busy, free = children
    free.parent_side.ready = False
    pool.groups[0].backlog.append(claimed())
    assert fed(pool) == 1
    free.parent_side.ready = True
    busy.parent_side.since = time.monotonic() - 2 * process.TAKE_BACK_AFTER
    pool.receive()
    assert (busy.held, len(pool.groups[0].backlog)) == ([], 1)
    assert busy.parent_side.room(time.monotonic()) == 0  # until it replies
    assert fed(pool) == 1
    assert len(free.jobs()) == 1


def test_a_job_that_has_started_stays_where_it_is(pool, children):
    one = children[0]
    children[1].parent_side.ready, children[1].parent_side.since = False, time.monotonic()
    pool.groups[0].backlog.append(claimed(timeout=100.0))
    pool.feed()
    one.take_token()
    one.parent_side.since = time.monotonic() - 2 * process.TAKE_BACK_AFTER
    pool.receive()
    (offer,) = one.parent_side.handover
    assert offer.state is OfferState.TAKEN
    assert pool.deadline() > 1


def test_a_receiver_that_takes_its_process_down_does_so_twice_at_most(pool, children, caplog):
    first, second = children
    first.parent_side.send_finished([FinishedJob("suspect", True)])
    pool._bury(first.parent_side, KILLED)
    pool.signals.send()
    assert pool.signals.unsent == []
    assert not caplog.text
    pool._bury(second.parent_side, KILLED)
    assert pool.signals.unsent == []
    assert "Receivers of task_finished end their process: job id=suspect" in caplog.text


def test_receivers_are_not_blamed_for_the_death_of_a_job(pool, children):
    pool.groups[0].backlog.append(claimed())
    pool.feed()
    dead = next(child for child in children if child.held)
    dead.take_token()
    dead.parent_side.send_finished([FinishedJob("innocent", True, died=1)])
    pool._bury(dead.parent_side, KILLED)
    assert pool.signals.unsent == [FinishedJob("innocent", True, died=1)]


def test_a_receiver_that_hangs_is_killed_in_the_end(pool, children, monkeypatch):
    killed = []
    monkeypatch.setattr(parent_side, "kill_group", killed.append)
    child = children[0]
    child.parent_side.pid = 4711
    child.parent_side.send_finished([FinishedJob("id", True)])
    pool.receive()
    assert killed == []
    child.parent_side.sending_since = time.monotonic() - 2 * parent_side.HOOK_TIMEOUT
    pool.receive()
    assert killed == [4711]


def test_a_child_that_closed_its_pipe_is_waited_for_a_little(pool, children, monkeypatch):
    killed = []
    monkeypatch.setattr(parent_side, "kill_group", killed.append)
    child = children[0]
    child.parent_side.pid = 4711
    child.channel.sock.shutdown(socket.SHUT_RDWR)
    pool.receive()
    assert child.parent_side.channel not in [channel for channel, _ in pool.channels()]
    assert killed == []
    assert 1 < pool.deadline() <= parent_side.GONE_TIMEOUT
    child.parent_side.gone_at -= 2 * parent_side.GONE_TIMEOUT
    pool.receive()
    assert killed == [4711]


def confirmed(pool, outcomes, written):
    """The endings are written."""
    pool.events.publish(EndingsWritten([(outcome, None) for outcome in outcomes], written))


def confirm(pool, child, outcomes):
    """The endings are written, and the child has called the receivers."""
    confirmed(pool, outcomes, {outcome.job_id: outcome.status for outcome in outcomes})
    child.channel.send(protocol.SENT)
    assert pool.receive() == []


def late(seconds):
    return time.monotonic() - seconds


def test_only_the_time_of_user_code_counts(pool, children, monkeypatch):
    killed = []
    monkeypatch.setattr(parent_side, "kill_group", killed.append)
    child = children[0]
    child.parent_side.pid = 4711
    child.parent_side.send([claimed(timeout=1.0)])
    child.take_token()
    child.parent_side.since = late(30)  # receivers took their time
    pool.receive()
    assert killed == []
    child.attempt_clock.mark_begun(late(1.0 + pool.groups[0].settings.grace - 0.5))
    pool.receive()
    assert (killed, pool.deadline() < 1) == ([], True)
    child.attempt_clock.mark_begun(late(1.0 + pool.groups[0].settings.grace + 0.1))
    pool.receive()
    assert killed == [4711]
    (outcome,) = pool._bury(child.parent_side, KILLED)
    assert outcome.kind is AttemptOutcome.TIMEOUT


def test_a_job_whose_code_never_begins_is_given_back(pool, children, monkeypatch):
    monkeypatch.setattr(parent_side, "kill_group", lambda pid: None)
    child = children[0]
    child.parent_side.pid = 4711
    child.parent_side.send([claimed(timeout=1.0)])
    child.take_token()
    child.parent_side.since = late(2 * parent_side.START_TIMEOUT)
    pool.receive()
    (outcome,) = pool._bury(child.parent_side, KILLED)
    assert (outcome.kind, outcome.status) == (AttemptOutcome.RESCUED, JobStatus.READY)
    assert "did not begin within 60 seconds" in outcome.failure.message


def test_a_long_job_has_time_to_report(pool, children, monkeypatch):
    killed = []
    monkeypatch.setattr(parent_side, "kill_group", killed.append)
    child = children[0]
    child.parent_side.pid = 4711
    child.parent_side.send([claimed(timeout=1.0)])
    child.take_token()
    child.parent_side.since = late(2 * parent_side.START_TIMEOUT)
    child.attempt_clock.mark_over()
    pool.receive()
    assert killed == []


def test_a_running_job_that_is_cancelled_is_interrupted_then_killed(pool, children, monkeypatch):
    signalled, killed = [], []
    monkeypatch.setattr(process.os, "kill", lambda pid, number: signalled.append((pid, number)))
    monkeypatch.setattr(parent_side, "kill_group", killed.append)
    child, job, behind = children[0], claimed(), claimed()
    child.parent_side.pid = 4711
    child.parent_side.send([job, behind])
    child.take_token()
    for _ in range(2):
        assert pool.cancel([job.id]) == []
    assert signalled == [(4711, process.signal.SIGALRM)]
    assert child.attempt_clock.is_cancelled
    assert list(pool.groups[0].backlog) == [behind]
    child.offer_of(job).cancelled_at = late(2 * pool.groups[0].settings.grace)
    pool.receive()
    assert killed == [4711]
    (outcome,) = pool._bury(child.parent_side, KILLED)
    assert (outcome.kind, outcome.status) == (AttemptOutcome.CANCELLED, JobStatus.CANCELLED)


def test_a_job_that_is_cancelled_before_its_turn_is_given_back(pool, children):
    running, behind = claimed(), claimed()
    children[0].parent_side.send([running, behind])
    children[0].take_token()
    (outcome,) = pool.cancel([behind.id])
    assert (outcome.job_id, outcome.kind) == (behind.id, AttemptOutcome.RELEASED)
    assert pool.waiting == 0
    assert children[0].held == [running]


def test_a_child_gets_no_more_jobs_than_it_may_run(pool, children):
    pool.groups[0].recycling = Recycling(jobs=3)
    child = children[0]
    assert child.parent_side.room(time.monotonic()) == 3
    jobs = [claimed() for _ in range(3)]
    child.parent_side.send(jobs)
    assert child.parent_side.room(time.monotonic()) == 0
    for job in jobs:
        child.take_token()
        child.report(job)
    outcomes = pool.receive()
    assert (child.parent_side.is_retiring, child.parent_side.dismissed_at) == (True, None)
    confirm(pool, child, outcomes)
    assert child.parent_side.dismissed_at is not None
    assert pool._vacancies(pool.groups[0]) == 1


# Several jobs at a time


@pytest.fixture
def several(pool, request):
    pool.groups[:] = [group_of(getattr(request, "param", "thread"), size=1, capacity=3)]
    pool.group_of["a"] = pool.groups[0]
    child = FakeChild(pool, 1)
    yield child
    child.close()


def begin(pool, child, *jobs, ago=0.0):
    child.parent_side.send(list(jobs))
    for job in jobs:
        child.channel.send(protocol.STARTED, protocol.pack_attempt(job.id, job.fence))
    pool.receive()
    for job in jobs:
        child.offer_of(job).begun_at = late(ago)


def frames(child):
    return [kind for kind, _ in child.channel.receive()]


def test_a_child_of_threads_is_given_as_much_as_it_has(pool, several):
    assert pool.room(pool.groups[0]) == 3
    pool.add([claimed(), claimed()])
    assert fed(pool) == 2
    assert len(several.jobs()) == 2
    assert pool.room(pool.groups[0]) == 1


def test_who_outlives_the_timeout_is_given_up_and_the_siblings_finish(pool, several):
    offender, sibling = claimed(timeout=1.0), claimed()
    begin(pool, several, sibling)
    begin(pool, several, offender, ago=1.0 + pool.groups[0].settings.grace + 0.1)
    assert pool.receive() == []
    assert protocol.PING in frames(several)
    several.channel.send(protocol.PONG)
    (outcome,) = pool.receive()
    assert (outcome.job_id, outcome.kind) == (offender.id, AttemptOutcome.TIMEOUT)
    assert several.parent_side.is_retiring
    assert (several.parent_side.room(0), pool.room(pool.groups[0])) == (0, 3)
    several.report(offender)  # too late
    several.report(sibling)
    (outcome,) = pool.receive()
    assert (outcome.job_id, outcome.kind) == (sibling.id, AttemptOutcome.SUCCESSFUL)
    confirm(pool, several, [outcome])
    assert several.parent_side.dismissed_at is not None


def test_a_child_that_is_stuck_is_killed_and_only_the_offender_pays(pool, several, monkeypatch):
    killed = []
    monkeypatch.setattr(parent_side, "kill_group", killed.append)
    several.parent_side.pid = 4711
    grace = pool.groups[0].settings.grace
    offender, sibling, other = claimed(timeout=1.0), claimed(timeout=1.0), claimed()
    begin(pool, several, offender, ago=1.0 + grace + 0.2)
    begin(pool, several, sibling, ago=1.0 + grace + 0.1)
    begin(pool, several, other)
    pool.receive()
    several.parent_side.asked_at = late(2 * RESPONSE_TIMEOUT)
    assert pool.receive() == []
    assert killed == [4711]
    outcomes = {outcome.job_id: outcome.kind for outcome in pool._bury(several.parent_side, KILLED)}
    assert outcomes == {
        offender.id: AttemptOutcome.TIMEOUT,
        sibling.id: AttemptOutcome.RELEASED,
        other.id: AttemptOutcome.RELEASED,
    }


def test_a_thread_decides_itself_what_a_cancellation_ends(pool, several):
    job = claimed()
    begin(pool, several, job)
    frames(several)
    for _ in range(2):
        assert pool.cancel([job.id]) == []
    assert frames(several) == [protocol.CANCEL]
    several.offer_of(job).cancelled_at = late(3600)
    assert pool.receive() == []
    assert not several.parent_side.is_retiring


@pytest.mark.parametrize("several", ["async"], indirect=True)
def test_a_coroutine_that_ignores_its_cancellation_is_given_up(pool, several):
    job = claimed()
    begin(pool, several, job)
    pool.cancel([job.id])
    several.offer_of(job).cancelled_at = late(pool.groups[0].settings.grace + 1)
    pool.receive()
    several.channel.send(protocol.PONG)
    (outcome,) = pool.receive()
    assert (outcome.kind, several.parent_side.is_retiring) == (AttemptOutcome.CANCELLED, True)


def test_of_a_crash_all_jobs_of_the_process_are_part(pool, several):
    jobs = [claimed() for _ in range(3)]
    begin(pool, several, *jobs)
    outcomes = pool._bury(several.parent_side, KILLED)
    assert [outcome.kind for outcome in outcomes] == [AttemptOutcome.CRASHED] * 3
    assert outcomes[0].failure.exit_status == -KILLED


# What an adversary might try


def test_the_end_of_one_job_is_not_taken_for_that_of_the_next(pool, children, monkeypatch):
    killed = []
    monkeypatch.setattr(parent_side, "kill_group", killed.append)
    child = children[0]
    child.parent_side.pid = 4711
    child.attempt_clock.mark_over()  # of the job before: the child has not come round to the next
    child.parent_side.send([claimed()])
    child.take_token()
    pool.receive()
    child.attempt_clock.mark_begun(late(1))
    pool.receive()
    child.parent_side.since = late(2 * parent_side.START_TIMEOUT)
    if (seen := child.parent_side.over)[1]:
        child.parent_side.over = seen[0], late(2 * parent_side.START_TIMEOUT)
    child.attempt_clock.mark_over()
    pool.receive()
    assert killed == []


def test_a_cancellation_behind_a_job_that_does_not_begin_leaves_its_clock_alone(pool, children, monkeypatch):
    killed = []
    monkeypatch.setattr(parent_side, "kill_group", killed.append)
    child, first, second = children[0], claimed(), claimed()
    child.parent_side.pid = 4711
    child.parent_side.send([first, second])
    child.take_token()
    pool.cancel([second.id])
    child.parent_side.since = late(2 * parent_side.START_TIMEOUT)
    pool.receive()
    assert killed == [4711]


def test_a_job_that_the_child_has_taken_already_is_cancelled_there(pool, children, monkeypatch):
    monkeypatch.setattr(process.os, "kill", lambda pid, number: None)
    child, first, second = children[0], claimed(), claimed()
    child.parent_side.pid = 4711
    child.parent_side.send([first, second])
    child.take_token()
    child.report(first)  # the supervisor has not read it
    child.take_token()
    assert pool.cancel([second.id]) == []
    assert child.attempt_clock.is_cancelled
    assert child.offer_of(first).cancelled_at is None


def test_of_a_stuck_child_only_jobs_that_may_run_twice_are_given_back(pool, several):
    once, twice, unbegun = (
        claimed(options='{"on_lost":"fail"}'),
        claimed(),
        claimed(options='{"on_lost":"fail"}'),
    )
    begin(pool, several, once, twice)
    several.parent_side.send([unbegun])
    several.parent_side.kill_reason = "stuck"
    outcomes = {outcome.job_id: outcome.status for outcome in pool._bury(several.parent_side, KILLED)}
    assert outcomes == {once.id: JobStatus.FAILED, twice.id: JobStatus.READY, unbegun.id: JobStatus.READY}


def test_a_child_that_is_busy_with_receivers_keeps_no_other_from_being_started(pool, children):
    started = []
    pool._start = lambda group, worker_id: started.append(group)
    pool.children.pop(2).close()
    child = children[0]
    child.parent_side.send_finished([FinishedJob("id", True)])
    child.parent_side.sending_since = late(1)
    pool.add([claimed()])
    pool.fill(uuid.uuid4())
    assert started == [pool.groups[0]]
    assert fed(pool) == 0


def test_many_signals_are_sent_in_frames_that_a_minute_is_enough_for(pool, children):
    pool.signals.add(uuid.uuid4() for _ in range(100))
    pool.signals.send()
    sizes = [len(frame) for child in children for frame in child.parent_side.unsent]
    assert (sum(sizes), max(sizes)) == (100, 16)
    assert {len(child.parent_side.unsent) for child in children} == {3, 4}


def test_a_group_without_work_keeps_no_other_from_being_asked(pool):
    pool.groups[:] = [group_of("process", size=1), group_of("async", size=1, capacity=100)]
    pool.groups[0].usual_duration, pool.groups[1].task_names = 1.0, ["b"]
    assert pool.common_plan() == (["a", "b"], 1)
    assert list(pool.group_plans()) == [(["a"], 1), (["b"], 100)]


def test_an_outcome_is_of_the_job_that_it_names_and_not_of_the_one_that_was_expected():
    outcome = Outcome.successful(uuid.uuid4(), 1, "5", 0.1)
    body = protocol.pack_success(outcome, has_receivers=False)
    assert protocol.unpack_success(body, uuid.uuid4()) == (outcome, False)


def test_what_has_expired_is_not_handed_over_and_a_child_knows_the_time(pool, children):
    children[1].parent_side.ready = False
    now = microseconds(timezone.now())
    pool.clock.set(now, boot_time())
    late, in_time = claimed(expires_at=now), claimed(expires_at=now + 3600 * 10**6)
    pool.add([late, in_time, claimed()])
    assert pool.feed() == [late]
    ((_, body),) = children[0].channel.receive()
    clock = DatabaseClock()
    assert [job.expires_at for job in protocol.unpack_jobs(body, clock)[1]] == [in_time.expires_at, None]
    assert clock.is_past(now)
    assert not clock.is_past(in_time.expires_at)
    assert not clock.is_past(None)
    assert not DatabaseClock().is_past(now)


def test_the_databases_time_is_never_taken_for_earlier_than_it_is():
    clock = DatabaseClock()
    asked_at = boot_time()
    moment = microseconds(timezone.now())  # and the reply took a while
    clock.set(moment, asked_at - 5)
    assert clock.is_past(moment + 4 * 10**6)


def test_the_crash_of_a_thread_child_is_none_of_a_job_that_had_not_begun(pool, several):
    began, waited = claimed(), claimed()
    begin(pool, several, began)
    several.parent_side.send([waited])
    outcomes = {outcome.job_id: outcome.kind for outcome in several.parent_side.end_attempts(KILLED)}
    assert outcomes == {began.id: AttemptOutcome.CRASHED, waited.id: AttemptOutcome.RELEASED}


def test_nothing_is_claimed_for_a_group_that_is_broken_while_a_child_is_tried(pool, children):
    group = pool.groups[0]
    assert pool.room(group) > 0
    children[0].parent_side.ready = children[1].parent_side.ready = (
        False  # it is being tried whether they start
    )
    for _ in range(MAX_FAILURES):
        group.starts.failed("no memory", is_alone=True)
    assert (pool.broken, pool.room(group), pool.has_room) == (["process"], 0, False)
    assert group.starts.succeeded()
    assert pool.room(group) > 0
