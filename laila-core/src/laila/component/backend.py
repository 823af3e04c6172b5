"""The part of a pool that its author writes: six methods, and others that may be replaced for speed.

Everything here is called by :class:`~laila.contract.pool.Pool`, never by users. Blobs arrive already
transformed; keys are any text of up to 512 bytes of UTF-8. The methods may be called from several threads at
once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from laila.blob.blob import SHORT_BYTES, Blob, BlobHead
from laila.blob.buffers import cut
from laila.blob.parsing import read_plain
from laila.component.authored import answer, keys_of, numbers_of
from laila.errors import ContractError, CorruptEntryError
from laila.keys import split_evolution
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import RLock
    from collections.abc import Iterator, Mapping, Sequence
    from typing import ClassVar

    from laila.blob.blob import BytesLike
    from laila.leasing.tables import LeaseTable, MemoryLeases

__all__ = ["Backend", "checked_blob"]


_BYTES_LIKE = frozenset((bytes, bytearray, memoryview))


def checked_blob(key: str, stored: Blob | BytesLike | Sequence[BytesLike], *, deferred: bool = False) -> Blob:
    """Check the result of an author's read method, and make it a blob."""
    if type(stored) is bytes and len(stored) <= SHORT_BYTES:
        short = read_plain(stored, key, Blob)  # a short way for the usual case
        if short is not None:
            return short
    if isinstance(stored, Blob):
        if stored.key != key:
            raise CorruptEntryError(f"what is filed under {key} bears the id {shown(stored.key)}", key=key)
        return stored
    parts = stored if isinstance(stored, (list, tuple)) else (stored,)
    for part in parts:
        if type(part) not in _BYTES_LIKE:
            try:
                memoryview(part)  # any contiguous buffer will do
            except TypeError:
                raise ContractError(
                    f"a read of {key} gave a {type(part).__name__}; it must give a blob, its bytes, a list "
                    "of its head and buffers, or None where there is nothing",
                    plugin="",
                ) from None
    if isinstance(stored, (list, tuple)):
        return Blob.from_parts(stored, key=key, deferred=deferred)
    return Blob.from_bytes(stored, key=key, deferred=deferred)  # type: ignore[arg-type]  # as was seen


def _size(stored: Blob | BlobHead | BytesLike | None) -> int | None:
    if stored is None or isinstance(stored, (Blob, BlobHead)):
        return None if stored is None else stored.nbytes
    return Blob.read_head(stored).nbytes


