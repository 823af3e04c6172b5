"""The buffers of a blob: their table, their digest, and how they lie in its bytes."""

from __future__ import annotations

import msgpack
from xxhash import xxh3_128, xxh3_128_digest

from laila.blob.head import gap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from laila.blob.blob import BytesLike
    from laila.blob.buffer import Buffer
    from laila.blob.head import BlobHead


__all__ = ["content_digest", "cut", "is_same_buffer", "pack_table", "table_of", "without_padding"]

_COMPARED = 256 * 1024


def pack_table(value: object) -> bytes:
    """Return plain data as MessagePack, lone surrogates included."""
    packed: bytes
    try:
        packed = msgpack.packb(value)
    except UnicodeEncodeError:
        packed = msgpack.packb(value, unicode_errors="surrogatepass")
    return packed


def cut(parts: Sequence[BytesLike], ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    """The bytes of some ranges of what ``parts`` are together; see :meth:`Blob.ranges`."""
    views = [memoryview(part).cast("B") for part in parts]
    found = []
    for start, stop in ranges:
        pieces, at = [], 0
        for view in views:
            if at < stop and start < at + view.nbytes:
                pieces.append(view[max(start - at, 0) : stop - at])
            at += view.nbytes
        found.append(b"".join(pieces))
    return found


def is_same_buffer(one: Buffer, other: Buffer) -> bool:
    """Whether two buffers are described alike and hold the same bytes."""
    described = one.dtype == other.dtype and tuple(one.shape) == tuple(other.shape)
    if not described or one.order != other.order or one.nbytes != other.nbytes:
        return False
    if one.data is other.data or not one.nbytes:
        return True
    # A memoryview compares item by item; copies of what fits a processor's cache take a twentieth of that.
    return all(
        bytes(one.data[i : i + _COMPARED]) == bytes(other.data[i : i + _COMPARED])
        for i in range(0, one.nbytes, _COMPARED)
    )


def table_of(buffers: Sequence[Buffer]) -> list[list[object]]:
    """Return the table of buffers as a header has it."""
    return [[b.data.nbytes, b.dtype, b.shape, b.order, b.checksum] for b in buffers]


def content_digest(tree: bytes, table: list[list[object]]) -> bytes:
    """Return the digest of a content: of its tree, and of the table of its buffers."""
    if not table:
        return xxh3_128_digest(b"\x90" + tree)
    state = xxh3_128(pack_table(table))
    state.update(tree)
    return state.digest()


def without_padding(head: BlobHead, views: list[memoryview]) -> list[memoryview] | None:
    """Pick the buffers out of ``blob.parts[1:]``, or None where the views are another split."""
    pieces = []
    rest = iter(views)
    offset = head.head_nbytes
    for nbytes, *_ in head.table:
        padding = gap(offset)
        if padding:
            view = next(rest, None)
            if view is None or view.nbytes != padding or view.tobytes().strip(b"\0"):
                return None
        view = next(rest, None)
        if view is None or view.nbytes != nbytes:
            return None
        pieces.append(view)
        offset += padding + nbytes
    return pieces if next(rest, None) is None else None
