# What type checkers see of laila. `make facade` writes this file from laila/__init__.py.

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from laila import errors as errors
from laila.active import activate_policy as activate_policy
from laila.active import get_active_policy as get_active_policy
from laila.arguments import ArgReader as ArgReader
from laila.arguments import Arguments as Arguments
from laila.arguments import arg_reader as arg_reader
from laila.arguments import args as args
from laila.arguments import read_args as read_args
from laila.blob.blob import Blob as Blob
from laila.codec import register_type as register_type
from laila.contract.pool import Pool as Pool
from laila.directories import LAILA_DEFAULT_DIRECTORIES as LAILA_DEFAULT_DIRECTORIES
from laila.directories import set_default_directory as set_default_directory
from laila.entry import Entry as Entry
from laila.entry import EntryState as EntryState
from laila.entry import Manifest as Manifest
from laila.errors import LailaError as LailaError
from laila.futures import Future as Future
from laila.futures import FutureStatus as FutureStatus
from laila.futures import GroupFuture as GroupFuture
from laila.futures import RemoteFuture as RemoteFuture
from laila.futures import as_completed as as_completed
from laila.futures import guarantee as guarantee
from laila.futures import guarantee_async as guarantee_async
from laila.futures import runtime as runtime
from laila.futures import status as status
from laila.futures import wait as wait
from laila.identity import get_active_namespace as get_active_namespace
from laila.identity import set_active_namespace as set_active_namespace
from laila.peering.exports import export as export
from laila.policy import DefaultCentralCommand as DefaultCentralCommand
from laila.policy import DefaultCentralCommunication as DefaultCentralCommunication
from laila.policy import DefaultCentralMemory as DefaultCentralMemory
from laila.policy import DefaultPolicy as DefaultPolicy
from laila.policy import DefaultPoolRouter as DefaultPoolRouter
from laila.policy import RemotePolicyProxy as RemotePolicyProxy
from laila.policy.process import add_peer as add_peer
from laila.policy.process import add_tcpip_peer as add_tcpip_peer
from laila.policy.process import terminate as terminate
from laila.policy.stores import find as find
from laila.policy.stores import ls as ls
from laila.policy.stores import repair as repair
from laila.policy.stores import tiers as tiers
from laila.policy.stores import verify as verify
from laila.policy.upkeep import compact as compact
from laila.policy.upkeep import du as du
from laila.policy.upkeep import expire as expire
from laila.policy.upkeep import gc as gc
from laila.policy.upkeep import pin as pin
from laila.policy.upkeep import pins as pins
from laila.policy.upkeep import unpin as unpin
from laila.policy.verbs import constant as constant
from laila.policy.verbs import contingent as contingent
from laila.policy.verbs import forget as forget
from laila.policy.verbs import history as history
from laila.policy.verbs import memorize as memorize
from laila.policy.verbs import open as open
from laila.policy.verbs import remember as remember
from laila.policy.verbs import variable as variable
from laila.policy.verbs import write_array as write_array
from laila.pool.memory import MemoryPool as MemoryPool
from laila.taskforce.threads import PythonThreadPoolTaskForce as PythonThreadPoolTaskForce
from laila.transform import Transformation as Transformation
from laila.transform import TransformationSequence as TransformationSequence

DefaultPool = Pool
DefaultTaskForce = PythonThreadPoolTaskForce
future = Future
manifest = Manifest

DefaultTCPIPProtocol: type[Any]
LAILA_UNIVERSAL_NAMESPACE: UUID
__version__: str

active_policy: DefaultPolicy
memory: DefaultCentralMemory
command: DefaultCentralCommand
communication: DefaultCentralCommunication
peers: Mapping[str, RemotePolicyProxy]
alpha_pool: Pool
environment: dict[str, Any]
local_policies: Mapping[str, DefaultPolicy]
remote_policies: Mapping[str, RemotePolicyProxy]
universe: Mapping[str, Any]
AUTO_INITIALIZE_POLICY: bool

__all__ = [
    "AUTO_INITIALIZE_POLICY",
    "ArgReader",
    "Arguments",
    "Blob",
    "DefaultCentralCommand",
    "DefaultCentralCommunication",
    "DefaultCentralMemory",
    "DefaultPolicy",
    "DefaultPool",
    "DefaultPoolRouter",
    "DefaultTCPIPProtocol",
    "DefaultTaskForce",
    "Entry",
    "EntryState",
    "Future",
    "FutureStatus",
    "GroupFuture",
    "LAILA_DEFAULT_DIRECTORIES",
    "LAILA_UNIVERSAL_NAMESPACE",
    "LailaError",
    "Manifest",
    "MemoryPool",
    "Pool",
    "PythonThreadPoolTaskForce",
    "RemoteFuture",
    "RemotePolicyProxy",
    "Transformation",
    "TransformationSequence",
    "activate_policy",
    "active_policy",
    "add_peer",
    "add_tcpip_peer",
    "alpha_pool",
    "arg_reader",
    "args",
    "as_completed",
    "command",
    "communication",
    "compact",
    "constant",
    "contingent",
    "du",
    "environment",
    "errors",
    "expire",
    "export",
    "find",
    "forget",
    "future",
    "gc",
    "get_active_namespace",
    "get_active_policy",
    "guarantee",
    "guarantee_async",
    "history",
    "local_policies",
    "ls",
    "manifest",
    "memorize",
    "memory",
    "open",
    "peers",
    "pin",
    "pins",
    "read_args",
    "register_type",
    "remember",
    "remote_policies",
    "repair",
    "runtime",
    "set_active_namespace",
    "set_default_directory",
    "status",
    "terminate",
    "tiers",
    "universe",
    "unpin",
    "variable",
    "verify",
    "wait",
    "write_array",
]
