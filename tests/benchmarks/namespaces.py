"""Hosts of their own for workers: network namespaces on a bridge, gone with the run."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

#: A private network of 254 hosts; it is only on this machine. The bridge has the first address.
NETWORK = "10.213.77"
#: Names of links have 15 characters at most.
ADDRESS = f"{NETWORK}.1"
BRIDGE = f"dtqb{os.getpid()}"


def missing() -> str:
    """Why there can be none, or nothing."""
    if os.geteuid():
        return "network namespaces need root"
    return "" if shutil.which("ip") else "the command `ip` is not installed"


@contextmanager
def hosts(count: int) -> Iterator[list[str]]:
    """Names for ``ip netns exec``. Raises CalledProcessError where they are not permitted."""
    with ExitStack() as stack:
        _ip("link", "add", BRIDGE, "type", "bridge")
        stack.callback(_ip, "link", "del", BRIDGE)
        _ip("addr", "add", f"{ADDRESS}/24", "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")
        names = []
        for number in range(count):
            name, outside = f"{BRIDGE}-{number}", f"d{os.getpid()}v{number}"
            _ip("netns", "add", name)
            # The link goes with its namespace.
            stack.callback(_ip, "netns", "del", name)
            _ip("link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("link", "set", outside, "master", BRIDGE, "up")
            _ip("-n", name, "addr", "add", f"{NETWORK}.{number + 10}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            names.append(name)
        yield names


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
