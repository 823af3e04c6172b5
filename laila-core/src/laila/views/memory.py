"""The memory of a buffer that is read in part: all of it can be addressed, what was read is filled in.

Numpy then does what it does with any array. Pages that nobody touched take no memory.
"""

from __future__ import annotations

import mmap
import sys
from abc import ABC, abstractmethod
from collections import OrderedDict
from errno import ENOMEM

from xxhash import xxh3_128_digest

from laila.blob.head import BlobHead, corrupt
from laila.blob.pieces import DIGEST_BYTES, PIECE, covering
from laila.errors import PoolError
from laila.locks import mutex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import ClassVar

    from laila.blob.blob import Blob

    Spans = Sequence[tuple[int, int]]

__all__ = ["HeldBuffers", "MappedBuffers", "PartialBuffers", "ReadBuffers", "check_piece", "scratch"]

_KEPT_PIECES = 16
_SMALL_PART = 4 << 20
_SMALL = 64 * 1024
_NO_RESERVE = 0x4000 if sys.platform == "linux" else 0  # mmap.MAP_NORESERVE, which Python names since 3.13


def scratch(nbytes: int) -> memoryview:
    """``nbytes`` bytes of zeros, writable, which take memory where they are written to.

    Raises:
        PoolError: so many cannot even be addressed.
    """
    if nbytes < _SMALL:
        return memoryview(bytearray(nbytes))
    try:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE
        return memoryview(mmap.mmap(-1, nbytes, flags=flags))
    except (OSError, OverflowError) as error:
        raise PoolError(
            f"{nbytes} bytes cannot be addressed by this process: it is no entry, or needs a larger machine",
            errno=ENOMEM,
        ) from error


def check_piece(head: BlobHead, number: int, at: int, data: memoryview | bytes) -> None:
    """Verify the piece of buffer ``number`` that begins at byte ``at``.

    Raises:
        CorruptEntryError: it is not what was written.
    """
    nbytes, *_, checksum = head.table[number]
    sums = head.pieces[number]
    place = at // PIECE * DIGEST_BYTES
    wanted = sums[place : place + DIGEST_BYTES] if sums else checksum
    if xxh3_128_digest(data) != wanted:
        where = f" from byte {at} on" if nbytes > PIECE else ""
        raise corrupt(head.key, f"a buffer does not match its checksum{where}")


class PartialBuffers(ABC):
    """The buffers of one blob, as far as they are asked for. Thread-safe."""

    head: BlobHead
    tree: bytes

    @property
    def digest(self) -> bytes:
        """The content digest of the plain blob."""
        return self.head.digest

    @abstractmethod
    def head_data(self) -> bytes:
        """The bytes of the plain blob's head, as a peer is sent them."""

    @abstractmethod
    def window(self, number: int, spans: Spans) -> memoryview:
        """The bytes of buffer ``number``, of which those of ``spans`` are there and verified.

        The others may be zeros. Where the view can be written to it is the caller's own.

        Raises:
            CorruptEntryError: a piece that has some of these bytes is damaged.
        """

    def part(self, number: int, low: int, high: int) -> tuple[memoryview, int]:
        """The bytes ``low`` to ``high`` of buffer ``number`` and some around them, and where those begin.

        Raises:
            CorruptEntryError: a piece that has some of these bytes is damaged.
        """
        return self.window(number, [(low, high)]), 0


class HeldBuffers(PartialBuffers):
    """Buffers that this process has in memory."""

    def __init__(self, blob: Blob) -> None:
        head = BlobHead()  # as far as views use it: no checksum is made of what is in memory
        head.key, head.nickname, head.signature = blob.key, blob.nickname, blob.signature
        head.table = tuple((b.nbytes, b.dtype, tuple(b.shape), b.order, b"") for b in blob.buffers)
        head._meta, head.notes, head.nbytes = blob._meta, blob.notes or {}, blob.nbytes
        self.head, self.tree = head, blob.tree
        self._blob = blob

    @property
    def digest(self) -> bytes:
        """The content digest of the plain blob."""
        return self._blob.digest

    def head_data(self) -> bytes:
        """Return the bytes of the plain blob's head, in the form that peers get."""
        return self._blob.head

    def window(self, number: int, spans: Spans) -> memoryview:
        """Return buffer ``number``, with the bytes of ``spans`` read and verified."""
        buffer = self._blob.buffers[number]
        buffer.check(self.head.key)
        return buffer.data


