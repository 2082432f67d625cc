"""A TCP proxy before a database that can cut connections, or swallow what they say without a word."""

import selectors
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

Address = str | tuple[str, int]


@dataclass(eq=False)
class Link:
    """One connection: the client's socket, the server's, and what the client has said."""

    client: socket.socket
    server: socket.socket
    said: bytearray = field(default_factory=bytearray)
    stalled: bool = False

    def close(self, *, reset: bool = False) -> None:
        for sock in (self.client, self.server):
            if reset:  # a RST instead of a FIN
                with suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()


class Proxy:
    """Passes everything on until it is told otherwise."""

    def __init__(self, url: str) -> None:
        self._upstream = _address(url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._url = url
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._wake, waker = socket.socketpair()
        self._waker = waker
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._orders: list[Callable[[], None]] = []
        self._stall_new = False
        self.links: list[Link] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The database's URL by way of this proxy."""
        parts = urlsplit(self._url)
        port = self._listener.getsockname()[1]
        credentials = parts.netloc.rpartition("@")[0]
        netloc = f"{credentials}@127.0.0.1:{port}" if credentials else f"127.0.0.1:{port}"
        return parts._replace(netloc=netloc, query="").geturl()

    def reset(self) -> None:
        """Cut all connections."""
        self._do(lambda: [self._drop(link, reset=True) for link in list(self.links)])

    def stall(self, which: Callable[[Link], bool] = lambda link: True, *, new: bool = False) -> None:
        """Swallow what is said on these connections, with ``new`` on later ones too. TCP acknowledges it."""

        def order() -> None:
            self._stall_new = new
            for link in self.links:
                if which(link) and not link.stalled:
                    link.stalled = True
                    self._selector.unregister(link.client)
                    self._selector.unregister(link.server)

        self._do(order)

    def accept(self) -> None:
        """Pass new connections on; what is stalled stays so."""
        self._do(lambda: setattr(self, "_stall_new", False))

    def close(self) -> None:
        self._do(lambda: [self._drop(link) for link in list(self.links)])
        self._do(lambda: self._selector.unregister(self._listener))
        self._listener.close()

    def _do(self, order: Callable[[], object]) -> None:
        done = threading.Event()
        self._orders.append(lambda: (order(), done.set())[0])
        self._waker.send(b".")
        assert done.wait(5)

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._wake:
                    self._wake.recv(100)
                elif key.fileobj is self._listener:
                    self._accept()
                elif key.data in self.links:
                    self._pass_on(key.data, key.fileobj)
            while self._orders:
                self._orders.pop(0)()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        family = socket.AF_UNIX if isinstance(self._upstream, str) else socket.AF_INET
        server = socket.socket(family)
        try:
            server.connect(self._upstream)
        except OSError:
            client.close()
            server.close()
            return
        link = Link(client, server, stalled=self._stall_new)
        self.links.append(link)
        if not link.stalled:
            self._selector.register(client, selectors.EVENT_READ, link)
            self._selector.register(server, selectors.EVENT_READ, link)

    def _pass_on(self, link: Link, source: object) -> None:
        try:
            assert isinstance(source, socket.socket)
            data = source.recv(65536)
            if not data:
                raise ConnectionResetError
            if source is link.client:
                link.said += data
                link.server.sendall(data)
            else:
                link.client.sendall(data)
        except OSError:
            self._drop(link)

    def _drop(self, link: Link, *, reset: bool = False) -> None:
        if link not in self.links:
            return
        self.links.remove(link)
        if not link.stalled:
            self._selector.unregister(link.client)
            self._selector.unregister(link.server)
        link.close(reset=reset)


@contextmanager
def proxied(url: str) -> Iterator[Proxy]:
    proxy = Proxy(url)
    try:
        yield proxy
    finally:
        proxy.close()


def _address(url: str) -> Address:
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    if path := query.get("unix_socket", [""])[0]:
        return path
    port = parts.port or (3306 if parts.scheme == "mysql" else 5432)
    host = query.get("host", [parts.hostname or "localhost"])[0]
    return f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)
