"""Was built for a contract that this laila-core does not have."""

from __future__ import annotations

from laila.contract import Pool

laila_contract = 99


class NewerPool(Pool):
    pass
