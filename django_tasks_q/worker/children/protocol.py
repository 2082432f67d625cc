"""The pipe protocol between supervisor, fork server and children: frames of one kind byte and a body.

No pickle: a body is JSON, or a few numbers and a text. Arguments and results travel in it as the text that
the database holds, and the supervisor never decodes them.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple
from typing import Any
from uuid import UUID

from ...lifecycle.outcome import AttemptOutcome, Failure, Outcome
from ...lifecycle.states import JobStatus
from ...storage import ClaimedJob, LogNote, Note, ProgressNote
from ...storage.timestamps import DatabaseClock
from ...storage.values import IDS

# Supervisor to child
RUN = b"R"
FINISHED = b"E"
CANCEL = b"C"
PING = b"P"
STOP = b"Q"
# Child to supervisor
READY = b"r"
SUCCESS = b"y"
OUTCOME = b"o"
SENT = b"t"
STARTED = b"b"
PONG = b"p"
RETIRE = b"x"
PROGRESS = b"n"
# Supervisor to fork server
SPAWN = b"S"
LEASE = b"L"
# Fork server to supervisor
SPAWNED = b"s"
EXITED = b"e"

HEAD = struct.Struct("!cI")
_CHUNK = 1 << 16


class Channel:
    """Frames over a socket: blocking in children, buffered and non-blocking in the supervisor."""

    def __init__(self, sock: socket.socket, *, blocking: bool) -> None:
        self.sock = sock
        self._blocking = blocking
        self._incoming = bytearray()
        self._outgoing = bytearray()
        self._lock = threading.Lock()
        sock.setblocking(blocking)

    def fileno(self) -> int:
        return self.sock.fileno()

    def send(self, kind: bytes, body: bytes = b"") -> None:
        """Send a frame, or queue it if the other side does not read; see ``flush()``."""
        frame = HEAD.pack(kind, len(body)) + body
        if self._blocking:
            # Threads share the channel, and a frame must not be interrupted by another.
            with self._lock:
                self.sock.sendall(frame)
        else:
            self._outgoing += frame
            self.flush()

    def flush(self) -> None:
        """Send what is queued, as far as possible. If the other side is gone, ``receive()`` raises."""
        try:
            while self._outgoing:
                del self._outgoing[: self.sock.send(self._outgoing)]
        except BlockingIOError:
            pass
        except (BrokenPipeError, ConnectionResetError):
            self._outgoing.clear()

    @property
    def unsent(self) -> int:
        """Bytes that the other side has not read yet."""
        return len(self._outgoing)

    @property
    def has_unsent(self) -> bool:
        """Whether something is queued."""
        return bool(self._outgoing)

    def receive(self, *, wait: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Return the frames that have arrived; with ``wait``, at least one. Raises EOFError at the end."""
        flags = 0 if wait else socket.MSG_DONTWAIT
        while True:
            frames = self._parse()
            yield from frames
            if frames and wait:
                return
            try:
                data = self.sock.recv(_CHUNK, flags)
            except BlockingIOError:
                return
            except ConnectionResetError:
                data = b""
            if not data:
                raise EOFError
            self._incoming += data

    def _parse(self) -> list[tuple[bytes, bytes]]:
        frames, position = [], 0
        while len(self._incoming) - position >= HEAD.size:
            kind, size = HEAD.unpack_from(self._incoming, position)
            body = position + HEAD.size
            if len(self._incoming) < body + size:
                break
            position = body + size
            frames.append((kind, bytes(self._incoming[body:position])))
        del self._incoming[:position]
        return frames

    def finish(self) -> None:
        """Send what is queued and nothing more; the other side reads until EOFError."""
        self.sock.setblocking(True)
        try:
            self.sock.sendall(self._outgoing)
            self.sock.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError, OSError):
            pass
        self._outgoing.clear()
        self.sock.setblocking(False)

    def close(self) -> None:
        self.sock.close()


_ENCODER = json.JSONEncoder(separators=(",", ":"))


def pack(records: Iterable[Sequence[Any]]) -> bytes:
    """Return records of JSON types as the body of a frame."""
    return _ENCODER.encode(list(records)).encode()


