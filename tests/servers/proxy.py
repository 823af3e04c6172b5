"""A TCP proxy on loopback that fails on purpose: it cuts, stalls, refuses or delays what passes."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

_BLOCK = 16 * 1024


class Proxy:
    """Passes connections to ``target`` (host and port, or the path of a Unix socket) until told to fail.

    The faults are attributes that a test sets at any time; they hold for open connections and new ones.

    ``cut_after``: after so many more bytes of answers, close every connection, once; the attribute is None
    again then. ``stall``: pass nothing on, keep everything open. ``refuse``: close new connections at once.
    ``delay``: seconds before each block of an answer is passed on.
    """

    def __init__(self, target: tuple[str, int] | str) -> None:
        self.target = target
        self.cut_after: int | None = None
        self.stall = False
        self.refuse = False
        self.delay = 0.0
        self.connections = 0
        """How many were accepted since the start."""
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._closed = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.1)
        self.host, self.port = self._listener.getsockname()
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def cut(self) -> None:
        """Close every open connection now."""
        with self._lock:
            some, self._open = self._open, set()
        for one in some:
            _close(one)

    def close(self) -> None:
        """End the proxy and every connection."""
        self._closed = True
        self._listener.close()
        self.cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            self.connections += 1
            client.settimeout(None)
            if self.refuse:
                _close(client)
                continue
            server = socket.socket(socket.AF_UNIX if isinstance(self.target, str) else socket.AF_INET)
            try:
                server.connect(self.target)
            except OSError:
                _close(client)
                _close(server)
                continue
            with self._lock:
                self._open |= {client, server}
            for source, sink, answers in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pass, args=(source, sink, answers), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while block := source.recv(_BLOCK):
                while self.stall and not self._closed:
                    time.sleep(0.01)
                if answers:
                    if self.delay:
                        time.sleep(self.delay)
                    block, last = self._count(block)
                    if last:
                        sink.sendall(block)
                        self.cut()
                        return
                sink.sendall(block)
        with self._lock:
            self._open -= {source, sink}
        _close(source)
        _close(sink)

    def _count(self, block: bytes) -> tuple[bytes, bool]:
        """Return what of an answer may still pass, and whether the connections are cut after it."""
        with self._lock:
            if self.cut_after is None:
                return block, False
            if len(block) < self.cut_after:
                self.cut_after -= len(block)
                return block, False
            block, self.cut_after = block[: self.cut_after], None
            return block, True


def _close(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
