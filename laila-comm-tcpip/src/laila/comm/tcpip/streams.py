"""Streams: messages that are too large for one WebSocket message, cut into chunks, with flow control.

A sender may have ``window`` bytes of a stream in flight; the receiver grants more when it has taken them. A
stream that stands still delays no other, and small messages pass between the chunks. Does no I/O.
"""

from __future__ import annotations

from laila.comm.tcpip.limits import CHUNK_BYTES
from laila.comm.tcpip.messages import BadMessage, chunk_header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from laila.comm.tcpip.messages import Message

    Part = bytes | memoryview

__all__ = ["InStream", "OutStream"]


class OutStream:
    """The parts of an outgoing stream, sent chunk by chunk, as far as there is credit."""

    __slots__ = ("_index", "_offset", "_parts", "credit", "kind", "left", "number")

    def __init__(self, number: int, kind: int, parts: Sequence[Part], window: int) -> None:
        self.number = number
        self.kind = kind
        self.left = sum(map(len, parts))
        self.credit = window
        self._parts = parts
        self._index = 0
        self._offset = 0

    def chunk(self) -> bytes:
        """Return the next binary message; only while there are credit and data left."""
        room = min(CHUNK_BYTES, self.credit, self.left)
        whole = room == self.left and not (self._index or self._offset)
        self.credit -= room
        self.left -= room
        header = chunk_header(self.kind, self.number, last=not self.left)
        if whole:
            return b"".join((header, *self._parts))
        pieces: list[Part] = [header]
        while room:
            part = self._parts[self._index]
            piece = part[self._offset : self._offset + room]
            pieces.append(piece)
            room -= len(piece)
            self._offset += len(piece)
            if self._offset == len(part):
                self._index += 1
                self._offset = 0
        return b"".join(pieces)


class InStream:
    """The received part of a stream. ``total`` is the announced size, None for JSON, whose end is marked."""

    __slots__ = ("announced", "data", "kept", "kind", "limit", "message", "received", "total")

    def __init__(
        self, kind: int, limit: int, total: int | None = None, message: Message | None = None
    ) -> None:
        self.kind = kind
        self.limit = limit
        self.total = total
        self.message = message  # the message of these blobs
        self.kept = True  # False: arriving bytes are counted, and dropped
        self.data: bytearray | memoryview = bytearray()
        self.received = 0
        self.announced = 0  # the bytes that the sender may send without asking

    def take(self, data: memoryview, *, last: bool) -> bool:
        """Take a chunk; return whether the stream is whole now. Raises :class:`BadMessage`."""
        size = len(data)
        self.received += size
        if self.received > (self.limit if self.total is None else self.total):
            raise BadMessage("a stream is longer than it may be", fatal=True)
        if last and self.total is not None and self.received != self.total:
            raise BadMessage("a stream ended before its announced size", fatal=True)
        if self.received == self.total and not last:
            raise BadMessage("the last chunk of a stream is not marked", fatal=True)
        if not self.kept:
            return last
        if last and size == self.received:
            self.data = data  # the whole stream in one chunk: no copy
        else:
            assert isinstance(self.data, bytearray)
            self.data += data
        return last

    def due(self, window: int) -> int:
        """Return how many more bytes the sender may send, if that is worth a message; otherwise 0."""
        taken = self.received - self.announced
        return taken if 2 * taken >= window else 0
