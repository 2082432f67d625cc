"""The hand-over between supervisor and children: both ends against each other, without pipes or clocks.

The world of these tests keeps what the kernel would: the pipe of tokens, and the frames on their way. Its
steps are the smallest that a scheduler of processes can interrupt.
"""

from __future__ import annotations

import copy
import signal
import uuid
from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from django_tasks_q.worker.children import handover, protocol

from .mutants import mutants_of
from .test_pool import claimed

pytestmark = pytest.mark.once


class Child:
    """A process child and the supervisor's end for it, with what is on the way between the two."""

    def __init__(self):
        self.parent, self.child = handover.ParentHandover(in_order=True), handover.ChildHandover()
        self.tokens = b""
        #: Frames to the child, with what is in them, and reports to the supervisor: job and fence.
        self.frames: deque[tuple] = deque()
        self.reports: deque[tuple] = deque()
        #: The token whose job the child has not found yet, and the job that it runs.
        self.token, self.running = None, None
        self.is_alive = True

    def __deepcopy__(self, memo):
        other = copy.copy(self)
        other.frames, other.reports = self.frames.copy(), self.reports.copy()
        other.child = handover.ChildHandover()
        other.child._queue = self.child._queue.copy()
        other.parent = handover.ParentHandover(in_order=True)
        vars(other.parent).update(vars(self.parent))
        other.parent._offers = {key: copy.copy(offer) for key, offer in self.parent._offers.items()}
        return other

    @property
    def shape(self):
        """All that a later step depends on. Serial numbers are counted from the oldest that matters."""
        start = self.parent._last_serial
        return (
            tuple((key, o.serial - start, o.state, o.cancelled_at) for key, o in self.parent._offers.items()),
            self.parent._taken_until - start,
            tuple((serial - start, job.id.int, job.fence) for serial, job in self.child._queue),
            tuple(handover.serial_of(token) - start for token in pieces(self.tokens)),
            tuple((first - start, keys) for _, first, keys in self.frames),
            tuple(self.reports),
            None if self.token is None else handover.serial_of(self.token) - start,
            None if self.running is None else (self.running.id.int, self.running.fence),
            self.is_alive,
        )


def pieces(tokens):
    size = handover.TOKEN_SIZE
    return [tokens[place : place + size] for place in range(0, len(tokens), size)]


