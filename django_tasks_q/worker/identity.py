"""The names of workers and hosts in tables and logs."""

from __future__ import annotations

import os
import socket

from ..payload.codec import printable

#: The longest name of a worker or a host in the table, in characters.
MAX_NAME = 255


def host_name() -> str:
    """Return the name of this host, printable: any bytes may be one."""
    text = printable(socket.gethostname())
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)[:MAX_NAME]


def default_name() -> str:
    """Return host and process id. A long host name is cut, the id never."""
    end = f"-{os.getpid()}"
    return host_name()[: MAX_NAME - len(end)] + end
