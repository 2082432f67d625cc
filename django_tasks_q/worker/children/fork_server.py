"""The fork server, a process that children are forked from: everything imported, no database, no thread.

The supervisor forks it before it opens anything itself, so the children inherit clean memory, shared until
it is written to. It also ends the children when the supervisor dies, or has not renewed its lease in time,
even if the supervisor is stopped.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import resource
import select
import selectors
import signal
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import NoReturn

from ...forks import end_process, flush_streams, show_error
from ...storage.timestamps import boot_time
from ..system import (
    adopt_orphans,
    children_of,
    die_with_parent,
    kill_descendants,
    kill_group,
    kill_process,
    wake_when_parent_dies,
)
from . import protocol
from .inherited_signals import ignore_here
from .protocol import Channel
from .shared_memory import open_memory

#: File descriptors that the supervisor keeps for its database and the rest: no child gets the last ones.
SPARE = 8
#: Seconds that the fork server has to end its children and itself before all of them are killed.
STOP_TIMEOUT = 10.0
#: File descriptors that a child is given.
PIPES = 4


@dataclass(frozen=True)
class Pipes:
    """One end of the pipes between supervisor and child: the socket of the frames, and the token pipe."""

    sock: socket.socket
    #: One byte for each job that may start. The side that reads a byte has the job: see ``process``.
    token_reader: int
    token_writer: int
    #: The descriptor of memory that both share: see ``shared_memory``.
    memory: int

    def close(self) -> None:
        """Close all but the socket, which the channel closes."""
        for fd in (self.token_reader, self.token_writer, self.memory):
            os.close(fd)


class ServerGone(Exception):
    """The process that children are forked from has ended."""


ChildMain = Callable[[Pipes, dict[str, str]], None]


class ForkServer:
    """The supervisor's end of the pipe to the fork server."""

    def __init__(self, child_main: ChildMain) -> None:
        ours, theirs = socket.socketpair()
        parent = os.getpid()
        flush_streams()
        try:
            self.pid = os.fork()
        except OSError:
            ours.close()
            theirs.close()
            raise
        if self.pid == 0:
            ours.close()
            _Server(theirs, child_main, parent).serve()
        theirs.close()
        self.channel = Channel(ours, blocking=False)
        self._is_stopped = False

    def spawn(self, key: int, config: dict[str, str]) -> Pipes:
        """Fork a child, known as ``key`` from now on. Return the supervisor's ends of its pipes.

        Raises OSError if there are no descriptors or no memory for them, and ServerGone.
        """
        body = json.dumps({"key": key, "config": config}).encode()
        frame = protocol.HEAD.pack(protocol.SPAWN, len(body)) + body
        with ExitStack() as opened:
            ours, theirs = socket.socketpair()
            opened.enter_context(ours)
            with theirs:
                fds = [*os.pipe()]
                for fd in fds:
                    opened.callback(os.close, fd)
                fds.append(open_memory())
                opened.callback(os.close, fds[-1])
                os.set_blocking(fds[0], False)
                _keep_spare(max(fds))
                self._send(frame, [theirs.fileno(), *fds])
            opened.pop_all()
        return Pipes(ours, *fds)

    def _send(self, frame: bytes, fds: list[int]) -> None:
        self.channel.sock.setblocking(True)
        try:
            self.channel.flush()  # all of what is queued, or the frame would come in the middle of it
            socket.send_fds(self.channel.sock, [frame], fds)
        except (BrokenPipeError, ConnectionResetError):
            raise ServerGone from None
        finally:
            self.channel.sock.setblocking(False)

    def renew(self, kill_at: float) -> None:
        """Kill the children at ``kill_at`` on the boot-time clock, unless this is called again before."""
        self.channel.send(protocol.LEASE, repr(kill_at).encode())

    def stop(self) -> None:
        """End the server and every child, and wait until they have ended."""
        if self._is_stopped:
            return
        self._is_stopped = True
        self.channel.close()
        deadline = time.monotonic() + STOP_TIMEOUT
        with suppress(ChildProcessError):  # another part of the program has reaped it
            while os.waitpid(self.pid, os.WNOHANG)[0] == 0:
                if time.monotonic() > deadline:
                    kill_process(self.pid)
                # Not time.sleep(), which computes an absolute end and fails where a clock jumps meanwhile.
                select.select((), (), (), 0.002)


