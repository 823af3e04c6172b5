"""The functions of ``laila`` that are about the whole process: its policies, their peers, and the end."""

from __future__ import annotations

from laila.active import get_active_policy
from laila.errors import TaskForceError
from laila.futures.failure import tell_failures
from laila.identity import universal_namespace
from laila.locks import check_may_wait
from laila.policy.policy import local_policies, open_policies
from laila.tracebacks import given_secrets
from laila.trying import do_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


__all__ = ["add_peer", "add_tcpip_peer", "remote_policies", "terminate", "universe"]


@given_secrets
def add_peer(uri: str, secret: str) -> str:
    """Connect to the policy at ``uri`` and return its global id, as the active policy.

    Args:
        uri: The address of the peer.
        secret: A secret that the peer knows.

    Returns:
        The global id of the peer.
    """
    peer: str = get_active_policy().central.communication.add_peer(uri, secret)
    return peer


@given_secrets
def add_tcpip_peer(host: str, port: int, secret: str) -> str:
    """Connect to the policy at ``host`` and ``port``; see :meth:`DefaultCentralCommunication.add_peer`.

    Args:
        host: The host.
        port: The TCP port.
        secret: A secret that the peer knows.

    Returns:
        The global id of the peer.
    """
    peer: str = get_active_policy().central.communication.add_tcpip_peer(host, port, secret)
    return peer


def remote_policies() -> dict[str, Any]:
    """Return the peers of all local policies by global id."""
    policies: dict[str, Any] = {}
    for policy in local_policies().values():
        policies.update(policy.central.communication.peers)
    return policies


def universe() -> Mapping[str, Any]:
    """Return every policy this process knows, its own and remote ones, by global id."""
    return {**remote_policies(), **local_policies()}


def terminate() -> None:
    """Close every policy of this process: finish queued work, close protocols, task forces and pools.

    The next use builds a new policy; threads and handlers that used the old one say first where to store.
    Idempotent. When everything is closed the first error of closing is raised, else the first failure of a
    future that nobody looked at; the other failures are logged.

    Raises:
        ReentryError: In a signal handler or destructor that interrupted a call of laila's; nothing is closed.
    """
    check_may_wait()
    try:
        do_all(policy.close for policy in open_policies())
    except Exception:
        tell_failures()
        raise
    lost = tell_failures(raising=True)
    if isinstance(lost, Exception):
        try:
            raise lost
        finally:
            del lost
    if lost is not None:  # what ended a task shall not end the program
        raise TaskForceError(f"a task that nobody looked at ended by {type(lost).__name__}: {lost}") from lost


def __getattr__(name: str) -> Any:
    if name == "LAILA_UNIVERSAL_NAMESPACE":
        return universal_namespace()
    if name == "__version__":
        from importlib_metadata import version

        return version("laila-core")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
