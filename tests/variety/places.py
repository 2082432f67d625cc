"""Runs ``manage.py`` in surroundings as containers, supervisors and careful administrators make them.

``python -m tests.variety.places PLACE ... -- ARGUMENTS`` makes each place around this process and becomes
``manage.py ARGUMENTS`` in it. It ends with status 77 where this machine does not let it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import runpy
import signal
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from ..project import MANAGE

IMPOSSIBLE = 77
CLONE_NEWNS, CLONE_NEWPID = 0x00020000, 0x20000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
PR_SET_PDEATHSIG, PR_SET_KEEPCAPS, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 8, 22, 38
CAP_DAC_READ_SEARCH = 2
STRANGER = 54321

libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    if getattr(libc, name)(*arguments) == -1:
        print(f"{name}: {os.strerror(ctypes.get_errno())}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(IMPOSSIBLE)


def _own_mounts() -> None:
    _call("unshare", CLONE_NEWNS)
    _call("mount", b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None)


def pid_1() -> None:
    """The first process of a container, without an init: orphans are its own to reap."""
    _own_mounts()
    _call("unshare", CLONE_NEWPID)
    inner = os.fork()
    if inner:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: os.kill(inner, number))
        os._exit(os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1]) % 256)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    _call("mount", b"proc", b"/proc", b"proc", ctypes.c_ulong(0), None)


def stranger() -> None:
    """A user that no passwd file knows, as OpenShift has it, who may read this Python wherever it lies."""
    os.setgroups([])
    os.setgid(STRANGER)
    _call("prctl", PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setuid(STRANGER)
    reads = 1 << CAP_DAC_READ_SEARCH
    header, data = struct.pack("Ii", 0x20080522, 0), struct.pack("6I", reads, reads, 0, 0, 0, 0)
    _call("capset", header, data)


def homeless() -> None:
    for name in ("HOME", "USER", "LOGNAME", "XDG_RUNTIME_DIR"):
        os.environ.pop(name, None)


def read_only() -> None:
    """Nothing can be written anywhere, no shared memory, no temporary files."""
    _own_mounts()
    _call("mount", b"/", b"/", None, ctypes.c_ulong(MS_BIND | MS_REMOUNT | MS_RDONLY), None)
    # What is there may be the databases of the tests, so it stays. Nothing can be added.
    _call("mount", b"/dev/shm", b"/dev/shm", None, ctypes.c_ulong(MS_BIND), None)
    _call("mount", None, b"/dev/shm", None, ctypes.c_ulong(MS_BIND | MS_REMOUNT | MS_RDONLY), None)
    for folder in (b"/run", b"/var/tmp"):
        if os.path.isdir(folder):  # noqa: PTH112
            _call("mount", b"tmpfs", folder, b"tmpfs", ctypes.c_ulong(MS_RDONLY), None)
    os.chdir("/")
    tempfile.tempdir = None


def no_temporary() -> None:
    os.environ["TMPDIR"] = "/no/such/folder"
    tempfile.tempdir = None


def few_descriptors() -> None:
    """Too few for as many children as the worker is to have."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (36, 36))


def no_prctl() -> None:
    """A sandbox that refuses prctl(), as some do."""
    number = {"x86_64": (157, 0xC000003E), "aarch64": (167, 0xC00000B7)}[os.uname().machine]
    syscall, architecture = number
    load, equal, answer = 0x20, 0x15, 0x06
    program = b"".join(
        struct.pack("HBBI", *instruction)
        for instruction in (
            (load, 0, 0, 4),
            (equal, 0, 3, architecture),
            (load, 0, 0, 0),
            (equal, 0, 1, syscall),
            (answer, 0, 0, 0x00050001),  # EPERM
            (answer, 0, 0, 0x7FFF0000),  # allowed
        )
    )
    code = ctypes.create_string_buffer(program)
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 6, ctypes.addressof(code)))
    _call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _call("prctl", PR_SET_SECCOMP, 2, ctypes.byref(header), 0, 0)


def deaf() -> None:
    """Signals are ignored or blocked, as whoever started it had them."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGALRM, signal.SIGCHLD})


def no_streams() -> None:
    """All three standard streams are closed, as some supervisors leave them."""
    for fd in (0, 1, 2):
        os.close(fd)
    sys.stdin = sys.stdout = sys.stderr = None  # type: ignore[assignment]


def full_log() -> None:
    """What it says goes to a full disk."""
    fd = os.open("/dev/full", os.O_WRONLY)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115


def no_folder() -> None:
    """The working directory has been deleted, as a deploy does."""
    folder = Path(tempfile.mkdtemp())
    os.chdir(folder)
    folder.rmdir()


def ascii_only() -> None:
    """No locale, so that streams take ASCII only."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="ascii", errors="strict")  # type: ignore[union-attr]


PLACES: dict[str, Callable[[], None]] = {
    place.__name__: place
    for place in (
        pid_1, stranger, homeless, read_only, no_temporary, few_descriptors, no_prctl, deaf, no_streams,
        full_log, no_folder, ascii_only,
    )
}  # fmt: skip


def main() -> None:
    place = sys.argv.index("--")
    for name in sys.argv[1:place]:
        PLACES[name]()
    sys.argv = [MANAGE, *sys.argv[place + 1 :]]
    runpy.run_path(MANAGE, run_name="__main__")


if __name__ == "__main__":
    main()
