"""The functions of ``laila`` that keep a pool small.

Each acts on one pool, without the tiers behind it; of a chain that is one store, on the last tier.
"""

from __future__ import annotations

from functools import partial

from laila.calling import helpful
from laila.futures.task import spawn
from laila.policy.stores import check_pool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from laila.contract.pool import Pool
    from laila.futures import Future
    from laila.upkeep.usage import UsageReport

__all__ = ["du"]


@helpful
def du(pool: Pool) -> Future[UsageReport]:
    """Count the bytes of a pool by kind, nickname and manifest, payloads unread. Does not block.

    Bytes that several manifests refer to are counted once in the total, and shown as shared.

    Args:
        pool: The pool, without the tiers behind it. Of a chain that is one store, the last tier is counted.

    Returns:
        The future of a report: ``nbytes``, ``entries``, ``kinds``, ``names``, ``shared``, ``loose``.

    Raises:
        InvalidArgumentError: ``pool`` is no pool.
    """
    from laila.upkeep.usage import measure_pool

    return spawn(partial(measure_pool, check_pool(pool, "du").deciding_tier))
