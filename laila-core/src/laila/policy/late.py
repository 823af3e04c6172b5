"""The pools of a policy opened again, for exit handlers that run after laila's own has closed them."""

from __future__ import annotations

from laila.policy.assembly import all_tiers, assemble, describe
from laila.policy.environment import link, pool_model

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

    router = old.central.memory.router
    tiers = all_tiers(old)
    model = describe(old, [pool_model(router, tier, ("", tier.uuid, {}, [])) for tier in tiers])
    again = {tier.uuid: _opened(tier) if tier.closed else tier for tier in tiers}
    link(model.pools, again, [])
    return assemble(type(old), model, again, {}, InlineTaskForce())


def _opened(pool: Pool) -> Pool:
    build: Callable[..., Pool] = type(pool)
    fresh = build(**pool.options(), **pool.secrets())
    fresh.restore_identity(pool.uuid)
    fresh.known_as = pool.known_as
    return fresh
