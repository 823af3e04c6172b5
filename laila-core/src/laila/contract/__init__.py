"""What plugin authors implement and use, and nothing else: this package is what versions are counted for.

Implement :class:`Pool`, :class:`TaskForce` or :class:`Protocol`, or hooks with :data:`hookimpl`; declare
options with :class:`Settings`. A plugin built for another major :data:`CONTRACT_VERSION` is refused: it says
the one it was built for as ``laila_contract = 1`` in its class or module.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from laila.blob.allocation import allocate
    from laila.blob.blob import Blob, BlobHead, BytesLike
    from laila.blob.buffer import Buffer
    from laila.component.component import Component
    from laila.contract.hookspecs import hookimpl
    from laila.contract.pool import Pool
    from laila.contract.protocol import Invitation, Node, Protocol, Request, Role
    from laila.contract.taskforce import Task, TaskForce
    from laila.directories import directory, private_folder
    from laila.entry import Entry, Manifest
    from laila.futures import Future, GroupFuture, RemoteFuture
    from laila.offload.taskforce import Parcel, RemoteSettings, RemoteTaskForce
    from laila.settings import Settings, option
    from laila.showing import logger, said, shown, shown_url
    from laila.transform import Transformation

__all__ = [
    "CONTRACT_VERSION",
    "Blob",
    "BlobHead",
    "Buffer",
    "BytesLike",
    "Component",
    "Entry",
    "Future",
    "GroupFuture",
    "Invitation",
    "Manifest",
    "Node",
    "Parcel",
    "Pool",
    "Protocol",
    "RemoteFuture",
    "RemoteSettings",
    "RemoteTaskForce",
    "Request",
    "Role",
    "Settings",
    "Task",
    "TaskForce",
    "Transformation",
    "allocate",
    "directory",
    "hookimpl",
    "logger",
    "option",
    "private_folder",
    "said",
    "shown",
    "shown_url",
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
    "Manifest": "laila.entry",
    "Node": "laila.contract.protocol",
    "Parcel": "laila.offload.taskforce",
    "Pool": "laila.contract.pool",
    "Protocol": "laila.contract.protocol",
    "RemoteFuture": "laila.futures",
    "RemoteSettings": "laila.offload.taskforce",
    "RemoteTaskForce": "laila.offload.taskforce",
    "Request": "laila.contract.protocol",
    "Role": "laila.contract.protocol",
    "Settings": "laila.settings",
    "Task": "laila.contract.taskforce",
    "TaskForce": "laila.contract.taskforce",
    "Transformation": "laila.transform",
    "allocate": "laila.blob.allocation",
    "directory": "laila.directories",
    "hookimpl": "laila.contract.hookspecs",
    "logger": "laila.showing",
    "option": "laila.settings",
    "private_folder": "laila.directories",
    "said": "laila.showing",
    "shown": "laila.showing",
    "shown_url": "laila.showing",
}


if not TYPE_CHECKING:

    def __getattr__(name):
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module 'laila.contract' has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(home), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
