"""Blobs within a bound of bytes: what was used least recently goes when there is no room."""

from __future__ import annotations

from collections import OrderedDict
from weakref import WeakMethod

from laila.locks import mutex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from laila.blob.blob import Blob

__all__ = ["ENTRY_BYTES", "BoundedBlobs", "weight"]

ENTRY_BYTES = 1024
"""What a blob counts beside its bytes: its Python objects, and its places in the indexes."""


def weight(blob: Blob) -> int:
    """Return what ``blob`` counts: its stored form, were it written out, and :data:`ENTRY_BYTES`."""
    return blob.nbytes + ENTRY_BYTES


class BoundedBlobs:
    """The store of a bounded memory pool, in place of a dict. Thread-safe; operations take constant time.

    Reading and setting a key are uses; asking whether it is there is not. ``evicted`` is called with the
    removed keys, after their removal and without a lock held; it is the method of an object.
    """

    __slots__ = ("_blobs", "_evicted", "evictions", "limit", "nbytes")

    def __init__(self, limit: int, evicted: Callable[[list[str]], object]) -> None:
        self.limit = limit
        self.nbytes = 0
        """The total size of the blobs, as they count."""
        self.evictions = 0
        self._evicted = WeakMethod(evicted)  # whose method it is holds this: no cycle keeps the blobs alive
        self._blobs: OrderedDict[str, tuple[Blob, int]] = OrderedDict()

    def after_fork(self) -> None:
        """Begin anew in a forked child, where another thread of the parent may have been in the middle."""
        self.nbytes = sum(size for _, size in self._blobs.values())

    def get(self, key: str) -> Blob | None:
        """Return the blob under ``key``, or None."""
        with mutex:
            stored = self._blobs.get(key)
            if stored is None:
                return None
            self._blobs.move_to_end(key)
            return stored[0]

    def __contains__(self, key: str) -> bool:
        return key in self._blobs

    def __len__(self) -> int:
        return len(self._blobs)

    def __iter__(self) -> Iterator[str]:
        """Give the keys as they are now, the least recently used first."""
        with mutex:
            return iter(list(self._blobs))

    def __setitem__(self, key: str, blob: Blob) -> None:
        self._put(key, blob, replace=True)

    def setdefault(self, key: str, blob: Blob) -> Blob:
        """Set ``key`` unless it is there; return what is under it."""
        return self._put(key, blob, replace=False)

    def _put(self, key: str, blob: Blob, *, replace: bool) -> Blob:
        size = weight(blob)
        gone: list[str] = []
        dropped: list[object] = []  # let go of after the lock is: what goes with them may run code
        with mutex:
            stored = self._blobs.get(key)
            if stored is not None:
                if not replace:
                    self._blobs.move_to_end(key)
                    return stored[0]
                self.nbytes -= stored[1]
                dropped.append(stored)
            self._blobs[key] = (blob, size)
            self._blobs.move_to_end(key)
            self.nbytes += size
            while self.nbytes > self.limit:
                oldest, last = self._blobs.popitem(last=False)
                self.nbytes -= last[1]
                gone.append(oldest)
                dropped.append(last)
            self.evictions += len(gone)
        del stored, dropped
        if gone and (evicted := self._evicted()) is not None:
            evicted(gone)
        return blob

    def pop(self, key: str, default: None = None) -> Blob | None:
        """Remove ``key`` and return its blob, or None."""
        with mutex:
            stored = self._blobs.pop(key, None)
            if stored is None:
                return default
            self.nbytes -= stored[1]
            return stored[0]

    def clear(self) -> None:
        """Remove everything."""
        with mutex:
            gone, self._blobs = self._blobs, OrderedDict()
            self.nbytes = 0
        del gone
