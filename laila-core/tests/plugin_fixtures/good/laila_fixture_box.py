"""A third party's pool, whole: blobs in a dict, kept as bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from laila.contract import Pool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from laila.contract import Blob

laila_contract = 1


class BoxPool(Pool):
    def __init__(self, url: str | None = None, nickname: str | None = None) -> None:
        super().__init__(nickname=nickname)
        self.url = url
        self.box: dict[str, bytes] = {}

    def _read(self, key: str) -> bytes | None:
        return self.box.get(key)

    def _write(self, key: str, blob: Blob) -> None:
        self.box[key] = bytes(blob)

    def _delete(self, key: str) -> bool:
        return self.box.pop(key, None) is not None

    def _exists(self, key: str) -> bool:
        return key in self.box

    def _keys(self) -> Iterator[str]:
        return iter(list(self.box))

    def _empty(self) -> None:
        self.box.clear()
