"""The active policy: one slot a process, read by the façade and by what acts through the policy.

It stands below the policy package so that a manifest or a copy between pools can reach the active policy
without knowing how one is built.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar

from laila.ending import (
    begin_anew,
    check_new_use,
    exiting,
    has_ended,
    note_end,
    policy_at_exit,
    tell_the_interrupted,
)
from laila.errors import InvalidArgumentError, NoActivePolicyError, PolicyClosedError
from laila.locks import mutex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from laila.central.interface import PolicyVerbs
    from laila.policy import DefaultPolicy

__all__ = [
    "activate_policy",
    "clear_policy",
    "get_active_policy",
    "local_policy",
    "only_here",
    "peek_policy",
    "set_policy_here",
]

AUTO_INITIALIZE_POLICY = True
"""Whether a first use builds a policy; the façade's attribute of this name sets it."""

_policy: PolicyVerbs | None = None
_here: ContextVar[Callable[[], DefaultPolicy] | None] = ContextVar("laila_policy_here", default=None)


def get_active_policy() -> PolicyVerbs:
    """Return the active policy; build a ``DefaultPolicy`` on first use.

    In a task that another process submitted it is that process's, rebuilt here.

    Raises :class:`NoActivePolicyError` where there is none and ``laila.AUTO_INITIALIZE_POLICY`` is false,
    :class:`PolicyClosedError` where the program ends and the policy ended before.

    Returns:
        The policy, or the peer.
    """
    here = _here.get()
    if here is not None:
        return here()
    policy = _policy
    if policy is not None:
        return policy
    return _initialize()


def _initialize() -> PolicyVerbs:
    if has_ended():
        if exiting():
            return policy_at_exit()
        tell_the_interrupted()
    if not AUTO_INITIALIZE_POLICY:
        raise NoActivePolicyError(
            "there is no active policy and laila.AUTO_INITIALIZE_POLICY is false; "
            "set laila.active_policy = laila.DefaultPolicy()"
        )
    from laila.policy import DefaultPolicy

    policy = DefaultPolicy()
    if has_ended():
        policy.central.memory.router.guard(check_new_use)
    # Built without a lock, because plugins run while it is: of two threads the first to come here wins.
    if _activate(policy, where_none=True):
        return policy
    policy.close()
    return get_active_policy()


def activate_policy(policy: PolicyVerbs) -> None:
    """Make ``policy`` the active one. The one before stays open; close it with ``policy.close()``.

    It may be a peer, ``laila.peers[id]``: the verbs run over there then. Raises ``TypeError`` for what is no
    policy, ``RuntimeError`` for a closed one. Thread-safe.

    Args:
        policy: The policy, or a peer.
    """
    begin_anew()
    _activate(policy)


def _activate(policy: PolicyVerbs, *, where_none: bool = False) -> bool:
    global _policy
    from laila.central.interface import PolicyVerbs
    from laila.futures import set_submitter

    if not isinstance(policy, PolicyVerbs):
        raise InvalidArgumentError(f"the active policy is a laila policy, not {type(policy).__name__}")
    if policy.closed:
        raise PolicyClosedError(
            "a closed policy cannot be the active one; make a new one: laila.DefaultPolicy()"
        )
    with mutex:
        if where_none and _policy is not None:
            return False
        _policy = policy
        set_submitter(policy.central.command.dispatch)
    return True


def clear_policy(*, in_task: bool = False, lasting: bool = False) -> None:
    """Leave no policy active, so that the next use builds one: see :func:`laila.ending.note_end`."""
    global _policy
    from laila.futures import set_submitter

    note_end(in_task=in_task, lasting=lasting)
    with mutex:
        _policy = None
        set_submitter(None)


def peek_policy() -> PolicyVerbs | None:
    """Return the active policy without building one."""
    return _policy


def set_policy_here(give: Callable[[], DefaultPolicy]) -> None:
    """Have ``give()`` say what the active policy is in this context (:mod:`contextvars`) alone."""
    _here.set(give)


@contextmanager
def only_here(policy: DefaultPolicy) -> Iterator[None]:
    """Have ``policy`` be the active one within the block, in this context (:mod:`contextvars`) alone.

    Args:
        policy: The policy.
    """
    token = _here.set(lambda: policy)
    try:
        yield
    finally:
        _here.reset(token)


def local_policy(global_id: str) -> DefaultPolicy | None:
    """Return the open policy of this process that has this global id, if there is one."""
    from laila.policy.policy import local_policies

    return local_policies().get(global_id)
