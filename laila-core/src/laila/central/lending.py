"""A pool of this process as the place where entries are borrowed."""

from __future__ import annotations

from laila.central import reading
from laila.central.borrowing import Lender
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from laila.blob.blob import Blob
    from laila.contract.pool import Pool
    from laila.entry import Entry
    from laila.leasing.tables import LeaseTable

__all__ = ["PoolLender"]


class PoolLender(Lender):
    """Borrows from a pool: the tier that decides what is stored lends, and stores."""

    def __init__(self, pool: Pool) -> None:
        self._chain = pool
        self._tier = pool.deciding_tier
        self.pool: Pool | None = pool
        self.where = f"pool {shown(self._tier.label)}"
        self.fences = self._tier.fences

    def table(self) -> LeaseTable:
        """Return the table of the deciding tier."""
        return self._tier.lease_table_here()

    def present(self, keys: Sequence[str]) -> list[bool]:
        """Return for each key whether an entry, or an evolution of it, is there."""
        return self._tier.present(keys)

    def read(self, keys: Sequence[str], missing_ok: bool) -> list[Entry | BaseException | None]:
        """Return the newest evolution of each key, from the deciding tier: a cache may be behind."""
        return reading.remember(self._tier, keys, copy=True, missing_ok=missing_ok)

    def store(self, blobs: Sequence[Blob], tokens: Mapping[str, bytes]) -> bool:
        """Store new evolutions in the deciding tier. Caches fill when they are read."""
        return self._tier.store_leased_here(blobs, tokens)
