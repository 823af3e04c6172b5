"""A policy put together from what is written of it: an environment, a ticket, or a policy that was closed."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from laila.contract.pool import Pool
from laila.contract.protocol import Protocol
from laila.contract.taskforce import TaskForce
from laila.errors import EnvironmentSnapshotError, IdentityError
from laila.identity import check_uuid
from laila.plugins import pools, protocols, taskforces
from laila.policy.environment import (
    ComponentModel,
    EnvironmentModel,
    build,
    component,
    link,
    pool_model,
    read,
    write,
)
from laila.provenance import options_from_data

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any, TypeVar

    from laila.component.component import Component
    from laila.policy.environment import PoolModel
    from laila.policy.policy import DefaultPolicy

    P = TypeVar("P", bound=DefaultPolicy)

__all__ = ["all_tiers", "assemble", "closed_on_failure", "describe", "rebuild", "snapshot"]


def all_tiers(policy: DefaultPolicy) -> list[Pool]:
    """Return the pools of a policy with all of their origins, each once."""
    registered = policy.central.memory.router.pools.values()
    return list({tier.uuid: tier for pool in registered for tier in pool.chain()}.values())


def describe(
    policy: DefaultPolicy,
    tiers: Iterable[PoolModel],
    forces: Iterable[TaskForce] = (),
    connections: Iterable[Protocol] = (),
) -> EnvironmentModel:
    """Write ``policy`` down, as far as its parts are given.

    Raises:
        EnvironmentSnapshotError: another process cannot build a task force or a protocol.
    """
    memory, command = policy.central.memory, policy.central.command
    return EnvironmentModel(
        uuid=policy.uuid,
        nickname=policy.nickname,
        pickle=memory.pickle,
        max_pending_bytes=memory.max_pending_bytes,
        alpha_pool=memory.router.alpha_pool.uuid,
        pools=list(tiers),
        taskforces=[ComponentModel(*component(force, taskforces())) for force in forces],
        alpha_taskforce=command.alpha_taskforce.uuid if command.taskforces else None,
        protocols=[ComponentModel(*component(protocol, protocols())) for protocol in connections],
    )


def assemble(
    kind: type[P],
    model: EnvironmentModel,
    tiers: Mapping[str, Pool],
    forces: Mapping[str, TaskForce],
    otherwise: TaskForce | None = None,
) -> P:
    """Make the policy that ``model`` describes, and announce it to nobody.

    Args:
        kind: The class of the policy.
        model: What is written of it.
        tiers: Its pools by uuid, linked to chains.
        forces: Its task forces by uuid.
        otherwise: The alpha task force where that of ``model`` is not among them.
    """
    policy = kind(
        nickname=model.nickname,
        alpha_pool=tiers[model.alpha_pool],
        taskforce=forces.get(model.alpha_taskforce or "", otherwise),
        pickle=model.pickle,
        max_pending_bytes=model.max_pending_bytes,
        _announce=False,
    )
    with closed_on_failure([policy]):
        policy.restore(model.uuid)
        policy.central.memory.router.adopt(
            [(tiers[pool.uuid], pool.affinity, pool.nicknames) for pool in model.pools if pool.registered],
            tiers[model.alpha_pool],
        )
        command = policy.central.command
        for force in forces.values():
            if force.global_id not in command.taskforces:
                command.add_taskforce(force)
    return policy


@contextmanager
def closed_on_failure(opened: list[Component]) -> Iterator[None]:
    """Close, the last one first, what was opened for a policy that cannot be."""
    try:
        yield
    except BaseException:
        for part in reversed(opened):
            part.close()
        raise


def snapshot(policy: DefaultPolicy) -> dict[str, Any]:
    """Write ``policy`` down. Raises :class:`EnvironmentSnapshotError` where a part cannot be."""
    router, command = policy.central.memory.router, policy.central.command
    return write(
        describe(
            policy,
            [pool_model(router, pool, component(pool, pools())) for pool in all_tiers(policy)],
            command.taskforces.values(),
            policy.central.communication.connections.values(),
        )
    )


def rebuild(kind: type[P], environment: Mapping[str, Any], secrets: Mapping[str, Any]) -> P:
    """Build the policy that ``environment`` describes; see :meth:`DefaultPolicy.from_environment`."""
    model = read(environment)
    built: list[Component] = []
    problems: list[str] = []
    with closed_on_failure(built):
        with options_from_data(secrets):
            rest = (secrets, built, problems)
            all_pools = build(model.pools, pools(), Pool, "pools", *rest)  # type: ignore[type-abstract]
            all_forces = build(model.taskforces, taskforces(), TaskForce, "taskforces", *rest)  # type: ignore[type-abstract]
            all_protocols = build(model.protocols, protocols(), Protocol, "protocols", *rest)  # type: ignore[type-abstract]
        try:
            check_uuid(model.uuid)
        except IdentityError as error:
            problems.append(f"uuid: {error}")
        if model.alpha_pool not in {pool.uuid for pool in model.pools}:
            problems.append(f"alpha_pool: no pool has the uuid {model.alpha_pool}")
        _fail_on(problems)
        link(model.pools, all_pools, problems)
        _fail_on(problems)
        policy = assemble(kind, model, all_pools, all_forces)
        built.append(policy)
        for protocol in all_protocols.values():
            policy.central.communication.add_connection(protocol)
        policy.announce()
    return policy


def _fail_on(problems: list[str]) -> None:
    if problems:
        raise EnvironmentSnapshotError(
            "the environment cannot be rebuilt here: " + "; ".join(problems), problems=list(problems)
        )