class World:
    """Children, the backlog, and what has become of each job."""

    def __init__(self, children, jobs, *, withdrawals=0, deaths=0, cancels=0):
        self.children = [Child() for _ in range(children)]
        self.backlog = [claimed(id=uuid.UUID(int=number + 1)) for number in range(jobs)]
        #: How often each of these may still happen.
        self.withdrawals, self.deaths, self.cancels = withdrawals, deaths, cancels
        self.ended: dict[uuid.UUID, str] = {}
        self.total = jobs

    def copy(self):
        other = copy.copy(self)
        other.children = [copy.deepcopy(child) for child in self.children]
        other.backlog, other.ended = self.backlog.copy(), self.ended.copy()
        return other

    @property
    def shape(self):
        children = frozenset(child.shape for child in self.children)  # which is which does not matter
        backlog = tuple((job.id.int, job.fence) for job in self.backlog)
        ended = frozenset((id.int, how) for id, how in self.ended.items())
        return children, backlog, ended, self.withdrawals, self.deaths, self.cancels

    def steps(self):
        """Return every step that may come next, as a name and its arguments."""
        for place, child in enumerate(self.children):
            if child.is_alive:
                for count in range(1, len(self.backlog) + 1):
                    yield "offer", place, count
                if child.frames:
                    yield "read", place
                if child.token is not None or (child.child and child.running is None):
                    yield "take", place
                if child.running is not None:
                    yield "finish", place
                if child.parent.has_untaken and self.withdrawals:
                    yield "withdraw", place
                if self.deaths:
                    yield "die", place
            else:
                yield "bury", place
            if child.reports:
                yield "report", place
            if self.cancels:
                for offer in child.parent:
                    yield "cancel", place, offer.job.id

    def play(self, name, place, *more):
        getattr(self, name)(self.children[place], *more)
        self.check()

    # The supervisor

    def offer(self, child, count):
        jobs, self.backlog = self.backlog[:count], self.backlog[count:]
        first, tokens = child.parent.offer(jobs, 0.0)
        child.tokens += tokens
        keys = tuple((job.id.int, job.fence) for job in jobs)
        child.frames.append((protocol.pack_jobs(jobs, first), first, keys))

    def withdraw(self, child):
        self.withdrawals -= 1
        self.take_back(child)

    def take_back(self, child):
        tokens, child.tokens = child.tokens, b""
        self.backlog = child.parent.withdraw(tokens) + self.backlog

    def report(self, child):
        number, fence = child.reports.popleft()
        offer = child.parent.ended(uuid.UUID(int=number), fence)
        assert offer is not None
        self.end(offer.job, "successful")

    def cancel(self, child, job_id):
        self.cancels -= 1
        self.take_back(child)
        if not child.parent.holds(job_id):
            (job,) = (job for job in self.backlog if job.id == job_id)
            self.backlog.remove(job)
            self.end(job, "released")
            return
        offer = child.parent.cancel(job_id, 1.0)
        assert offer is None or offer.state >= handover.OfferState.TAKEN

    def bury(self, child):
        """As the pool does: reports count, what was not started goes back, the rest has crashed."""
        while child.reports:
            self.report(child)
        self.take_back(child)
        crashed = child.parent.clear()
        assert len(crashed) <= 1
        for offer in crashed:
            # It is claimed again.
            self.backlog.append(offer.job._replace(fence=offer.job.fence + 1))
        self.children[self.children.index(child)] = Child()

    def end(self, job, how):
        assert job.id not in self.ended
        self.ended[job.id] = how

    # The child

    def read(self, child):
        child.child.received(*protocol.unpack_jobs(child.frames.popleft()[0]))

    def take(self, child):
        if child.token is None:
            if not child.tokens:
                child.child.found_no_token()
                return
            child.token, child.tokens = (
                child.tokens[: handover.TOKEN_SIZE],
                child.tokens[handover.TOKEN_SIZE :],
            )
        child.running = child.child.take(child.token)
        if child.running is not None:
            child.token = None

    def finish(self, child):
        child.reports.append((child.running.id.int, child.running.fence))
        child.running = None

    def die(self, child):
        self.deaths -= 1
        child.is_alive = False
        # Frames that it has not read are lost, tokens stay in the pipe.
        child.frames.clear()

    # What always holds

    def check(self):
        places = [job.id for job in self.backlog] + list(self.ended)
        for child in self.children:
            places += [offer.job.id for offer in child.parent]
            states = [offer.state for offer in child.parent]
            assert states == sorted(states, reverse=True), "what is taken lies before what is not"
            waiting = sum(offer.serial > child.parent._taken_until for offer in child.parent)
            assert waiting >= len(child.tokens) // handover.TOKEN_SIZE, "a token is that of an offer"
            assert child.parent.has_untaken == (waiting > 0)
        assert sorted(places) == sorted(uuid.UUID(int=number + 1) for number in range(self.total))
        running = [child.running.id for child in self.children if child.running is not None]
        assert len(running) == len(set(running)), "one job runs in two children"
        for child in self.children:
            if child.is_alive and child.running is not None:
                key = child.running.id, child.running.fence
                assert key in [(offer.job.id, offer.job.fence) for offer in child.parent]

    def settle(self):
        """Play on until everything has ended, without deaths: nothing may be stuck."""
        self.withdrawals = self.deaths = self.cancels = 0
        for _ in range(50 * self.total):
            if len(self.ended) == self.total:
                return
            order = ("bury", "report", "finish", "read", "take", "offer")
            moves = sorted(self.steps(), key=lambda step: order.index(step[0]))
            assert moves, "nothing can go on"
            self.play(*moves[0])
        raise AssertionError("it never ends")


