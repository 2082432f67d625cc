"""The hand-over of jobs from the supervisor to one child: what each end knows of it.

Both ends are pure: bytes come in, bytes go out, and the time is an argument. The pipes and the clocks are
those of the modules that use them.

The supervisor's end knows every job that the child holds, in one of these states:

========= ==================================== ======================================================
State     Means                                Becomes
========= ==================================== ======================================================
(queued)  The job is in the backlog.           offered
OFFERED   The child may start it at any time.  TAKEN, or withdrawn: the supervisor has read its token.
TAKEN     The child has its token.             BEGUN, or ended
BEGUN     Its code runs.                       ended
(ended)   Its outcome is known.
========= ==================================== ======================================================

Each offer has a serial number, which is never used again. A token is that number, written to the pipe of
tokens before the frame of its job. Only one end can read it: the child before it starts the job, or the
supervisor to withdraw it. A child starts a job only by the job's own token, so nothing that it finds in an
old frame can start again. Children that run several jobs at a time start each job when its frame arrives;
they use no tokens, and nothing is withdrawn from them.

A report is matched by the job's id and its fence.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from uuid import UUID

from ...storage import ClaimedJob

_TOKEN = struct.Struct("!Q")
#: Bytes of one token. Every write and every read is of whole tokens, so no read is given a part of one.
TOKEN_SIZE = _TOKEN.size
#: The serial number that stands for no offer.
NO_OFFER = 0


class ProtocolViolation(Exception):
    """The other end did what the protocol excludes. Nothing is known about its jobs any more."""


class OfferState(IntEnum):
    """What the supervisor knows of a job that a child holds."""

    OFFERED = 0
    TAKEN = 1
    BEGUN = 2


@dataclass(slots=True, eq=False)
class Offer:
    """A job that a child holds. Times are on the clock that the caller uses."""

    job: ClaimedJob
    serial: int
    offered_at: float
    state: OfferState = OfferState.OFFERED
    #: When its code began, if the child has reported it.
    begun_at: float | None = None
    #: When the supervisor requested its cancellation.
    cancelled_at: float | None = None

    def take(self) -> None:
        """The child has taken its token."""
        self.state = max(self.state, OfferState.TAKEN)

    def begin(self, now: float) -> None:
        """Its code has begun."""
        self.state, self.begun_at = OfferState.BEGUN, now

    def cancel(self, now: float) -> bool:
        """Note that it is to be cancelled. Return whether this is the first request."""
        if self.cancelled_at is not None:
            return False
        self.cancelled_at = now
        return True


class ParentHandover:
    """The supervisor's end: the offers that have neither ended nor been withdrawn, oldest first.

    ``in_order`` says that the child runs one job after the other, by tokens.
    """

    def __init__(self, *, in_order: bool) -> None:
        self.in_order = in_order
        #: By the number of the job's id and by its fence: numbers are hashed without a call.
        self._offers: dict[tuple[int, int], Offer] = {}
        self._last_serial = NO_OFFER
        #: The newest offer that is known to be taken. All older ones are.
        self._taken_until = NO_OFFER

    def __len__(self) -> int:
        return len(self._offers)

    def __iter__(self) -> Iterator[Offer]:
        return iter(self._offers.values())

    @property
    def oldest(self) -> Offer | None:
        """The offer that a child which runs them in order ends next."""
        return next(iter(self._offers.values()), None)

    @property
    def expected(self) -> UUID | None:
        """The job that ends next, if that is known."""
        oldest = self.oldest if self.in_order else None
        return None if oldest is None else oldest.job.id

    @property
    def has_untaken(self) -> bool:
        """Whether there are offers that the child is not known to have taken."""
        return bool(self._offers) and self._last_serial > self._taken_until

    # Steps

    def offer(self, jobs: Sequence[ClaimedJob], now: float) -> tuple[int, bytes]:
        """Offer jobs. Return the serial number of the first, and the tokens of all.

        The tokens have to be written before the frame: a job whose token is missing counts as withdrawn.
        """
        first = self._last_serial + 1
        for serial, job in enumerate(jobs, first):
            self._offers[job.id.int, job.fence] = Offer(job, serial, now)
        self._last_serial += len(jobs)
        return first, b"".join(map(_TOKEN.pack, range(first, self._last_serial + 1)))

    def withdraw(self, tokens: bytes) -> list[ClaimedJob]:
        """Remove the offers of tokens that the supervisor has read back, and return their jobs in order.

        They have to be all that were in the pipe: whatever remains is taken. Raises ProtocolViolation.
        """
        serials = {serial for (serial,) in _TOKEN.iter_unpack(tokens)}
        withdrawn = [key for key, offer in self._offers.items() if offer.serial in serials]
        if len(withdrawn) != len(serials):
            raise ProtocolViolation("A token belongs to no offer.")
        jobs = [self._offers.pop(key).job for key in withdrawn]
        self.taken(self._last_serial)
        return jobs

    def taken(self, serial: int) -> None:
        """The child has taken the token of an offer, and so those of all before it."""
        self._taken_until = max(self._taken_until, serial)
        for offer in self._offers.values():
            if offer.serial > serial:
                break
            offer.take()

    def began(self, job_id: UUID, fence: int, now: float) -> None:
        """The code of a job has begun. Ignored if the job has been given up."""
        if (offer := self._offers.get((job_id.int, fence))) is not None:
            offer.begin(now)

    def ended(self, job_id: UUID, fence: int) -> Offer | None:
        """Remove the offer of a job whose outcome has arrived. Return None if the child does not hold it.

        Raises ProtocolViolation if jobs run in order and another one is the oldest.
        """
        if self.in_order and self._offers:
            offer = next(iter(self._offers.values()))
            if offer.job.id.int != job_id.int or offer.job.fence != fence:
                raise ProtocolViolation(f"Job {job_id} ended before it had its turn.")
        return self._offers.pop((job_id.int, fence), None)

    def cancel(self, job_id: UUID, now: float) -> Offer | None:
        """Note that a job is to be cancelled, and return its offer if this is the first request for it."""
        for offer in self._offers.values():
            if offer.job.id == job_id and offer.cancel(now):
                return offer
        return None

    def holds(self, job_id: UUID) -> bool:
        """Return whether the child holds any attempt of a job."""
        return any(offer.job.id == job_id for offer in self._offers.values())

    def remove(self, offers: Iterable[Offer]) -> None:
        """Remove offers that the supervisor ends by itself. What the child reports of them is ignored."""
        for offer in offers:
            del self._offers[offer.job.id.int, offer.job.fence]

    def clear(self) -> list[Offer]:
        """Remove and return all offers."""
        offers = list(self._offers.values())
        self._offers.clear()
        return offers


class ChildHandover:
    """The end of a child that runs its jobs in order: those that have arrived and not started."""

    def __init__(self) -> None:
        self._queue: deque[tuple[int, ClaimedJob]] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def received(self, first: int, jobs: Iterable[ClaimedJob]) -> None:
        """Add the jobs of a frame, whose first offer has this serial number."""
        self._queue.extend(enumerate(jobs, first))

    def take(self, token: bytes) -> ClaimedJob | None:
        """Return the job that a token starts, or None while its frame has not arrived.

        Jobs before it have been withdrawn, since tokens are read in order.
        """
        (serial,) = _TOKEN.unpack(token)
        while self._queue and self._queue[0][0] < serial:
            self._queue.popleft()
        if not self._queue:
            return None
        if self._queue[0][0] != serial:
            raise ProtocolViolation(f"The frame of offer {serial} is missing.")
        return self._queue.popleft()[1]

    def found_no_token(self) -> None:
        """Drop the jobs that have arrived: without a token, all of them have been withdrawn."""
        self._queue.clear()


def serial_of(token: bytes) -> int:
    """Return the serial number of the offer that a token stands for."""
    serial: int = _TOKEN.unpack(token)[0]
    return serial
