"""What plugin authors implement and use, and nothing else: this package is what versions are counted for.

Implement :class:`Pool`, :class:`TaskForce` or :class:`Protocol`, or hooks with :data:`hookimpl`; declare
options with :class:`Settings`. A plugin built for another major :data:`CONTRACT_VERSION` is refused: it says
the one it was built for as ``laila_contract = 1`` in its class or module.
"""

from __future__ import annotations

from laila.lazy import lazily

TYPE_CHECKING = False
if TYPE_CHECKING:
    from laila.blob.allocation import allocate, memory_limit
    from laila.blob.blob import Blob, BlobHead, BytesLike
    from laila.blob.buffer import Buffer
    from laila.blob.parsing import head_nbytes
    from laila.codec.dynamic import reduce_class
    from laila.component.component import Component
    from laila.contract import locks, wire
    from laila.contract.hookspecs import hookimpl
    from laila.contract.pool import MAX_KEY_BYTES, Pool, check_key
    from laila.contract.protocol import ROLES, Invitation, Node, Protocol, Request, Role, is_policy_id
    from laila.contract.taskforce import Task, TaskForce, blocked, current_host, run_here, set_host
    from laila.directories import directory, private_folder
    from laila.entry import Entry, Manifest
    from laila.forks import Renewed, after_fork
    from laila.futures import Future, GroupFuture, RemoteFuture
    from laila.keys import counts_evolution, split_evolution
    from laila.leasing.tables import KEPT_SECONDS, LeaseFile, LeaseTable
    from laila.offload.taskforce import Parcel, RemoteSettings, RemoteTaskForce
    from laila.offload.worker import Shipment, leave_signals_to_the_submitter, perform
    from laila.settings import Settings, option
    from laila.showing import logger, said, shown, shown_url
    from laila.threads import NO_THREAD, start_thread
    from laila.tracebacks import empty_frames, given_secrets
    from laila.transform import Transformation, TransformationSequence

__all__ = [
    "CONTRACT_VERSION",
    "KEPT_SECONDS",
    "MAX_KEY_BYTES",
    "NO_THREAD",
    "ROLES",
    "Blob",
    "BlobHead",
    "Buffer",
    "BytesLike",
    "Component",
    "Entry",
    "Future",
    "GroupFuture",
    "Invitation",
    "LeaseFile",
    "LeaseTable",
    "Manifest",
    "Node",
    "Parcel",
    "Pool",
    "Protocol",
    "RemoteFuture",
    "RemoteSettings",
    "RemoteTaskForce",
    "Renewed",
    "Request",
    "Role",
    "Settings",
    "Shipment",
    "Task",
    "TaskForce",
    "Transformation",
    "TransformationSequence",
    "after_fork",
    "allocate",
    "blocked",
    "check_key",
    "counts_evolution",
    "current_host",
    "directory",
    "empty_frames",
    "given_secrets",
    "head_nbytes",
    "hookimpl",
    "is_policy_id",
    "lazily",
    "leave_signals_to_the_submitter",
    "locks",
    "logger",
    "memory_limit",
    "option",
    "perform",
    "private_folder",
    "reduce_class",
    "run_here",
    "said",
    "set_host",
    "shown",
    "shown_url",
    "split_evolution",
    "start_thread",
    "wire",
]

CONTRACT_VERSION = 1
"""The major version. Within one the contract grows by concrete methods, whose defaults work."""

# Where each name lives. Imported when first asked for: a pool needs no task force, and no pool needs pluggy.
_HOMES = {
    "Blob": "laila.blob.blob",
    "BlobHead": "laila.blob.blob",
    "Buffer": "laila.blob.buffer",
    "BytesLike": "laila.blob.blob",
    "Component": "laila.component.component",
    "Entry": "laila.entry",
    "Future": "laila.futures",
    "GroupFuture": "laila.futures",
    "Invitation": "laila.contract.protocol",
    "KEPT_SECONDS": "laila.leasing.tables",
    "LeaseFile": "laila.leasing.tables",
    "LeaseTable": "laila.leasing.tables",
    "MAX_KEY_BYTES": "laila.contract.pool",
    "Manifest": "laila.entry",
    "NO_THREAD": "laila.threads",
    "Node": "laila.contract.protocol",
    "Parcel": "laila.offload.taskforce",
    "Pool": "laila.contract.pool",
    "Protocol": "laila.contract.protocol",
    "ROLES": "laila.contract.protocol",
    "RemoteFuture": "laila.futures",
    "RemoteSettings": "laila.offload.taskforce",
    "RemoteTaskForce": "laila.offload.taskforce",
    "Renewed": "laila.forks",
    "Request": "laila.contract.protocol",
    "Role": "laila.contract.protocol",
    "Settings": "laila.settings",
    "Shipment": "laila.offload.worker",
    "Task": "laila.contract.taskforce",
    "TaskForce": "laila.contract.taskforce",
    "Transformation": "laila.transform",
    "TransformationSequence": "laila.transform",
    "after_fork": "laila.forks",
    "allocate": "laila.blob.allocation",
    "memory_limit": "laila.blob.allocation",
    "blocked": "laila.contract.taskforce",
    "check_key": "laila.contract.pool",
    "counts_evolution": "laila.keys",
    "current_host": "laila.contract.taskforce",
    "directory": "laila.directories",
    "empty_frames": "laila.tracebacks",
    "given_secrets": "laila.tracebacks",
    "head_nbytes": "laila.blob.parsing",
    "hookimpl": "laila.contract.hookspecs",
    "is_policy_id": "laila.contract.protocol",
    "lazily": "laila.lazy",
    "leave_signals_to_the_submitter": "laila.offload.worker",
    "locks": "laila.contract.locks",
    "logger": "laila.showing",
    "option": "laila.settings",
    "perform": "laila.offload.worker",
    "private_folder": "laila.directories",
    "reduce_class": "laila.codec.dynamic",
    "run_here": "laila.contract.taskforce",
    "said": "laila.showing",
    "set_host": "laila.contract.taskforce",
    "shown": "laila.showing",
    "shown_url": "laila.showing",
    "split_evolution": "laila.keys",
    "start_thread": "laila.threads",
    "wire": "laila.contract.wire",
}


if not TYPE_CHECKING:
    __getattr__ = lazily(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