class Backend(ABC):
    """The author's side of a pool. Six methods are required; the others have defaults that work."""

    _create_lock: RLock
    _leases: MemoryLeases
    writers: ClassVar[str]

    @abstractmethod
    def _read(self, key: str) -> Blob | BytesLike | Sequence[BytesLike] | None:
        """Return the value stored under ``key``: the blob, its bytes, or its head and buffers; or None."""

    @abstractmethod
    def _write(self, key: str, blob: Blob) -> None:
        """Store ``blob`` under ``key``, replacing an older one. Readers see all of it or nothing."""

    @abstractmethod
    def _delete(self, key: str) -> bool | None:
        """Delete ``key``; return whether it was there, or None if the backend does not say."""

    @abstractmethod
    def _exists(self, key: str) -> bool:
        """Return whether ``key`` is there."""

    @abstractmethod
    def _keys(self) -> Iterator[str]:
        """Yield every key once, in any order; stream them if the backend can."""

    @abstractmethod
    def _empty(self) -> None:
        """Delete everything in the pool."""

    # -- for speed and strength ------------------------------------------------------------------------------

    def _create(self, key: str, blob: Blob) -> bool:
        """Store ``blob`` unless ``key`` is there; return whether it was stored.

        The default checks and writes under a lock of this process: it is not atomic across processes.
        """
        with self._create_lock:
            if answer(self, "_exists", self._exists(key), bool):
                return False
            self._write(key, blob)
            return True

    def _read_many(self, keys: Sequence[str]) -> Sequence[Blob | BytesLike | Sequence[BytesLike] | None]:
        """Read several keys; one answer a key, in their order."""
        return [self._read(key) for key in keys]

    def _read_views(self, keys: Sequence[str]) -> Sequence[Blob | BytesLike | Sequence[BytesLike] | None]:
        """Read several keys for a caller that asked for no copies (``copy=False``).

        Only here a pool may answer with memory that somebody else could change or cut short, for example a
        map of a file. The default is :meth:`_read_many`.
        """
        return self._read_many(keys)

    def _write_many(self, items: Sequence[tuple[str, Blob]]) -> None:
        """Write several blobs. An error may leave some of them written, each whole."""
        for key, blob in items:
            self._write(key, blob)

    def _create_many(self, items: Sequence[tuple[str, Blob]]) -> Sequence[bool]:
        """Create several blobs; one answer an item, in their order."""
        return [self._create(key, blob) for key, blob in items]

    def _create_together(self, items: Sequence[tuple[str, Blob]]) -> bool:
        """Store all of ``items`` in one commit, or none if a key is there or comes twice.

        Return whether they were stored. All of them are stored or none, also after a crash, and nobody ever
        sees an item without the items before it. The default says that this pool cannot do it.
        """
        return False

    def _delete_many(self, keys: Sequence[str]) -> Sequence[bool | None]:
        """Delete several keys; one answer a key, in their order."""
        return [self._delete(key) for key in keys]

    def _read_head(self, key: str) -> Blob | BlobHead | BytesLike | None:
        """Return at least the head of the blob under ``key``; its buffers may be left out."""
        stored = self._read(key)
        if stored is None:
            return None
        blob = checked_blob(key, stored)
        # A blob that is an object here stays as it is; of a blob that was read, only the head is kept.
        return blob if blob is stored else Blob.read_head(blob.head, key=key)

    def _read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> Sequence[BytesLike] | None:
        """Return the bytes of some ranges of what is filed under ``key``, or None where nothing is.

        The default reads all of it: a pool that can read less is asked to.

        Args:
            key: The key.
            ranges: Pairs of first byte and the one after the last, counted from the first byte of the blob.
                They ascend, and none overlaps another.

        Returns:
            The bytes of each range, in their order: all from one version of the blob; fewer of a range,
            where the blob ends before its end. Nothing is verified here.
        """
        found = self._read(key)
        if found is None:
            return None
        if isinstance(found, Blob):
            return found.ranges(ranges)
        parts = found if isinstance(found, (list, tuple)) else (found,)
        whole = parts if len(parts) == 1 else Blob.from_parts(parts, key=key, verify=False).parts
        return cut(whole, ranges)

    def _read_ranges_many(
        self, asked: Sequence[tuple[str, Sequence[tuple[int, int]]]]
    ) -> Sequence[Sequence[BytesLike] | None]:
        """Return ranges of several keys; one answer a key, each as :meth:`_read_ranges` gives it.

        The default asks for one key after the other. A pool that waits for a server asks for many at once.

        Args:
            asked: Pairs of a key and its ranges.

        Returns:
            The answers, in their order.
        """
        return [self._read_ranges(key, ranges) for key, ranges in asked]

    def _read_map(self, key: str) -> BytesLike | None:
        """Return a map of what is filed under ``key``, all of it, as it is stored.

        For a pool whose files stay as they are for as long as somebody has a map of them, also where they are
        replaced or deleted meanwhile. The default is None: there is no such map, or nothing under ``key``.
        """
        return None

    def _exist_many(self, keys: Sequence[str]) -> Sequence[bool]:
        """Return for each of several keys whether it is there; one answer a key, in their order."""
        return [self._exists(key) for key in keys]

    def _read_heads(self, keys: Sequence[str]) -> Sequence[Blob | BlobHead | BytesLike | None]:
        """Read several heads; one answer a key, in their order."""
        return [self._read_head(key) for key in keys]

    def _sizes(self, keys: Sequence[str]) -> Sequence[int | None]:
        """Return the stored size of each key in bytes; None if it is missing or its size is unknown.

        A copy uses the sizes, to read no more at a time than memory allows. The default reads heads, unless
        that would read everything. Then sizes are unknown, and a copy reads one blob after the other.
        """
        kind = type(self)
        if kind._read_head is Backend._read_head and kind._read_heads is Backend._read_heads:
            return [None] * len(keys)
        return [_size(head) for head in self._read_heads(keys)]

    def _ages(self, keys: Sequence[str]) -> Sequence[float | None]:
        """Return for each key how many seconds ago it was stored, or renewed, by the clock of the store.

        None for a missing key, and for a pool that keeps no such times, which is the default.
        """
        return [None] * len(keys)

    def _touch(self, keys: Sequence[str]) -> None:  # noqa: B027 - a pool without ages has nothing to renew
        """Make the age of ``keys`` 0, in a pool that keeps ages. A missing key is no error."""

    def _newest(self, stem: str) -> str | None:
        """Return the key ``<stem>-<n>`` with the greatest ``n``, or None."""
        numbers = numbers_of(self, self._evolutions(stem))
        return f"{stem}-{numbers[-1]}" if numbers else None

    def _evolutions(self, stem: str) -> list[int]:
        """Return the numbers ``n`` of the keys ``<stem>-<n>``, ascending. The default looks at every key."""
        return self._scan_evolutions([stem])[0]

    def _scan_evolutions(self, stems: Sequence[str]) -> list[list[int]]:
        """Find the evolutions of any number of stems in one look at every key."""
        numbers: dict[str, list[int]] = {stem: [] for stem in stems}
        for key in keys_of(self, self._keys()):
            split = split_evolution(key)
            if split is not None and split[0] in numbers:
                numbers[split[0]].append(int(split[1]))
        return [sorted(numbers[stem]) for stem in stems]

    # -- leases ------------------------------------------------------------------------------------------

    def _lease_table(self) -> LeaseTable | None:
        """Return the table that says which entries are lent; one object for the whole life of the pool.

        Everybody who uses the store must see the same table. The default is a table in the memory of this
        process, for a pool whose store one process uses. For any other pool it is None: nothing can be lent.
        """
        return self._leases if self.writers == "process" else None

    def _create_leased(self, items: Sequence[tuple[str, Blob]], tokens: Mapping[str, bytes]) -> bool:
        """Create all of ``items`` for a borrower, if its leases are its own; return whether they were stored.

        The default looks at the table, and then creates. A pool that does both in one step promises
        ``fences = True``.

        Args:
            items: Keys and blobs, no key twice.
            tokens: For each key of the lease its token in the table.

        Returns:
            False if one of the keys is there.

        Raises:
            LeaseLostError: a lease is another borrower's by now. Nothing was stored.
        """
        from laila.leasing.tables import check_tokens

        table = self._lease_table()
        if table is not None:
            check_tokens(table, tokens)
        if type(self)._create_together is not Backend._create_together:
            return self._create_together(items)
        keys = [key for key, _ in items]
        return not any(self._exist_many(keys)) and all(self._create_many(items))

    def flush(self) -> None:  # noqa: B027 - a pool that delays nothing has nothing to flush
        """Return when all acknowledged writes are as durable as promised. The default delays nothing."""
