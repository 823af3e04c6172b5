"""What stands for a pool that this process cannot reach: every use says why, and nothing seems empty."""

from __future__ import annotations

from typing import TYPE_CHECKING

from laila.contract.pool import Pool
from laila.errors import PoolUnreachableError
from laila.showing import shown

if TYPE_CHECKING:
    from typing import ClassVar, NoReturn

    from laila.blob.blob import Blob

__all__ = ["UnreachablePool"]


class UnreachablePool(Pool):
    """A pool of the submitter's policy in a worker that cannot use it. Raises ``PoolUnreachableError``."""

    blocking: ClassVar[bool] = False
    durability = "none"

    def __init__(self, reason: str, *, nickname: str | None = None) -> None:
        super().__init__(nickname=nickname)
        self._reason = reason

    def _refuse(self) -> NoReturn:
        raise PoolUnreachableError(
            f"the pool {shown(self.label)} cannot be used here: {self._reason}", pool=self.label
        )

    def _read(self, key: str) -> NoReturn:
        self._refuse()

    def _write(self, key: str, blob: Blob) -> NoReturn:
        self._refuse()

    def _delete(self, key: str) -> NoReturn:
        self._refuse()

    def _exists(self, key: str) -> NoReturn:
        self._refuse()

    def _keys(self) -> NoReturn:
        self._refuse()

    def _empty(self) -> NoReturn:
        self._refuse()

    def _evolutions(self, stem: str) -> NoReturn:
        self._refuse()
