"""The policy: routes entries to pools, runs work on task forces and reaches peers over protocols."""

from __future__ import annotations

from laila.policy.command import DefaultCentralCommand
from laila.policy.communication import DefaultCentralCommunication
from laila.policy.memory import DefaultCentralMemory
from laila.policy.policy import DefaultPolicy
from laila.policy.router import DefaultPoolRouter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from laila.policy.remote import RemotePolicyProxy
else:
    # What a policy without peers does not need.
    def __getattr__(name):
        if name != "RemotePolicyProxy":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from laila.policy.remote import RemotePolicyProxy

        return RemotePolicyProxy


__all__ = [
    "DefaultCentralCommand",
    "DefaultCentralCommunication",
    "DefaultCentralMemory",
    "DefaultPolicy",
    "DefaultPoolRouter",
    "RemotePolicyProxy",
]
