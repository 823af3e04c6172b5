"""The pools of a policy opened again, for exit handlers that run after laila's own has closed them."""

from __future__ import annotations

from itertools import pairwise

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from laila.contract.pool import Pool
    from laila.policy.policy import DefaultPolicy

__all__ = ["reopen"]


def reopen(old: DefaultPolicy) -> DefaultPolicy:
    """Return a policy over the pools of ``old``: those that were closed are opened again.

    What it is asked runs in the caller: no thread starts any more. Raises what a pool raises.
    """
    from laila.taskforce.inline import InlineTaskForce

    memory = old.central.memory
    router = memory.router
    again: dict[str, Pool] = {}
    for registered in router.pools.values():
        chain = registered.chain()
        for tier in chain:
            again[tier.uuid] = again.get(tier.uuid) or (_opened(tier) if tier.closed else tier)
        for cache, origin in pairwise(chain):
            again[cache.uuid].proxy_to = again[origin.uuid]
            again[cache.uuid].write_through = cache.write_through
    alpha = again[router.alpha_pool.uuid]
    policy = type(old)(
        nickname=old.nickname,
        alpha_pool=alpha,
        taskforce=InlineTaskForce(),
        pickle=memory.pickle,
        max_pending_bytes=memory.max_pending_bytes,
        _announce=False,
    )
    policy.restore(old.uuid)
    nicknames = router.nicknames.items()
    policy.central.memory.router.adopt(
        [
            (again[pool.uuid], router.affinities[gid], [name for name, named in nicknames if named is pool])
            for gid, pool in router.pools.items()
        ],
        alpha,
    )
    return policy


def _opened(pool: Pool) -> Pool:
    build: Callable[..., Pool] = type(pool)
    fresh = build(**pool.options(), **pool.secrets())
    fresh._restore_identity(pool.uuid)
    fresh.known_as = pool.known_as
    return fresh
