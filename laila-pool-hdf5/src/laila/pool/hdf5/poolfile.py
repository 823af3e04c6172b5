"""One pool file: its index, reading an entry, and the transaction that changes the file.

It knows nothing of paths, processes and threads: :mod:`laila.pool.hdf5.store` takes care of those.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from laila.contract import Blob
from laila.errors import CorruptEntryError
from laila.pool.hdf5 import journal
from laila.pool.hdf5.durable import DurableFile, recover
from laila.pool.hdf5.index import Index
from laila.pool.hdf5.layout import (
    SEGMENT_HEAD_BYTES,
    Header,
    damaged_index,
    decode_blocks,
    decode_segment_head,
    encode_block,
    encode_segment_head,
    entry_name,
    superblock_end,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from laila.contract import BytesLike
    from laila.pool.hdf5.layout import Entry, Row
    from laila.pool.hdf5.native import Session
    from laila.pool.hdf5.storage import Storage

__all__ = ["BYTES_PACK_LIMIT", "PACK_LIMIT", "PoolFile", "Transaction"]

# A blob up to this size is packed with others. The buffers of a larger blob become datasets, which cost some
# 100 µs each. A larger blob of plain bytes, which HDF5 could not describe better, is packed as long as that
# costs less.
PACK_LIMIT = 16 * 1024
BYTES_PACK_LIMIT = 128 * 1024
# So many packed bytes wait in memory for their place.
_PACKED_AT_ONCE = 4 * 1024 * 1024
# Segments double from the first size to the last, so that a small pool is a small file.
_FIRST_SEGMENT = 32 * 1024
_LAST_SEGMENT = 1024 * 1024
# A batch of this size or more gets a segment that it fills. That is new space, written once and not through
# the journal.
_OWN_SEGMENT_FROM = 128 * 1024


class PoolFile:
    """A file with its index in memory.

    :meth:`read` may be called by any number of threads while one other thread refreshes or commits.
    """

    def __init__(
        self,
        storage: Storage,
        path: str,
        exclusive: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        """Take a file that is certainly a pool; ``exclusive()`` keeps readers of other processes out."""
        self.storage = storage
        self.path = path
        self.index = Index()
        self.header = Header(b"")
        self.owned = False
        """Whether the file is certainly not a copy that was made while somebody wrote."""
        self._exclusive = exclusive

    # -- opening -------------------------------------------------------------------------------------------

    def needs_recovery(self) -> bool:
        """Whether a writer died in the middle of a commit. No other writer may be in one meanwhile."""
        # The last bytes of a file may be somebody's data that looks like a record, so looking for one is not
        # enough.
        record = journal.load(self.storage, self._file_id())
        return record is not None and Header.is_next(self.storage, record.runs)

    def recover(self) -> None:
        """Bring the file to its last commit; only one writer may call this."""
        with self._exclusive():
            recover(
                self.storage,
                self._file_id(),
                lambda storage: superblock_end(storage, self.path),
                Header.is_next,
            )

    def _file_id(self) -> bytes:
        return Header.file_id_of(Header.identify(self.storage, self.path))

    def refresh(self) -> None:
        """Read the committed header and index. Nobody may be in the middle of a commit."""
        header = Header.read(self.storage, self.path)
        known = self.header
        if (header.file_id, header.generation) == (known.file_id, known.generation):
            return
        if known.generation and (header.file_id != known.file_id or header.generation < known.generation):
            self._forget()  # somebody has written another file over this one, for example a backup
        try:
            self._apply_log(header)
        except CorruptEntryError:
            if not self.header.generation:
                raise
            self._forget()
            self._apply_log(header)

    def _apply_log(self, header: Header) -> None:
        for data in self._log_after(header):
            self.index.apply(decode_blocks(data, self.path))
        self.header = header

    def _forget(self) -> None:
        """Forget everything about the file, to read all of it anew."""
        self.index, self.header, self.owned = Index(), Header(b""), False

    def _log_after(self, header: Header) -> list[bytes]:
        """The bytes of the index log that ``self.index`` has not seen, oldest first."""
        known, _, seen = self.header.index
        offset, _, used = header.index
        pieces: dict[int, bytes] = {}
        while offset:
            start = seen if offset == known else SEGMENT_HEAD_BYTES
            segment = self.storage.read(used, offset)
            if len(segment) != used or used < start or offset in pieces:
                raise damaged_index(self.path)
            pieces[offset] = segment[start:]
            if offset == known:
                break
            offset, used = decode_segment_head(segment, self.path)
        return list(pieces.values())[::-1]

    # -- reading -------------------------------------------------------------------------------------------

    def read(self, entry: Entry, *, mapped: bool = False) -> bytes | list[BytesLike]:
        """Return the bytes of a packed blob, or the head and the buffers of a large one.

        With ``mapped`` large buffers are maps of the file. Without it the caller owns their memory.
        """
        head = self.storage.read(entry[2], entry[1])
        if len(entry) == 3:
            return head
        parts: list[BytesLike] = [head]
        for number, (offset, length, transposed) in enumerate(entry[3]):
            view = self.storage.view(length, offset) if mapped else self.storage.own(length, offset)
            if transposed and len(view) == length:
                _, dtype, shape, _, _ = Blob.read_head(head, key=entry[0]).table[number]
                view = _reordered(view, dtype, shape, "C", "F")
            parts.append(view)
        return parts

    def read_head(self, entry: Entry) -> bytes:
        """Return at least the head of a blob."""
        return self.storage.read(entry[2], entry[1])

    def read_ranges(self, entry: Entry, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of some ranges of a blob, fewer of one where the blob ends before."""
        start = self.storage.read(entry[2], entry[1])
        if len(entry) == 3:
            return [bytes(start[low:high]) for low, high in ranges]
        head = Blob.read_head(start, key=entry[0])
        spans: list[tuple[int, int, BytesLike | int]] = [(0, len(start), start)]
        for place, row, (offset, length, transposed) in zip(
            head.offsets(), head.table, entry[3], strict=True
        ):
            if transposed and length == row[0] and _reaches(ranges, place, place + length):
                # It lies in the other memory order: its bytes are those of no part of it.
                moved = _reordered(self.storage.view(length, offset), row[1], row[2], "C", "F")
                spans.append((place, place + length, moved))
            else:
                spans.append((place, place + length, offset))
        found = [list(self._gathered(spans, low, min(high, head.nbytes))) for low, high in ranges]
        return [bytes(parts[0]) if len(parts) == 1 else b"".join(parts) for parts in found]

    def _gathered(
        self, spans: Sequence[tuple[int, int, BytesLike | int]], low: int, high: int
    ) -> Iterator[BytesLike]:
        """The bytes from ``low`` to ``high`` of a blob whose parts are in memory, or in the file."""
        at = low
        for first, last, where in spans:
            if last <= at or first >= high:
                continue
            if first > at:
                yield bytes(first - at)  # the zeros before a buffer
                at = first
            stop = min(last, high)
            if isinstance(where, int):
                yield self.storage.read(stop - at, where + at - first)
            else:
                yield where[at - first : stop - first]
            at = stop

    # -- writing -------------------------------------------------------------------------------------------

    def begin(self) -> Transaction:
        """Begin a transaction on a file that is refreshed and needs no recovery."""
        end = superblock_end(self.storage, self.path)
        return Transaction(self, DurableFile(self.storage, end, self.header.file_id, self._exclusive))

    @classmethod
    def create(cls, storage: Storage, path: str) -> tuple[PoolFile, Transaction]:
        """Begin a pool in an empty file that nobody knows yet."""
        file = cls(storage, path)
        file.header = Header(os.urandom(16))
        return file, Transaction(file, DurableFile(storage, 0, file.header.file_id), create=True)


