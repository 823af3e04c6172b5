"""A pool whose class lacks a method."""

from __future__ import annotations

from typing import TYPE_CHECKING

from laila.contract import Pool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from laila.contract import Blob


class LackingPool(Pool):
    def _read(self, key: str) -> bytes | None:
        return None

    def _write(self, key: str, blob: Blob) -> None:
        pass

    def _delete(self, key: str) -> bool:
        return False

    def _exists(self, key: str) -> bool:
        return False

    def _keys(self) -> Iterator[str]:
        return iter(())
