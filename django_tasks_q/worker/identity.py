"""What a worker is called where people look for it."""

from __future__ import annotations

import os
import socket

from ..payload.codec import printable

#: Longest name of a worker and of a host that the table holds, in characters.
MAX_NAME = 255


def host_name() -> str:
    """The name of this host, as every database stores it: any bytes may be one."""
    text = printable(socket.gethostname())
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)[:MAX_NAME]


def default_name() -> str:
    """Host and process id. A long host name is cut, the id never."""
    end = f"-{os.getpid()}"
    return host_name()[: MAX_NAME - len(end)] + end