def _keep_spare(highest: int) -> None:
    """Raise OSError if a descriptor of that number leaves too few for the supervisor."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit != resource.RLIM_INFINITY and highest + SPARE >= limit:
        raise OSError(errno.EMFILE, f"{os.strerror(errno.EMFILE)} (the limit is {limit})")


@dataclass
class _Server:
    sock: socket.socket
    child_main: ChildMain
    supervisor: int
    children: dict[int, int] = field(default_factory=dict)  # pid to key
    kill_at: float = float("inf")
    #: Children that were killed because the lease was not renewed in time.
    lapsed: set[int] = field(default_factory=set)

    def serve(self) -> NoReturn:
        # A terminal sends Ctrl-C to the whole foreground group; only the supervisor decides what it means.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        adopt_orphans()
        gc.collect()
        gc.freeze()
        wake_reader, wake_writer = socket.socketpair()
        wake_reader.setblocking(False)
        wake_writer.setblocking(False)
        for number in (signal.SIGCHLD, signal.SIGCONT):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(wake_writer.fileno())
        self.wake = (wake_reader, wake_writer)
        # Not killed with the supervisor: it has to end what tasks have started.
        wake_when_parent_dies()
        code = 1
        try:
            self._loop()
            code = 0
        except (EOFError, BrokenPipeError, ConnectionResetError):
            code = 0  # the supervisor is gone
        except BaseException:
            show_error()
        finally:
            try:
                for pid in self.children:
                    kill_group(pid)
                for pid in self.children:
                    os.waitpid(pid, 0)
                kill_descendants()
            finally:
                os._exit(code)

    def _loop(self) -> None:
        self.channel = Channel(self.sock, blocking=True)
        selector = selectors.DefaultSelector()
        selector.register(self.sock, selectors.EVENT_READ)
        selector.register(self.wake[0], selectors.EVENT_READ)
        while True:
            if os.getppid() != self.supervisor:
                raise EOFError
            remaining = self.kill_at - boot_time()
            ready = selector.select(None if remaining == float("inf") else max(0.0, remaining))
            for key, _ in ready:
                if key.fileobj is self.sock:
                    self._command()
                else:
                    self.wake[0].recv(4096)
            self._reap()
            if boot_time() >= self.kill_at:
                self.kill_at = float("inf")
                self.lapsed = set(self.children)
                for pid in self.children:
                    kill_group(pid)

    def _command(self) -> None:
        head, fds, _, _ = socket.recv_fds(self.sock, protocol.HEAD.size, PIPES)
        if not head:
            raise EOFError
        while len(head) < protocol.HEAD.size:
            head += self._exactly(protocol.HEAD.size - len(head))
        kind, size = protocol.HEAD.unpack(head)
        body = self._exactly(size)
        if kind == protocol.LEASE:
            self.kill_at = float(body)
        elif kind == protocol.SPAWN:
            command = json.loads(body)
            self._fork(command["key"], command["config"], fds)

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self.sock.recv(size - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def _fork(self, key: int, config: dict[str, str], fds: list[int]) -> None:
        server = os.getpid()
        try:
            if len(fds) < PIPES:  # the kernel leaves out those that are too many for this process
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            pid = os.fork()
        except OSError as error:  # the supervisor tries again
            for fd in fds:
                os.close(fd)
            self.channel.send(protocol.EXITED, json.dumps([key, 1 << 8, False, str(error)]).encode())
            return
        if pid == 0:
            try:
                self._become_child(server, config, fds)
            finally:
                os._exit(1)  # a child must not go on with the server's own code
        for fd in fds:
            os.close(fd)
        self.children[pid] = key
        self.channel.send(protocol.SPAWNED, json.dumps([key, pid]).encode())

    def _become_child(self, server: int, config: dict[str, str], fds: list[int]) -> NoReturn:
        code = 1
        try:
            os.setsid()
            die_with_parent(server)
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGCONT):
                signal.signal(number, signal.SIG_DFL)
            # A process manager may signal every process of the service, but only the supervisor stops work.
            ignore_here((signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
            self.sock.close()
            for sock in self.wake:
                sock.close()
            self.child_main(Pipes(socket.socket(fileno=fds[0]), *fds[1:]), config)
            code = 0
        except BaseException:
            show_error()
        finally:
            end_process(code)

    def _reap(self) -> None:
        while True:
            # The zombie keeps its number from being reused while its group is swept.
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            kill_group(ended.si_pid)
            pid, status = os.waitpid(ended.si_pid, 0)
            key = self.children.pop(pid, None)
            # What it had started in other sessions became a child of this process when it died.
            for orphan in children_of(os.getpid()):
                if orphan not in self.children:
                    kill_process(orphan)
            if key is not None:
                report = [key, status, pid in self.lapsed]
                self.lapsed.discard(pid)
                self.channel.send(protocol.EXITED, json.dumps(report).encode())
