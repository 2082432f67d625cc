"""The pipe protocol between parent, fork server and children: frames of one kind byte and a body.

No pickle: a frame is JSON text, and arguments and results travel in it as the bytes that the database
holds. The parent never decodes them.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from ..outcomes import AttemptOutcome, Failure, Outcome
from ..states import JobStatus
from ..storage import ClaimedJob

# Parent to child
RUN = b"R"
ENDED = b"E"
CANCEL = b"C"
PING = b"P"
# Child to parent
READY = b"r"
OUTCOME = b"o"
DROPPED = b"d"
TOLD = b"t"
STARTED = b"b"
PONG = b"p"
TIRED = b"x"
# Parent to fork server
SPAWN = b"S"
LEASE = b"L"
# Fork server to parent
SPAWNED = b"s"
EXITED = b"e"

HEAD = struct.Struct("!cI")
_SIZE = struct.Struct("!I")
_CHUNK = 1 << 16


class Channel:
    """Frames over a socket. Blocking for who only answers, buffered and non-blocking for the parent."""

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
        """Send a frame, or queue what the other side is too busy to take; see ``flush``."""
        frame = HEAD.pack(kind, len(body)) + body
        if self._blocking:
            # Threads share the channel, and a frame goes in one piece.
            with self._lock:
                self.sock.sendall(frame)
        else:
            self._outgoing += frame
            self.flush()

    def flush(self) -> None:
        """Send what is queued, as far as it goes. A side that is gone is noticed by who waits for it."""
        try:
            while self._outgoing:
                del self._outgoing[: self.sock.send(self._outgoing)]
        except BlockingIOError:
            pass
        except (BrokenPipeError, ConnectionResetError):
            self._outgoing.clear()

    @property
    def has_unsent(self) -> bool:
        return bool(self._outgoing)

    def receive(self, *, wait: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """The frames that are here; with ``wait``, at least one. Raises EOFError when the other side left."""
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
        """Send what is queued and nothing more; the other side reads on until EOFError."""
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


def pack(records: Iterable[tuple[list[Any], str | None]]) -> bytes:
    """Records of a JSON header and a text that is passed through as it is."""
    parts: list[bytes] = []
    for header, text in records:
        head = json.dumps(header, separators=(",", ":")).encode()
        tail = b"" if text is None else text.encode()
        parts += (_SIZE.pack(len(head)), head, _SIZE.pack(len(tail)), tail)
    return b"".join(parts)


def unpack(body: bytes) -> Iterator[tuple[list[Any], str]]:
    position = 0
    while position < len(body):
        pieces = []
        for _ in range(2):
            (size,) = _SIZE.unpack_from(body, position)
            position += _SIZE.size
            pieces.append(body[position : position + size])
            position += size
        yield json.loads(pieces[0]), pieces[1].decode()


def pack_jobs(jobs: Iterable[ClaimedJob]) -> bytes:
    return pack(([_plain(value) for value in job._replace(arguments="")], job.arguments) for job in jobs)


def unpack_jobs(body: bytes) -> Iterator[ClaimedJob]:
    for header, arguments in unpack(body):
        job = ClaimedJob(*header)
        yield job._replace(
            id=UUID(header[0]),
            arguments=arguments,
            enqueued_at=_moment(job.enqueued_at),
            started_at=_moment(job.started_at),
            last_attempted_at=_moment(job.last_attempted_at),
            run_after=_moment(job.run_after) if job.run_after else None,
            expires_at=_moment(job.expires_at) if job.expires_at else None,
        )


def pack_outcome(outcome: Outcome) -> bytes:
    failure = outcome.failure
    header = [
        str(outcome.job_id),
        outcome.fence,
        outcome.kind.value,
        outcome.status.value,
        outcome.delay,
        outcome.duration,
        None
        if failure is None
        else [failure.code, failure.exception_class, failure.message, failure.traceback],
        outcome.result is not None,
        outcome.is_written,
        outcome.in_doubt,
    ]
    return pack([(header, outcome.result)])


def unpack_outcome(body: bytes) -> Outcome:
    header, result = next(unpack(body))
    job_id, fence, kind, status, delay, duration, failure, has_result, is_written, in_doubt = header
    return Outcome(
        job_id=UUID(job_id),
        fence=fence,
        kind=AttemptOutcome(kind),
        status=JobStatus(status),
        delay=delay,
        duration=duration,
        failure=None if failure is None else Failure(*failure),
        result=result if has_result else None,
        is_written=is_written,
        in_doubt=in_doubt,
    )


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value


def _moment(text: Any) -> datetime:
    return datetime.fromisoformat(text)
