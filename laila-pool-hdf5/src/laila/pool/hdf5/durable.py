"""A file object that HDF5 writes through. A commit happens whole or not at all.

This module overwrites committed bytes only when it is certain to finish the overwriting:

1. Bytes past the committed end go straight to the file; nobody looks there yet. Bytes before it are held in
   memory, page by page.
2. ``commit`` writes a redo record of the held pages (:mod:`laila.pool.hdf5.journal`) at the end of the file
   and syncs: from here on the commit has happened. Much new data is synced before the record. Little new
   data shares the sync of the record, which holds its checksum.
3. The pages are written in their places, and synced. The record is taken back.

After a crash :func:`recover` looks for a whole record. If it finds one, it writes the pages again. If not, it
cuts off the bytes past the end that the superblock names. Everything follows from the syncs between the
steps; the tests drop unsynced sectors to show that each sync is needed.
"""

from __future__ import annotations

import io
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING

from xxhash import xxh3_128_digest

from laila.pool.hdf5 import journal

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from _typeshed import ReadableBuffer, WriteableBuffer

    from laila.pool.hdf5.storage import Storage

    Runs = list[tuple[int, bytes]]

__all__ = ["PAGE", "DurableFile", "recover"]

PAGE = 4096
# Beyond this much new data one more sync costs less than reading it back for a checksum.
REGION_CHECKSUM_LIMIT = 256 * 1024
# An open file is longer than its written bytes by at least this lead, and it grows by this lead. Plain HDF5
# asks for the length of a file, locks it, and then reads the end of the file from the superblock, in this
# order. It reports a truncated file if that end is beyond the length. So a commit should name an end that the
# file reached a good while ago. A reader that stops between the first two calls still opens the file, unless
# more than this is committed meanwhile. The lead is a hole, which takes no space. Records of commits
# overwrite each other in place at its end, and a sync that changes no length is a third quicker.
LEAD = 4 * 1024 * 1024


