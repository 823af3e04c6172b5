"""The in-memory pool: blobs in a dict. It never blocks, and nothing in it outlives the process.

With ``max_bytes`` it is a cache: it holds no more than that and lets go of what was used least recently.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from laila.contract.pool import Pool
from laila.errors import SettingsError
from laila.keys import split_evolution
from laila.locks import mutex
from laila.pool.bounded import ENTRY_BYTES, BoundedBlobs, weight
from laila.showing import shown, shown_url
from laila.tiering.counters import Throttle

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import ClassVar, Literal, Self

    from laila.blob.blob import Blob
    from laila.transform import Transformation

__all__ = ["MemoryPool"]


class MemoryPool(Pool):
    """A pool in the memory of this process.

    It keeps blob objects as they are: no bytes are joined and no checksums made. Thread-safety: each method
    is atomic (one dict operation, or a short lock where it keeps the index of evolutions in step).

    ``max_bytes`` bounds what is held: the blobs as they are here, transformed and written out, and 1 KiB for
    each. Where a new one needs room, those used least recently go: reading is a use, and so is writing. They
    are copies where the pool is a cache of another; where it stands alone they are lost, and a warning in the
    log of ``laila.pool`` says so once a minute. What is larger than the bound is refused with a
    :class:`~laila.errors.PoolError`; a cache goes without it.
    """

    blocking: ClassVar[bool] = False
    durability = "none"
    fences = True

    def __init__(
        self,
        nickname: str | None = None,
        transformations: Iterable[str | Transformation] = (),
        write: Literal["through"] | None = None,
        *,
        max_bytes: int | None = None,
    ) -> None:
        self._bounded = None if max_bytes is None else BoundedBlobs(_checked(max_bytes), self._let_go)
        self._losses = Throttle()
        super().__init__(nickname=nickname, transformations=transformations, write=write)
        # A BoundedBlobs has every method of a dict that is used here.
        self._blobs: dict[str, Blob] = {} if self._bounded is None else self._bounded  # type: ignore[assignment]
        self._numbers: dict[str, set[int]] = {}
        if max_bytes is not None:
            self.max_blob_bytes = max_bytes - ENTRY_BYTES  # type: ignore[misc]  # this pool's, not the class's

    def _init_locks(self) -> None:
        super()._init_locks()
        if self._bounded is not None:
            self._bounded.after_fork()

    @classmethod
    def from_url(cls, url: str, **options: object) -> Self:
        """``memory://`` builds an empty pool, ``memory://name`` one with that nickname.

        ``?max_bytes=1000000`` bounds it.
        """
        name, _, query = url.partition(":")[2].partition("?")
        name = name.strip("/")
        option, _, text = query.partition("=")
        if "#" in url or (query and option != "max_bytes"):
            raise SettingsError(
                f"{shown_url(url)}: the URL of a memory pool takes max_bytes and no more", option="url"
            )
        if name:
            options.setdefault("nickname", name)
        if query:
            options.setdefault("max_bytes", int(text) if text.isascii() and text.isdecimal() else text)
        return cls(**options)  # type: ignore[arg-type]

    @property
    def max_bytes(self) -> int | None:
        """The bound, or None."""
        return None if self._bounded is None else self._bounded.limit

    @property
    def nbytes(self) -> int:
        """How many bytes are held, as ``max_bytes`` counts them. Without a bound this takes time."""
        if self._bounded is not None:
            return self._bounded.nbytes
        return sum(weight(blob) for blob in list(self._blobs.values()))

    @property
    def evictions(self) -> int:
        """How many blobs had to go for others."""
        return 0 if self._bounded is None else self._bounded.evictions

    def _facts(self) -> Mapping[str, object]:
        facts: dict[str, object] = {"entries": len(self._blobs)}
        if self._bounded is not None:
            facts["bytes"] = f"{self._bounded.nbytes:,} of {self._bounded.limit:,}"
            facts["evictions"] = self._bounded.evictions
        return facts

    def _read(self, key: str) -> Blob | None:
        return self._blobs.get(key)

    def _read_many(self, keys: Sequence[str]) -> Sequence[Blob | None]:
        return [self._blobs.get(key) for key in keys]

    def _read_head(self, key: str) -> Blob | None:
        return self._blobs.get(key)

    def _write(self, key: str, blob: Blob) -> None:
        self._blobs[key] = blob
        self._index(key)

    def _create(self, key: str, blob: Blob) -> bool:
        # The very blob that is there already is not filed a second time.
        if key in self._blobs or self._blobs.setdefault(key, blob) is not blob:
            return False
        self._index(key)
        return True

    def _create_leased(self, items: Sequence[tuple[str, Blob]], tokens: Mapping[str, bytes]) -> bool:
        with self._leases.held(tokens):
            if any(key in self._blobs for key, _ in items):
                return False
            for key, blob in items:
                self._write(key, blob)
        return True

    def _delete(self, key: str) -> bool:
        if self._blobs.pop(key, None) is None:
            return False
        self._unindex(key)
        return True

    def _exists(self, key: str) -> bool:
        return key in self._blobs

    def _keys(self) -> Iterator[str]:
        return iter(list(self._blobs))

    def _empty(self) -> None:
        with mutex:
            gone = None if self._bounded is not None else self._blobs.copy()
            self._blobs.clear()
            self._numbers.clear()
        del gone  # after the lock: what goes may run code

    def _evolutions(self, stem: str) -> list[int]:
        with mutex:
            numbers = list(self._numbers.get(stem, ()))
        return sorted(numbers)

    def _newest(self, stem: str) -> str | None:
        with mutex:
            numbers = self._numbers.get(stem)
            return f"{stem}-{max(numbers)}" if numbers else None

    def _index(self, key: str) -> None:
        if key[-37:-36] == ":":  # a global id without evolution, as most keys are
            return
        split = split_evolution(key)
        # The last group of a uuid has 12 characters; only what follows a whole uuid is an evolution.
        if split is not None and len(split[0]) >= 36 and split[0][-13] == "-":
            with mutex:
                if key in self._blobs:
                    self._numbers.setdefault(split[0], set()).add(int(split[1]))

    def _unindex(self, key: str) -> None:
        split = split_evolution(key)
        if split is None or split[0] not in self._numbers:
            return
        stem, number = split
        with mutex:
            numbers = self._numbers.get(stem)
            if numbers is not None and key not in self._blobs:  # else another thread has stored it again
                numbers.discard(int(number))
                if not numbers:
                    del self._numbers[stem]

    def _let_go(self, keys: Sequence[str]) -> None:
        """Finish what an eviction began."""
        for key in keys:
            self._unindex(key)
        if self._origin is None and (lost := self._losses.due(len(keys))):
            from laila.showing import logger

            logger("laila.pool").warning(
                "pool %s holds at most %d bytes and let go of %d entries, the least recently used, which no "
                "tier behind it has; give it a larger max_bytes, or an origin: laila.tiers(pool, origin)",
                self.label,
                self.max_bytes,
                lost,
            )

    def _close(self) -> None:
        self._empty()


def _checked(max_bytes: object) -> int:
    if type(max_bytes) is not int or max_bytes <= ENTRY_BYTES:
        raise SettingsError(
            f"max_bytes={shown(max_bytes)}: give a whole number of bytes, such as 1000000000, above "
            f"{ENTRY_BYTES}: each entry counts as its own bytes and {ENTRY_BYTES} more",
            option="max_bytes",
        )
    return max_bytes
