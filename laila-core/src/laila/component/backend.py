"""What a pool's author writes: six methods, and others that may be replaced for speed and strength.

Everything here is called by :class:`~laila.contract.pool.Pool`, never by users. Blobs arrive already
transformed; keys are any text of up to 512 bytes of UTF-8. The methods may be called from several threads at
once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from laila.blob.blob import SHORT_BYTES, Blob, BlobHead
from laila.blob.head import read_plain
from laila.component.authored import answer, keys_of, numbers_of
from laila.errors import ContractError, CorruptEntryError
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import RLock
    from collections.abc import Iterator, Sequence

    from laila.blob.blob import BytesLike

__all__ = ["Backend", "as_blob", "counts_evolution"]


_BYTES_LIKE = frozenset((bytes, bytearray, memoryview))


def counts_evolution(number: str) -> bool:
    """Return whether the end of a key counts an evolution.

    Args:
        number: What follows the last hyphen of the key.

    Returns:
        True for decimal digits without a leading zero.
    """
    return number.isdecimal() and number.isascii() and (number[0] != "0" or number == "0")


def as_blob(key: str, found: Blob | BytesLike | Sequence[BytesLike], *, later: bool = False) -> Blob:
    """Check what an author's method returned, and make it a blob; see :meth:`Blob.from_bytes`."""
    if type(found) is bytes and len(found) <= SHORT_BYTES:
        short = read_plain(found, key, Blob)  # as from_bytes does, with less ado: most are such
        if short is not None:
            return short
    if isinstance(found, Blob):
        if found.key != key:
            raise CorruptEntryError(f"what is filed under {key} bears the id {shown(found.key)}", key=key)
        return found
    parts = found if isinstance(found, (list, tuple)) else (found,)
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
    if isinstance(found, (list, tuple)):
        return Blob.from_parts(found, key=key, later=later)
    return Blob.from_bytes(found, key=key, later=later)  # type: ignore[arg-type]  # as was seen


def _size(found: Blob | BlobHead | BytesLike | None) -> int | None:
    if found is None or isinstance(found, (Blob, BlobHead)):
        return None if found is None else found.nbytes
    return Blob.read_head(found).nbytes


class Backend(ABC):
    """The author's side of a pool. Six methods are required; each of the others has a default that works."""

    _create_lock: RLock

    @abstractmethod
    def _read(self, key: str) -> Blob | BytesLike | Sequence[BytesLike] | None:
        """Return what was written under ``key``: the blob, its bytes, or its head and buffers; else None."""

    @abstractmethod
    def _write(self, key: str, blob: Blob) -> None:
        """File ``blob`` under ``key``, replacing what is there. All of it or nothing is seen by readers."""

    @abstractmethod
    def _delete(self, key: str) -> bool | None:
        """Delete ``key`` and return whether it was there, or None where the backend does not tell."""

    @abstractmethod
    def _exists(self, key: str) -> bool:
        """Return whether ``key`` is there."""

    @abstractmethod
    def _keys(self) -> Iterator[str]:
        """Yield every key once, in any order, streaming where the backend can."""

    @abstractmethod
    def _empty(self) -> None:
        """Delete everything in the pool."""

    # -- for speed and strength ------------------------------------------------------------------------------

    def _create(self, key: str, blob: Blob) -> bool:
        """File ``blob`` unless ``key`` is there; return whether it was filed.

        The default checks and writes under a lock of this process: not atomic across processes.
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
        """Read several keys for a caller who asked for no copies, with ``copy=False``.

        Here alone a pool may answer with a window on what somebody else could change or cut short, such as a
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
        """File all of ``items`` in one commit, or none: where a key is there, or twice among them.

        Return whether they were filed. All of them are there or none, also after a crash, and nobody ever
        sees one of them without those before it. The default says of the pool that it cannot.
        """
        return False

    def _delete_many(self, keys: Sequence[str]) -> Sequence[bool | None]:
        """Delete several keys; one answer a key, in their order."""
        return [self._delete(key) for key in keys]

    def _read_head(self, key: str) -> Blob | BlobHead | BytesLike | None:
        """Return at least the head of what is filed under ``key``; its buffers may be left out."""
        found = self._read(key)
        if found is None:
            return None
        blob = as_blob(key, found)
        # A blob that is an object here stays as it is; of one that was read only the head is held on to.
        return blob if blob is found else Blob.read_head(blob.head, key=key)

    def _exist_many(self, keys: Sequence[str]) -> Sequence[bool]:
        """Return of several keys whether each is there; one answer a key, in their order."""
        return [self._exists(key) for key in keys]

    def _read_heads(self, keys: Sequence[str]) -> Sequence[Blob | BlobHead | BytesLike | None]:
        """Read several heads; one answer a key, in their order."""
        return [self._read_head(key) for key in keys]

    def _sizes(self, keys: Sequence[str]) -> Sequence[int | None]:
        """Return how many bytes each takes as it is stored; None where it is not there or nobody knows.

        A copy asks, to read no more at a time than memory bears. The default reads heads, unless that would
        be reading everything: then sizes are not known, and a copy reads one blob after the other.
        """
        kind = type(self)
        if kind._read_head is Backend._read_head and kind._read_heads is Backend._read_heads:
            return [None] * len(keys)
        return [_size(found) for found in self._read_heads(keys)]

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
            stem, _, number = key.rpartition("-")
            if stem in numbers and counts_evolution(number):
                numbers[stem].append(int(number))
        return [sorted(numbers[stem]) for stem in stems]

    def flush(self) -> None:  # noqa: B027 - a pool that delays nothing has nothing to flush
        """Return when all that was acknowledged is as durable as promised. The default delays nothing."""