def explore(world, most=100_000):
    """Play every order of steps. Return how many different worlds there are."""
    seen, left = {world.shape}, [world]
    while left:
        assert len(seen) < most, "it never ends"
        world = left.pop()
        moves = list(world.steps())
        assert moves or len(world.ended) == world.total, "nothing can go on"
        for move in moves:
            after = world.copy()
            after.play(*move)
            if (shape := after.shape) not in seen:
                seen.add(shape)
                left.append(after)
    return len(seen)


#: Worlds that are small enough for every order of their steps, and how many different ones come up.
WORLDS = {
    "three jobs": {"children": 2, "jobs": 3, "withdrawals": 1},
    "a death": {"children": 2, "jobs": 2, "withdrawals": 1, "deaths": 1},
    "a cancellation": {"children": 2, "jobs": 2, "withdrawals": 1, "cancels": 1},
    "two withdrawals": {"children": 1, "jobs": 3, "withdrawals": 2},
}


@pytest.mark.parametrize("world", WORLDS)
def test_no_order_of_steps_loses_doubles_or_stops_a_job(world):
    assert explore(World(**WORLDS[world])) > 1000


class LongLives(RuleBasedStateMachine):
    """More children, jobs and mishaps than can be explored, in orders that Hypothesis draws."""

    @initialize(children=st.integers(1, 3), jobs=st.integers(1, 8))
    def begin(self, children, jobs):
        self.world = World(children, jobs, withdrawals=6, deaths=2, cancels=3)

    @rule(data=st.data())
    def step(self, data):
        if moves := list(self.world.steps()):
            self.world.play(*data.draw(st.sampled_from(moves)))

    def teardown(self):
        if hasattr(self, "world"):
            self.world.settle()


TestLongLives = LongLives.TestCase
TestLongLives.settings = settings(max_examples=40, stateful_step_count=40)


# Single steps


def offered(*jobs, in_order=True):
    parent = handover.ParentHandover(in_order=in_order)
    first, tokens = parent.offer(jobs, 5.0)
    return parent, first, tokens


def test_an_offer_is_known_by_its_serial_number_and_its_time():
    first_jobs, second_jobs = [claimed(), claimed()], [claimed()]
    parent, first, tokens = offered(*first_jobs)
    second, more = parent.offer(second_jobs, 6.0)
    assert (first, second, len(parent)) == (1, 3, 3)
    assert [handover.serial_of(token) for token in pieces(tokens + more)] == [1, 2, 3]
    assert [(offer.job, offer.offered_at, offer.state.name) for offer in parent] == [
        (first_jobs[0], 5.0, "OFFERED"),
        (first_jobs[1], 5.0, "OFFERED"),
        (second_jobs[0], 6.0, "OFFERED"),
    ]
    assert parent.oldest.job == first_jobs[0]
    assert parent.expected == first_jobs[0].id


def test_a_token_of_nobody_and_an_end_out_of_turn_are_violations():
    one, two = claimed(), claimed()
    parent, _, tokens = offered(one, two)
    with pytest.raises(handover.ProtocolViolation, match="belongs to no offer"):
        parent.withdraw(tokens + handover._TOKEN.pack(9))
    with pytest.raises(handover.ProtocolViolation, match=f"{two.id} ended before"):
        parent.ended(two.id, two.fence)
    with pytest.raises(handover.ProtocolViolation):
        parent.ended(one.id, one.fence + 1)
    assert len(parent) == 2
    child = handover.ChildHandover()
    child.received(1, [one])
    child.received(4, [two])
    with pytest.raises(handover.ProtocolViolation, match="offer 2 is missing"):
        child.take(handover._TOKEN.pack(2))


def test_what_is_unknown_is_ignored():
    job = claimed()
    parent, *_ = offered(job, in_order=False)
    parent.began(job.id, job.fence + 1, 1.0)
    assert parent.oldest.begun_at is None
    assert parent.ended(job.id, job.fence + 1) is None
    assert not parent.holds(uuid.uuid4())
    assert parent.cancel(uuid.uuid4(), 1.0) is None
    parent.remove(list(parent))
    assert parent.ended(job.id, job.fence) is None
    assert (parent.oldest, parent.expected, len(parent), parent.has_untaken) == (None, None, 0, False)