class DurableFile(io.RawIOBase):
    """The file object that h5py opens, and that the rest of the pool writes through by position.

    ``end`` is the committed end; ``file_id`` marks the journal's records; ``exclusive()`` is entered while
    committed bytes change under readers in other processes. Not thread-safe: one writer at a time.
    """

    def __init__(
        self,
        storage: Storage,
        end: int,
        file_id: bytes,
        exclusive: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        super().__init__()
        self._storage = storage
        self._file_id = file_id
        self._exclusive = exclusive
        self._end = end
        self._eof = end
        self._held: dict[int, bytearray] = {}
        self._position = 0
        self._discarding = False
        self.failure: BaseException | None = None
        """The first error in a call from HDF5; :meth:`write` cannot raise it there."""
        self.interrupted = False
        """Whether a commit happened but not all pages are in place: then :func:`recover` must run."""

    @property
    def end(self) -> int:
        """The end of the committed file, as an offset in bytes."""
        return self._end

    # -- the file object -----------------------------------------------------------------------------------

    def readable(self) -> bool:
        """True."""
        return True

    def writable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The position of the next read or write."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Set the position, and return it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._eof}[whence]
        self._position = base + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read written bytes, committed or not."""
        target = memoryview(buffer).cast("B")
        length = len(target)
        start = self._position
        try:
            data = self._storage.read(length, start)
        except BaseException as error:  # noqa: BLE001 - raised by commit()
            self.failure = self.failure or error
            data = b""
        target[: len(data)] = data
        # HDF5 may read space that it has allocated and not written: zeros, like in any file.
        target[len(data) :] = bytes(length - len(data))
        for number in range(start // PAGE, (start + length - 1) // PAGE + 1):
            page = self._held.get(number)
            if page is not None:
                # The last committed page is right up to the committed end only; beyond it, the file itself is
                # right.
                first = max(start, number * PAGE)
                last = min(start + length, (number + 1) * PAGE, self._end)
                if first < last:
                    target[first - start : last - start] = page[first - number * PAGE : last - number * PAGE]
        self._position += length
        return length

    def write(self, data: ReadableBuffer, /) -> int:
        """Write at the position."""
        # Raised here, the error (the system's, or KeyboardInterrupt) would pass through HDF5, which goes on
        # calling with a Python exception pending and in the end reports another one. So it is kept for
        # commit(), and what follows it is dropped.
        view = memoryview(data).cast("B")
        try:
            self.write_at(self._position, view)
        except BaseException as error:  # noqa: BLE001 - raised by commit()
            self.failure = self.failure or error
            self.mute()
        self._position += len(view)
        return len(view)

    def truncate(self, size: int | None = None, /) -> int:
        """Set where the file will end; HDF5 calls this before it closes."""
        self._eof = self._position if size is None else size
        return self._eof

    # -- writing by position -------------------------------------------------------------------------------

    def write_at(self, offset: int, data: ReadableBuffer) -> None:
        """Write ``data`` at ``offset``: held in memory for committed bytes, otherwise written at once."""
        if self._discarding:
            return
        view = memoryview(data).cast("B")
        before = min(len(view), max(0, self._end - offset))
        if before:
            self._hold(offset, view[:before])
        if before < len(view):
            self._lead(offset + len(view))
            self._storage.write(view[before:], offset + before)
        self._eof = max(self._eof, offset + len(view))

    def _hold(self, offset: int, view: memoryview) -> None:
        start, stop = offset, offset + len(view)
        for number in range(start // PAGE, (stop - 1) // PAGE + 1):
            base = number * PAGE
            page = self._held.get(number)
            if page is None:
                page = self._held[number] = bytearray(self._storage.read(PAGE, base))
                page.extend(bytes(PAGE - len(page)))
            first, last = max(start, base), min(stop, base + PAGE)
            page[first - base : last - base] = view[first - start : last - start]

    def _lead(self, end: int) -> None:
        """Have the file longer than ``end`` by the lead; see :data:`LEAD`."""
        if self._storage.size() < end + LEAD:
            # If a limit or the file system forbids this, the next write reports whether it matters.
            with suppress(OSError):
                self._storage.truncate(end + 2 * LEAD)

    # -- committing ----------------------------------------------------------------------------------------

    def _runs(self) -> list[tuple[int, bytes]]:
        """The held pages as runs of adjacent ones, cut at the committed end."""
        runs: list[tuple[int, bytearray]] = []
        for number in sorted(self._held):
            page = self._held[number]
            offset = number * PAGE
            if runs and runs[-1][0] + len(runs[-1][1]) == offset:
                runs[-1][1].extend(page)
            else:
                runs.append((offset, bytearray(page)))
        return [(offset, bytes(data[: self._end - offset])) for offset, data in runs]

    def commit(self) -> None:
        """Make everything written since the last commit durable, at once.

        An ``OSError`` from here or from a write means that nothing was committed, and :meth:`discard` must
        follow. But if :attr:`interrupted` is then true, everything was committed, and :func:`recover` must
        follow.
        """
        if self.failure is not None:
            raise self.failure
        if not self._held:
            # This overwrites nothing committed: nobody knows the new file until it gets its name.
            self._storage.truncate(self._eof)
            self._lead(self._eof)
            self._storage.sync()
            self._end = self._eof
            return
        runs = self._runs()
        with self._exclusive():
            self._write_record(runs)
            self.interrupted = True
            for offset, data in runs:
                self._storage.write(data, offset)
            self._storage.sync()
            journal.clear(self._storage)
        self._held.clear()
        self._end = self._eof
        self.interrupted = False

    def _write_record(self, runs: list[tuple[int, bytes]]) -> None:
        new = self._eof - self._end
        region = journal.NO_CHECKSUM
        if new > REGION_CHECKSUM_LIMIT:
            self._storage.sync()
        elif new > 0:
            region = xxh3_128_digest(self._storage.read(new, self._end))
        size = journal.encoded_size(runs)
        least = max(self._end, self._eof) + size
        self._lead(least)
        stop = max(self._storage.size(), least)
        record = journal.encode(
            runs,
            file_id=self._file_id,
            position=stop - size,
            old_end=self._end,
            new_end=self._eof,
            region=region,
        )
        self._storage.write(record, stop - size)
        self._storage.sync()

    def mute(self) -> None:
        """Take no more writes: those that HDF5 makes when it closes a file after a failure."""
        self._discarding = True

    def discard(self) -> None:
        """Drop everything since the last commit, and later writes that HDF5 still tries."""
        self.mute()
        self._held.clear()
        self._eof = self._end
        # Gives the space back, and takes back a record whose sync failed. If even that fails, recovery cuts
        # it off.
        with suppress(OSError):
            self._storage.truncate(self._end)
            self._lead(self._end)


def recover(
    storage: Storage,
    file_id: bytes,
    end_of: Callable[[Storage], int],
    is_next: Callable[[Storage, Runs], bool] = lambda storage, runs: True,
) -> int:
    """Bring a file that was not closed in order back to its last commit; return its committed end.

    ``end_of`` reads the end from the superblock; ``is_next`` says whether a record follows the present
    header. Only one process at a time may call this, and readers must be kept out.
    """
    record = journal.load(storage, file_id)
    if record is not None and is_next(storage, record.runs):
        for offset, data in record.runs:
            storage.write(data, offset)
        storage.sync()
        journal.clear(storage)
    end = end_of(storage)
    if storage.size() > end:
        storage.truncate(end)
    return end
