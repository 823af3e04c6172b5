"""The verb ``open``: keys and nicknames to views of what is stored."""

from __future__ import annotations

from laila.central.reading import ambiguous, missing, missing_name
from laila.errors import NotSupportedError
from laila.keys import is_manifest, may_evolve
from laila.views.sources import open_chain
from laila.views.view import view_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from laila.contract.pool import Pool
    from laila.views.memory import PartialBuffers
    from laila.views.view import View

__all__ = ["checked_view", "open_buffers"]


def open_buffers(pool: Pool, keys: Sequence[str], name: str | None) -> PartialBuffers:
    """Open the entry of a key or of a nickname in a chain of pools.

    Args:
        pool: The first pool of the chain.
        keys: The key; or those that the nickname may mean. One without evolution means the constant, else
            the newest evolution.
        name: The nickname, or None.

    Returns:
        The buffers of the entry; none was read yet.

    Raises:
        EntryNotFoundError: there is no such entry.
        IdentityError: the nickname names an entry and a manifest.
    """
    found = [buffers for buffers in (_open(pool, key) for key in keys) if buffers is not None]
    if len(found) > 1 and name is not None:
        raise ambiguous(name)
    if found:
        return found[0]
    raise missing(keys[0], pool) if name is None else missing_name(name, keys, pool)


def _open(pool: Pool, key: str) -> PartialBuffers | None:
    found = open_chain(pool, key)
    if found is None and may_evolve(key):
        (newest,) = pool.newest([key])
        found = None if newest is None else open_chain(pool, newest)
    return found


def checked_view(buffers: PartialBuffers) -> View:
    """The view of what was opened.

    Raises:
        NotSupportedError: it is a manifest, whose leaves are what one opens.
    """
    key = buffers.head.key
    if is_manifest(key):
        raise NotSupportedError(
            f"{key} is a manifest: remember it, and open one of its leaves, laila.open(manifest.blueprint[…])"
        )
    return view_of(buffers)