def test_jobs_that_run_at_the_same_time_end_in_any_order():
    one, two, three = claimed(), claimed(), claimed()
    parent, *_ = offered(one, two, three, in_order=False)
    assert parent.expected is None
    parent.began(two.id, two.fence, 7.0)
    assert [(offer.state.name, offer.begun_at) for offer in parent] == [
        ("OFFERED", None), ("BEGUN", 7.0), ("OFFERED", None)
    ]  # fmt: skip
    assert parent.ended(three.id, three.fence).job == three
    assert parent.ended(one.id, one.fence).job == one
    assert [offer.job for offer in parent.clear()] == [two]
    assert list(parent) == []


def test_what_the_clock_shows_is_taken_and_all_before_it():
    parent, first, _ = offered(claimed(), claimed(), claimed())
    parent.taken(first + 1)
    assert [offer.state.name for offer in parent] == ["TAKEN", "TAKEN", "OFFERED"]
    assert parent.has_untaken
    parent.taken(first)
    assert [offer.state.name for offer in parent] == ["TAKEN", "TAKEN", "OFFERED"]
    parent.taken(first + 2)
    assert not parent.has_untaken
    parent.offer([claimed()], 0.0)
    assert parent.has_untaken


def test_what_has_begun_stays_begun():
    job = claimed()
    parent, first, _ = offered(job)
    parent.began(job.id, job.fence, 3.0)
    parent.taken(first)
    assert parent.oldest.state.name == "BEGUN"


def test_each_job_is_cancelled_once():
    one, two = claimed(), claimed()
    parent, *_ = offered(one, two)
    offer = parent.cancel(two.id, 8.0)
    assert (offer.job, offer.cancelled_at) == (two, 8.0)
    assert parent.cancel(two.id, 9.0) is None
    assert offer.cancelled_at == 8.0
    assert parent.holds(two.id)
    assert parent.cancel(one.id, 9.0).job == one


def test_a_child_keeps_a_token_until_its_frame_arrives():
    one, two, three = claimed(), claimed(), claimed()
    child, token = handover.ChildHandover(), handover._TOKEN.pack
    child.received(1, [one, two])
    assert child.take(token(3)) is None  # the first two were withdrawn
    assert len(child) == 0
    child.received(3, [three])
    assert child.take(token(3)) == three
    child.received(4, [one, two])
    child.found_no_token()
    assert len(child) == 0
    child.received(6, [one, two])
    assert (child.take(token(6)), child.take(token(7))) == (one, two)


# Every change of the protocol is noticed


def is_noticed(monkeypatch, mutant):
    """Return whether any of the tests above fails with a mutant in place of the module."""
    monkeypatch.setitem(globals(), "handover", mutant)
    signal.setitimer(signal.ITIMER_PROF, 4.0)  # seconds of this process: a mutant may never end
    try:
        for test in SINGLE_STEPS:
            test()
        for world in SMALL_WORLDS:
            explore(World(**world), most=5_000)
    except (Exception, pytest.fail.Exception):
        return True
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return False


SMALL_WORLDS = [
    {"children": 1, "jobs": 2, "withdrawals": 2},
    {"children": 1, "jobs": 2, "withdrawals": 1, "deaths": 1, "cancels": 1},
]

SINGLE_STEPS = [
    value
    for name, value in list(globals().items())
    if name.startswith("test_") and not hasattr(value, "pytestmark")
]


def test_every_mutant_of_the_protocol_is_noticed(monkeypatch):
    def stop(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGPROF, stop)
    try:
        mutants = list(mutants_of(handover))
        survivors = [name for name, mutant in mutants if not is_noticed(monkeypatch, mutant)]
    finally:
        signal.signal(signal.SIGPROF, before)
    assert len(mutants) > 50
    assert survivors == []
