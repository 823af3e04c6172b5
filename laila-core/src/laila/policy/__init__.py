"""The policy: routes entries to pools, runs work on task forces and reaches peers over protocols."""

from __future__ import annotations

from laila.policy.command import DefaultCentralCommand
from laila.policy.communication import DefaultCentralCommunication
from laila.policy.memory import DefaultCentralMemory
from laila.policy.policy import DefaultPolicy
from laila.policy.router import DefaultPoolRouter

__all__ = [
    "DefaultCentralCommand",
    "DefaultCentralCommunication",
    "DefaultCentralMemory",
    "DefaultPolicy",
    "DefaultPoolRouter",
]
