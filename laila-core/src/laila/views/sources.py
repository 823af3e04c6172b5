"""Where the bytes of a view come from: a pool, or the first tier of a chain that has the entry undamaged."""

from __future__ import annotations

from laila.blob.blob import Blob
from laila.blob.head import corrupt
from laila.blob.parsing import parse_head
from laila.errors import CorruptEntryError, EntryNotFoundError, LailaError
from laila.showing import shown
from laila.tiering.packed import whole_head
from laila.views.memory import HeldBuffers, MappedBuffers, PartialBuffers, ReadBuffers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from laila.contract.pool import Pool

    Spans = Sequence[tuple[int, int]]
    Read = Callable[[Spans], Sequence[bytes | bytearray | memoryview]]

__all__ = ["open_chain", "open_tier"]

_START = 64 * 1024
"""The bytes of a blob that are read first: most heads are shorter."""


def open_chain(pool: Pool, key: str) -> PartialBuffers | None:
    """Open what is filed under ``key`` in a chain of pools, in the first tier that has it.

    Raises:
        CorruptEntryError: it is damaged in every tier that has it.
        TransformationError: it is stored in a form that cannot be read in part.
    """
    *caches, last = pool.chain()
    for number, tier in enumerate(caches):
        try:
            found = open_tier(tier, key)
        except Exception as error:  # noqa: BLE001 - a cache may fail in any way its backend does
            tier.skipped("read", error)
            continue
        if found is not None:
            return _Chained(key, found, [*caches[number + 1 :], last])
    return open_tier(last, key)


class _Chained(PartialBuffers):
    """The buffers of an entry in a tier, and in the ones after it where that fails."""

    def __init__(self, key: str, found: PartialBuffers, others: list[Pool]) -> None:
        self.head, self.tree = found.head, found.tree
        self._key = key
        self._now = found
        self._others = others

    @property
    def digest(self) -> bytes:
        """The content digest of the plain blob."""
        return self._now.digest

    def head_data(self) -> bytes:
        """Return the bytes of the plain blob's head, in the form that peers get."""
        return self._now.head_data()

    def window(self, number: int, spans: Spans) -> memoryview:
        """Return buffer ``number``, with the bytes of ``spans`` read and verified."""
        now = self._now
        try:
            return now.window(number, spans)
        except (LailaError, OSError) as error:
            for place, tier in enumerate(self._others):
                found = open_tier(tier, self._key)
                if found is not None and found.digest == now.digest:
                    data = found.window(number, spans)
                    tier.skipped("read", error)
                    self._now, self._others = found, self._others[place + 1 :]
                    return data
            raise

    def part(self, number: int, low: int, high: int) -> tuple[memoryview, int]:
        """Return some bytes of buffer ``number``."""
        try:
            return self._now.part(number, low, high)
        except (LailaError, OSError):
            return self.window(number, [(low, high)]), 0  # from the next tier


def open_tier(pool: Pool, key: str) -> PartialBuffers | None:
    """Open what this pool alone has under ``key``, or give None; raises as :func:`open_chain` does."""
    if not pool.blocking:
        (found,) = pool.heads_here([key])
        if isinstance(found, LailaError):
            raise found
        if found is None:
            return None
        if isinstance(found, Blob) and not found.transformations:
            return HeldBuffers(found)
    mapped = pool.map_here(key)
    if mapped is not None and not (head := parse_head(mapped, key, True)).transformations:
        if head.nbytes != mapped.nbytes:
            raise pool.placed(corrupt(key, f"{mapped.nbytes} bytes where it says {head.nbytes}"))
        return MappedBuffers(head, mapped)
    try:
        return _TierBuffers.open(pool, key)
    except CorruptEntryError as error:
        raise pool.placed(error) from None


class _TierBuffers(ReadBuffers):
    """The buffers of a blob in a pool, which are read by ranges."""

    def __init__(self, pool: Pool, key: str, outer: bytes, start: memoryview, read: Read) -> None:
        head = parse_head(start, key, True)
        super().__init__(start, head)
        self._pool = pool
        self._outer = outer
        self._read = read
        self._offsets = head.offsets()

    @classmethod
    def open(cls, pool: Pool, key: str) -> _TierBuffers | None:
        def read(spans: Spans) -> Sequence[bytes | bytearray | memoryview]:
            found = pool.ranges_here(key, spans)
            if found is None:
                raise _gone(key, pool)
            return found

        first = pool.ranges_here(key, [(0, _START)], short=True)
        if first is None:
            return None
        start = whole_head(memoryview(first[0]), read)
        head = parse_head(start, key, True)
        if not head.transformations:
            return cls(pool, key, head.digest, start, read)
        inner, size = pool.reader_of(head, read)
        start = whole_head(memoryview(inner([(0, min(_START, size))])[0]), inner)
        found = cls(pool, key, head.digest, start, inner)
        if found.head.nbytes != size or found.head.transformations:
            raise corrupt(key, "what was transformed is not what its head says")
        if pool.digest_as(head, found.head.digest) != head.digest:
            raise corrupt(key, "what was transformed does not match its digest")
        return found

    def fetch(self, number: int, runs: Spans) -> Sequence[bytes | bytearray | memoryview]:
        """Read runs of whole pieces of buffer ``number``."""
        offset = self._offsets[number]
        return self._read([(offset + start, offset + stop) for start, stop in runs])

    def window(self, number: int, spans: Spans) -> memoryview:
        """Return buffer ``number`` with verified ``spans``; tells damaged bytes from replaced ones."""
        try:
            return super().window(number, spans)
        except CorruptEntryError as error:
            raise self._why(error) from error

    def part(self, number: int, low: int, high: int) -> tuple[memoryview, int]:
        """Return some bytes of buffer ``number``; tells damaged bytes from replaced ones."""
        try:
            return super().part(number, low, high)
        except CorruptEntryError as error:
            raise self._why(error) from error

    def _why(self, error: CorruptEntryError) -> LailaError:
        """Return the error of bytes that are not those that the head names."""
        (now,) = self._pool.heads_here([self.head.key])
        if now is None or (not isinstance(now, LailaError) and now.digest != self._outer):
            return _gone(self.head.key, self._pool)
        return self._pool.placed(error)


def _gone(key: str, pool: Pool) -> EntryNotFoundError:
    return EntryNotFoundError(
        f"{key} was replaced or forgotten in pool {shown(pool.label)} after it was opened: open it again",
        key=key,
        pool=pool.label,
    )
