"""The redo journal: bytes that will overwrite committed bytes are written beside them first, with checksums.

One record, the last bytes of the file while a commit is under way, in this order:

    runs      for each: offset (u64), length (u64)          little-endian
    data      the bytes of every run, one after the other
    footer    see ``_FOOTER``: it ends at the end of the file, which is how it is found

``old_end`` and ``new_end`` are where HDF5's file ends before and after the commit; ``region`` is the
checksum of the bytes between them, or zeros where they were synced before the record was written. A record
counts only if its file id, its position, its checksums and, where it has one, the checksum of the region are
all right: the record and the region may then share one sync, although a disk orders nothing inside it.
"""

from __future__ import annotations

from struct import Struct, error
from typing import TYPE_CHECKING, NamedTuple

from xxhash import xxh3_64_intdigest, xxh3_128_digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from laila.pool.hdf5.storage import Storage

__all__ = ["Record", "clear", "encode", "load"]

MAGIC = b"LAILAJ\r\n"
VERSION = 1
NO_CHECKSUM = bytes(16)

# magic, version, runs, file id, record position, body bytes, old end, new end, region checksum, body checksum
_FOOTER = Struct("<8sII16sQQQQ16s16s")
_CHECKSUM = Struct("<Q")
_RUN = Struct("<QQ")
FOOTER_BYTES = _FOOTER.size + _CHECKSUM.size


class Record(NamedTuple):
    """A record read back: the runs to write again, as (offset, bytes)."""

    runs: list[tuple[int, bytes]]
    old_end: int
    new_end: int


def encoded_size(runs: Sequence[tuple[int, bytes]]) -> int:
    """The size of the record that :func:`encode` makes of ``runs``."""
    return sum(_RUN.size + len(data) for _, data in runs) + FOOTER_BYTES


def encode(
    runs: Sequence[tuple[int, bytes]],
    *,
    file_id: bytes,
    position: int,
    old_end: int,
    new_end: int,
    region: bytes,
) -> bytes:
    """Return the record of ``runs``, to be written at ``position`` as the last bytes of the file."""
    body = b"".join((*(_RUN.pack(offset, len(data)) for offset, data in runs), *(data for _, data in runs)))
    footer = _FOOTER.pack(
        MAGIC,
        VERSION,
        len(runs),
        file_id,
        position,
        len(body),
        old_end,
        new_end,
        region,
        xxh3_128_digest(body),
    )
    return b"".join((body, footer, _CHECKSUM.pack(xxh3_64_intdigest(footer))))


def load(storage: Storage, file_id: bytes) -> Record | None:
    """Return the record at the end of the file if it was written whole, else None."""
    size = storage.size()
    if size <= FOOTER_BYTES:
        return None
    raw = storage.read(FOOTER_BYTES, size - FOOTER_BYTES)
    if len(raw) != FOOTER_BYTES:
        return None  # cut by another program since
    footer = raw[: _FOOTER.size]
    if footer[: len(MAGIC)] != MAGIC or _CHECKSUM.unpack_from(raw, _FOOTER.size)[0] != xxh3_64_intdigest(
        footer
    ):
        return None
    _, version, count, owner, position, length, old_end, new_end, region, checksum = _FOOTER.unpack(footer)
    # A user's own bytes may look like a record, for example in a laila file inside a laila file. Their file
    # id or position shows that they are not.
    if version != VERSION or owner != file_id or position + length + FOOTER_BYTES != size:
        return None
    body = storage.read(length, position)
    if len(body) != length or xxh3_128_digest(body) != checksum:
        return None
    if region != NO_CHECKSUM and xxh3_128_digest(storage.read(new_end - old_end, old_end)) != region:
        return None
    runs = []
    start = count * _RUN.size
    try:
        for number in range(count):
            offset, size = _RUN.unpack_from(body, number * _RUN.size)
            runs.append((offset, body[start : start + size]))
            start += size
    except error:
        return None
    return Record(runs, old_end, new_end) if start == length else None


def clear(storage: Storage) -> None:
    """Take back the record at the end of the file. Needs no sync: writing its pages again is harmless."""
    storage.write(bytes(len(MAGIC)), storage.size() - FOOTER_BYTES)