class MappedBuffers(PartialBuffers):
    """Buffers that lie in a map of what is stored: a piece is verified when it is used first."""

    def __init__(self, head: BlobHead, mapped: memoryview) -> None:
        self.head, self.tree = head, bytes(mapped[slice(*head.tree_span)])
        self._mapped = mapped
        rows = zip(head.offsets(), head.table, strict=True)
        self._buffers = buffers = [mapped[start : start + row[0]] for start, row in rows]
        self._verified = [bytearray(max(1, -(-buffer.nbytes // PIECE))) for buffer in buffers]

    def head_data(self) -> bytes:
        """Return the bytes of the plain blob's head, in the form that peers get."""
        return bytes(self._mapped[: self.head.head_nbytes])

    def window(self, number: int, spans: Spans) -> memoryview:
        """Return buffer ``number``, with the bytes of ``spans`` read and verified."""
        data, verified = self._buffers[number], self._verified[number]
        for start, stop in covering(spans, data.nbytes):
            for at in range(start, stop, PIECE):
                if not verified[at // PIECE]:
                    check_piece(self.head, number, at, data[at : min(at + PIECE, stop)])
                    verified[at // PIECE] = 1
        return data


class ReadBuffers(PartialBuffers):
    """Buffers whose pieces are read when they are used; the last ones stay for the next use."""

    at_once: ClassVar[int] = 32 << 20
    """The bytes that are asked for at a time."""

    def __init__(self, start: memoryview, head: BlobHead) -> None:
        self.head, self.tree = head, bytes(start[slice(*head.tree_span)])
        self._head_data = bytes(start[: head.head_nbytes])
        self._kept: OrderedDict[tuple[int, int], bytes | memoryview] = OrderedDict()

    @abstractmethod
    def fetch(self, number: int, runs: Spans) -> Sequence[bytes | bytearray | memoryview]:
        """Read runs of whole pieces of buffer ``number``; each of the length that was asked for."""

    def head_data(self) -> bytes:
        """Return the bytes of the plain blob's head, in the form that peers get."""
        return self._head_data

    def window(self, number: int, spans: Spans) -> memoryview:
        """Return buffer ``number``, with the bytes of ``spans`` read and verified."""
        nbytes = self.head.table[number][0]
        memory = scratch(nbytes)
        runs = covering(spans, nbytes)
        missing: list[tuple[int, int]] = []
        for start, stop in runs:
            for at in range(start, stop, PIECE):
                with mutex:
                    kept = self._kept.get((number, at))
                    if kept is not None:
                        self._kept.move_to_end((number, at))
                if kept is not None:
                    memory[at : at + len(kept)] = kept
                else:
                    missing.append((at, min(at + PIECE, stop)))
        few = len(missing) <= _KEPT_PIECES
        for group in _groups(covering(missing, nbytes), self.at_once):
            for (start, stop), data in zip(group, self.fetch(number, group), strict=True):
                view = memoryview(data)
                for at in range(start, stop, PIECE):
                    piece = view[at - start : min(at + PIECE, stop) - start]
                    check_piece(self.head, number, at, piece)
                    memory[at : at + piece.nbytes] = piece
                    if few:
                        whole = type(data) is bytes and len(data) == piece.nbytes
                        self._keep((number, at), data if whole else bytes(piece))  # type: ignore[arg-type]
        return memory

    def part(self, number: int, low: int, high: int) -> tuple[memoryview, int]:
        """Return some bytes of buffer ``number`` in memory of their size, where they are not many."""
        ((start, stop),) = covering([(low, high)], self.head.table[number][0])
        if stop - start > _SMALL_PART:
            return super().part(number, low, high)
        with mutex:
            kept = [self._kept.get((number, at)) for at in range(start, stop, PIECE)]
        if len(kept) == 1 and kept[0] is not None:
            return memoryview(kept[0]).toreadonly(), start
        if kept.count(None) < len(kept):
            return super().part(number, low, high)
        (data,) = self.fetch(number, [(start, stop)])
        view = memoryview(data).toreadonly()
        for at in range(start, stop, PIECE):
            piece = view[at - start : min(at + PIECE, stop) - start]
            check_piece(self.head, number, at, piece)
            whole = type(data) is bytes and len(data) == piece.nbytes
            self._keep((number, at), data if whole else bytes(piece))  # type: ignore[arg-type]
        return view, start

    def _keep(self, place: tuple[int, int], piece: bytes) -> None:
        with mutex:
            self._kept[place] = piece
            while len(self._kept) > _KEPT_PIECES:
                self._kept.popitem(last=False)


def _groups(runs: Spans, most: int) -> Iterator[list[tuple[int, int]]]:
    """Divide runs into groups of ``most`` bytes at most; a longer run is cut."""
    group: list[tuple[int, int]] = []
    size = 0
    for start, stop in runs:
        for at in range(start, stop, most):
            end = min(at + most, stop)
            if group and size + end - at > most:
                yield group
                group, size = [], 0
            group.append((at, end))
            size += end - at
    if group:
        yield group