def unpack(body: bytes) -> list[list[Any]]:
    records: list[list[Any]] = json.loads(body)
    return records


def pack_jobs(jobs: Iterable[ClaimedJob], first: int, offset: int | None = None) -> bytes:
    """Pack jobs, the serial number of the first offer, and the offset of the clock by which they expire.

    A record has the fields of ClaimedJob in their order, with its ids as hexadecimal text.
    """
    records: list[list[Any]] = [[*job] for job in jobs]
    for record in records:
        for place in IDS:
            record[place] = record[place].hex
    return pack([[first, offset], *records])


def unpack_jobs(body: bytes, clock: DatabaseClock | None = None) -> tuple[int, list[ClaimedJob]]:
    """Return the serial number of the first offer, and the jobs. Set the clock if its offset is there."""
    (first, offset), *records = unpack(body)
    if offset is not None and clock is not None:
        clock.use_offset(offset)
    for record in records:
        for place in IDS:
            record[place] = UUID(int=int(record[place], 16))
    return first, [ClaimedJob._make(record) for record in records]


_ATTEMPT = struct.Struct("!16si")


def pack_attempt(job_id: UUID, fence: int) -> bytes:
    """Return what names an attempt as a body."""
    return _ATTEMPT.pack(job_id.bytes, fence)


def unpack_attempt(body: bytes) -> tuple[UUID, int]:
    """Return the job's id and the fence of such a body."""
    id, fence = _ATTEMPT.unpack(body)
    return UUID(bytes=id), fence


# An outcome begins with its job's id and whether the child has receivers for it.
_OUTCOME = struct.Struct("!16s?")
_SUCCESS = struct.Struct("!16s?id")


def pack_success(outcome: Outcome, has_receivers: bool) -> bytes:
    """Return the outcome of an attempt that succeeded, as nearly all do, as a body."""
    head = _SUCCESS.pack(outcome.job_id.bytes, has_receivers, outcome.fence, outcome.duration)
    return head + (outcome.result or "").encode()


def unpack_success(body: bytes, expected: UUID | None = None) -> tuple[Outcome, bool]:
    """Return the outcome of such a body and ``has_receivers``. An ``expected`` id is reused."""
    id, has_receivers, fence, duration = _SUCCESS.unpack_from(body)
    if expected is None or expected.int != int.from_bytes(id):
        expected = UUID(bytes=id)
    return Outcome.successful(expected, fence, body[_SUCCESS.size :].decode(), duration), has_receivers


_UPDATES: dict[str, type[Note]] = {kind.__name__: kind for kind in (ProgressNote, LogNote)}


def pack_update(update: Note) -> bytes:
    """Return a progress update, or a line of a job's log, as a body."""
    id, *rest = update
    return pack([[type(update).__name__, id.hex, *rest]])


def unpack_update(body: bytes) -> Note:
    """Return the update of such a body."""
    [[name, id, *rest]] = unpack(body)
    return _UPDATES[name](UUID(hex=id), *rest)


def pack_outcome(outcome: Outcome, has_receivers: bool) -> bytes:
    """Return any outcome as a body."""
    failure = outcome.failure
    header = [
        outcome.fence,
        outcome.kind.value,
        outcome.status.value,
        outcome.delay,
        outcome.duration,
        None if failure is None else astuple(failure),
        outcome.result,
        outcome.is_written,
        outcome.in_doubt,
    ]
    return _OUTCOME.pack(outcome.job_id.bytes, has_receivers) + json.dumps(header).encode()


def unpack_outcome(body: bytes) -> tuple[Outcome, bool]:
    """Return the outcome of such a body and ``has_receivers``."""
    id, has_receivers = _OUTCOME.unpack_from(body)
    fence, kind, status, delay, duration, failure, result, is_written, in_doubt = json.loads(
        body[_OUTCOME.size :]
    )
    outcome = Outcome(
        job_id=UUID(bytes=id),
        fence=fence,
        kind=AttemptOutcome(kind),
        status=JobStatus(status),
        delay=delay,
        duration=duration,
        failure=None if failure is None else Failure(*failure),
        result=result,
        is_written=is_written,
        in_doubt=in_doubt,
    )
    return outcome, has_receivers
