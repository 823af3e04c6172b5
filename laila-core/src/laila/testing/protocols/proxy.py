"""A TCP proxy between two policies: it keeps what passes, and cuts the line; and strangers who replay it."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = ["Proxy", "say_to"]

_PIECE = 1 << 16


def _split(uri: str) -> tuple[str, str, int]:
    scheme, _, place = uri.partition("://")
    host, _, port = place.partition("/")[0].rpartition(":")
    return scheme, host.strip("[]"), int(port)


class Proxy:
    """Listens at :attr:`uri` and passes everything on to ``target``, a URI, and back.

    ``sent`` are the pieces that clients sent and ``answered`` those that the target did, each as it came: a
    piece that waits for an answer is one of its own.
    """

    def __init__(self, target: str) -> None:
        self._scheme, self._host, self._port = _split(target)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self._over = False
        self._left: int | None = None
        self.sent: list[bytes] = []
        self.answered: list[bytes] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def uri(self) -> str:
        """Where to connect to."""
        return f"{self._scheme}://127.0.0.1:{self._listener.getsockname()[1]}"

    def cut(self) -> None:
        """Break every connection, without a word to either side, and take no more of them."""
        with self._lock:
            self._over = True
            sockets, self._open = [self._listener, *self._open], []
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # this wakes waiting threads; closing does not
            each.close()

    def cut_after(self, count: int) -> None:
        """Break every connection when the target has sent so many bytes more."""
        self._left = count

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection((self._host, self._port), 10)
            except OSError:
                client.close()
                continue
            with self._lock:
                if self._over:
                    client.close()
                    server.close()
                    return
                self._open += [client, server]
            for source, sink, kept in ((client, server, self.sent), (server, client, self.answered)):
                thread = threading.Thread(target=self._pass, args=(source, sink, kept), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pass(self, source: socket.socket, sink: socket.socket, kept: list[bytes]) -> None:
        with suppress(OSError):
            while piece := source.recv(_PIECE):
                if kept is self.answered and self._left is not None:
                    sink.sendall(piece[: self._left])
                    self._left -= len(piece)
                    if self._left <= 0:
                        self.cut()
                        return
                else:
                    kept.append(piece)
                    sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()
        for thread in self._threads[1:]:
            thread.join(5)


def say_to(uri: str, pieces: list[bytes], pause: float) -> bytes:
    """Connect to ``uri`` as anybody may, send ``pieces`` with pauses, and return what was answered."""
    _, host, port = _split(uri)
    answer = b""
    with suppress(ConnectionError), socket.create_connection((host, port), 10) as connection:
        connection.settimeout(pause)
        for piece in [*pieces, b""]:
            with suppress(TimeoutError):
                connection.sendall(piece)
                answer += connection.recv(_PIECE)
    return answer