def _reaches(ranges: Sequence[tuple[int, int]], low: int, high: int) -> bool:
    return any(start < high and stop > low for start, stop in ranges)


def _reordered(
    data: memoryview, dtype: str | None, shape: tuple[int, ...], order: str, wanted: str
) -> memoryview:
    """Return the bytes of an array in the other memory order."""
    import numpy as np

    array = np.ndarray(shape, np.dtype(dtype), data, order="F" if order == "F" else "C")
    moved = np.asarray(array, order="F" if wanted == "F" else "C")
    flat = moved.ravel(order="K")
    return flat.view(np.uint8).data


class Transaction:
    """Changes to a pool file that become visible together, in :meth:`commit`."""

    def __init__(self, file: PoolFile, durable: DurableFile, *, create: bool = False) -> None:
        self._file = file
        self._durable = durable
        self._header = file.header.copy()
        self._opened: Session | None = self._open(create=True) if create else None
        self._rows: list[Row] = []
        # Goes to the data log when it is complete: bytes, and the row without its place.
        self._packed: list[bytes] = []
        self._packed_bytes = 0
        self._packed_rows: list[tuple[str, tuple[tuple[int, int, bool], ...] | None]] = []

    @property
    def entries(self) -> Mapping[str, Entry]:
        """The stored entries, without the changes of this transaction."""
        return self._file.index.entries

    @property
    def changed(self) -> bool:
        """Whether there is anything to commit."""
        return bool(self._rows or self._packed)

    @property
    def committed(self) -> bool:
        """Whether the commit has happened, even if it could not be finished."""
        return self._durable.interrupted

    @property
    def failure(self) -> BaseException | None:
        """The error in a call from HDF5, or None. HDF5 may have reported another error."""
        return self._durable.failure

    def _open(self, *, create: bool = False) -> Session:
        # h5py is not needed to read, and takes a while to import.
        from laila.pool.hdf5.native import Session

        return Session(self._durable, create=create)

    def _session(self) -> Session:
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def _serial(self) -> int:
        self._header.serial += 1
        return self._header.serial

    # -- changes -------------------------------------------------------------------------------------------

    def put(self, key: str, blob: Blob) -> None:
        """Store a blob; each key once in a transaction."""
        self._retire(key)
        parts = blob.parts
        limit = PACK_LIMIT if any(buffer.dtype for buffer in blob.buffers) else BYTES_PACK_LIMIT
        if len(parts) == 1 or sum(map(len, parts)) <= limit:
            self._pack(key, b"".join(parts), None)
            return
        created = blob.metadata.get("created")
        made = self._session().entry(
            entry_name(key),
            key,
            blob.nickname,
            created if isinstance(created, float) else None,
            [(buffer.dtype, buffer.shape, buffer.nbytes) for buffer in blob.buffers],
        )
        places = []
        for buffer, (offset, exact) in zip(blob.buffers, made, strict=True):
            data = buffer.data
            # HDF5 knows one order, the last index fastest: h5py must see the array in the order of its
            # indices.
            transposed = exact and buffer.order == "F" and len(buffer.shape) > 1
            if transposed:
                data = _reordered(data, buffer.dtype, buffer.shape, "F", "C")
            self._durable.write_at(offset, data)
            places.append((offset, len(data), transposed))
        self._pack(key, bytes(parts[0]), tuple(places))

    def delete(self, key: str) -> None:
        """Delete a key that is there."""
        self._retire(key)
        self._rows.append((key,))

    def clear(self) -> None:
        """Delete every key."""
        self._session().retire_all(self._serial())
        self._rows.append((None,))

    def copy_rest(self, session: Session) -> None:
        """Copy the objects that other programs have put into another pool file."""
        self._session().copy_rest(session)

    def copy(self, entry: Entry, source: PoolFile, session: Session) -> None:
        """Store an entry of another pool file unchanged; ``session`` has that file open in HDF5."""
        head = source.read_head(entry)
        if len(entry) == 3:
            self._pack(entry[0], head, None)
            return
        offsets = self._session().copy(session, entry_name(entry[0]), len(entry[3]))
        places = [(offset, old[1], old[2]) for offset, old in zip(offsets, entry[3], strict=True)]
        self._pack(entry[0], head, tuple(places))

    def _retire(self, key: str) -> None:
        old = self._file.index.entries.get(key)
        if old is not None and len(old) == 4:
            self._session().retire(entry_name(key), self._serial())

    def _pack(self, key: str, data: bytes, places: tuple[tuple[int, int, bool], ...] | None) -> None:
        self._packed.append(data)
        self._packed_rows.append((key, places))
        self._packed_bytes += len(data)
        if self._packed_bytes >= _PACKED_AT_ONCE:
            self._flush_packed()

    def _flush_packed(self) -> None:
        """Give the packed bytes their place, so that memory does not grow with the transaction."""
        data = b"".join(self._packed)
        position = self._place_data(len(data))
        self._durable.write_at(position, data)
        for (key, places), piece in zip(self._packed_rows, self._packed, strict=True):
            length = len(piece)
            self._rows.append((key, position, length) if places is None else (key, position, length, places))
            position += length
        self._packed.clear()
        self._packed_rows.clear()
        self._packed_bytes = 0

    # -- the end -------------------------------------------------------------------------------------------

    def commit(self) -> None:
        """Commit, and bring the pool file's index and header up to date."""
        if self._packed:
            self._flush_packed()
        if self._rows:
            block = encode_block(self._rows)
            self._durable.write_at(self._place_index(len(block)), block)
        if self._opened is not None:
            self._opened.close()
            self._opened = None
        self._header.generation += 1
        self._durable.write_at(0, self._header.encode())
        self._durable.commit()
        self._file.index.apply(self._rows)
        self._file.header = self._header

    def rollback(self) -> None:
        """Undo everything, also after a failed commit, unless the commit is :attr:`committed`."""
        if not self._durable.interrupted:
            self._durable.discard()
        if self._opened is not None:
            self._opened.abandon()
            self._opened = None

    def _place_data(self, nbytes: int) -> int:
        offset, size, used = self._header.data
        if nbytes > size - used:
            if nbytes >= _OWN_SEGMENT_FROM:
                return self._session().segment(b"data", self._serial(), nbytes)
            offset, size, used = *self._new_segment(b"data", size, nbytes), 0
        self._header.data = (offset, size, used + nbytes)
        return offset + used

    def _place_index(self, nbytes: int) -> int:
        offset, size, used = self._header.index
        if nbytes > size - used:
            head = encode_segment_head(offset, used)
            offset, size = self._new_segment(b"index", size, nbytes + len(head))
            self._durable.write_at(offset, head)
            used = len(head)
        self._header.index = (offset, size, used + nbytes)
        return offset + used

    def _new_segment(self, kind: bytes, last: int, nbytes: int) -> tuple[int, int]:
        size = max(nbytes, min(max(2 * last, _FIRST_SEGMENT), _LAST_SEGMENT))
        offset = self._session().segment(kind, self._serial(), size)
        # The disk cannot refuse blocks later that it has given now, when the journal is applied to them.
        self._durable.write_at(offset, bytes(size))
        return offset, size
