"""The policy: routes entries to pools, runs work on task forces and reaches peers over protocols."""

from __future__ import annotations

from laila.central.command import DefaultCentralCommand
from laila.central.memory import DefaultCentralMemory
from laila.central.router import DefaultPoolRouter
from laila.lazy import lazily
from laila.peering.communication import DefaultCentralCommunication
from laila.policy.policy import DefaultPolicy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from laila.peering.proxy import RemotePolicyProxy
else:
    # Names that a policy without peers does not need.
    __getattr__ = lazily(__name__, {"RemotePolicyProxy": "laila.peering.proxy"})


__all__ = [
    "DefaultCentralCommand",
    "DefaultCentralCommunication",
    "DefaultCentralMemory",
    "DefaultPolicy",
    "DefaultPoolRouter",
    "RemotePolicyProxy",
]
