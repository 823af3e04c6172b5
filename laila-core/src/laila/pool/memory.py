"""The in-memory pool: blobs in a dict. It never blocks, and nothing in it outlives the process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from laila.contract.backend import counts_evolution
from laila.contract.pool import Pool
from laila.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import ClassVar, Literal, Self

    from laila.contract.blob import Blob
    from laila.transform import Transformation

__all__ = ["MemoryPool"]


class MemoryPool(Pool):
    """A pool in the memory of this process.

    It keeps blob objects as they are: no bytes are joined and no checksums made. Thread-safety: each method
    is atomic (one dict operation, or a short lock where it keeps the index of evolutions in step).
    """

    blocking: ClassVar[bool] = False
    durability = "none"

    def __init__(
        self,
        nickname: str | None = None,
        transformations: Iterable[str | Transformation] = (),
        write: Literal["through"] | None = None,
    ) -> None:
        super().__init__(nickname=nickname, transformations=transformations, write=write)
        self._blobs: dict[str, Blob] = {}
        self._numbers: dict[str, set[int]] = {}

    @classmethod
    def from_url(cls, url: str, **options: object) -> Self:
        """``memory://`` builds an empty pool, ``memory://name`` one with that nickname."""
        name = url.partition(":")[2].strip("/")
        if "?" in name or "#" in name:
            raise SettingsError(f"{url!r}: a memory pool takes no options in its URL", option="url")
        if name:
            options.setdefault("nickname", name)
        return cls(**options)  # type: ignore[arg-type]

    def _read(self, key: str) -> Blob | None:
        return self._blobs.get(key)

    def _read_many(self, keys: Sequence[str]) -> Sequence[Blob | None]:
        return [self._blobs.get(key) for key in keys]

    def _write(self, key: str, blob: Blob) -> None:
        self._blobs[key] = blob
        self._index(key)

    def _create(self, key: str, blob: Blob) -> bool:
        # The very blob that is there already is not filed a second time.
        if key in self._blobs or self._blobs.setdefault(key, blob) is not blob:
            return False
        self._index(key)
        return True

    def _delete(self, key: str) -> bool:
        if self._blobs.pop(key, None) is None:
            return False
        stem, _, number = key.rpartition("-")
        numbers = self._numbers.get(stem)
        if numbers is not None and counts_evolution(number):
            with self._create_lock:
                if key not in self._blobs:  # else another thread has stored it again
                    numbers.discard(int(number))
                if not numbers:
                    self._numbers.pop(stem, None)
        return True

    def _exists(self, key: str) -> bool:
        return key in self._blobs

    def _keys(self) -> Iterator[str]:
        return iter(list(self._blobs))

    def _empty(self) -> None:
        with self._create_lock:
            self._blobs.clear()
            self._numbers.clear()

    def _evolutions(self, stem: str) -> list[int]:
        with self._create_lock:
            return sorted(self._numbers.get(stem, ()))

    def _newest(self, stem: str) -> str | None:
        with self._create_lock:
            numbers = self._numbers.get(stem)
            return f"{stem}-{max(numbers)}" if numbers else None

    def _index(self, key: str) -> None:
        if key[-37:-36] == ":":  # a global id without evolution, as most keys are
            return
        stem, _, number = key.rpartition("-")
        # The last group of a uuid has 12 characters; only what follows a whole uuid is an evolution.
        if len(stem) >= 36 and stem[-13] == "-" and counts_evolution(number):
            with self._create_lock:
                if key in self._blobs:
                    self._numbers.setdefault(stem, set()).add(int(number))

    def _close(self) -> None:
        self._empty()
