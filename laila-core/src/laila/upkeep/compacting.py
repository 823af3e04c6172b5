"""Give back the room of deleted entries, where a pool keeps its entries in a file that does not shrink."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from laila.contract.pool import Pool

__all__ = ["compact_pool"]


def compact_pool(pool: Pool) -> int | None:
    """Compact ``pool``, if its class has a method ``compact()``. Blocks.

    Args:
        pool: The pool.

    Returns:
        How many bytes were given back; None where there is nothing to do.

    Raises:
        PoolError: The pool could not be compacted. It was left as it was.
    """
    compact = getattr(pool, "compact", None)
    return compact() if callable(compact) else None
