"""A TCP proxy that keeps every byte, and takes the masks off what WebSocket clients send."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self


class Recorder:
    """Passes connections to a port on loopback; keeps what was ``sent`` and ``answered`` on each."""

    def __init__(self, port: int) -> None:
        self.sent: list[bytearray] = []
        self.answered: list[bytearray] = []
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._open += [client, server]
                for source, sink, kept in ((client, server, self.sent), (server, client, self.answered)):
                    kept.append(bytearray())
                    threading.Thread(target=self._pass, args=(source, sink, kept[-1]), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, kept: bytearray) -> None:
        with contextlib.suppress(OSError):
            while block := source.recv(65536):
                kept += block
                sink.sendall(block)
            sink.shutdown(socket.SHUT_WR)

    def everything(self) -> bytes:
        """All that crossed, in both directions, as it was before it was masked."""
        return b"\n".join([*map(unmasked, self.sent), *map(unmasked, self.answered)])

    def close(self) -> None:
        """End it."""
        for one in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def unmasked(stream: bytes | bytearray) -> bytes:
    """The HTTP head and the payloads of the frames of one direction (RFC 6455, section 5.2)."""
    end = stream.find(b"\r\n\r\n") + 4
    found = [bytes(stream[:end])]
    while end + 2 <= len(stream):
        length = stream[end + 1] & 0x7F
        masked = stream[end + 1] & 0x80
        end += 2
        if length >= 126:
            size = 2 if length == 126 else 8
            length = int.from_bytes(stream[end : end + size], "big")
            end += size
        mask = bytes(stream[end : end + 4]) if masked else bytes(4)
        end += 4 if masked else 0
        payload = stream[end : end + length]
        found.append(bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload)))
        end += length
    return b"\n".join(found)
