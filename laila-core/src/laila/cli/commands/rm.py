"""Delete entries and manifests from a pool, by nickname or global id.

A manifest goes with its leaves. --only deletes the manifest alone. A variable goes with all its evolutions.
Nothing is deleted if one of the names is not there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from laila.cli.opening import add_pool_option, find_key, is_manifest, open_to_change, verbs_on
from laila.cli.output import count_text, say

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

    from laila.central.memory_verbs import MemoryVerbs
    from laila.contract.pool import Pool

__all__ = ["configure", "delete_named", "run"]


def configure(parser: ArgumentParser) -> None:
    """Add the names and the pool."""
    parser.add_argument("name", metavar="NAME|ID", nargs="+", help="a nickname or a global id")
    add_pool_option(parser)
    parser.add_argument("--only", action="store_true", help="delete a manifest without its leaves")


def run(options: Namespace) -> int:
    """Delete what is named, and say what was deleted."""
    with open_to_change(options.pool) as pool, verbs_on(pool) as policy:
        delete_named(pool, policy.central.memory, options.name, only=options.only)
    return 0


def delete_named(pool: Pool, memory: MemoryVerbs, names: Sequence[str], *, only: bool = False) -> None:
    """Delete what is named, manifests with their leaves unless ``only``; print a line for each.

    Args:
        pool: The alpha pool of the active policy.
        memory: The memory of that policy.
        names: Nicknames and ids. All have to be there.
        only: Delete a manifest without its leaves.
    """
    from laila.entry import Manifest
    from laila.identity import stem

    keys = [find_key(pool, name) for name in names]
    for name, key in zip(names, keys, strict=True):
        entry = None if only or not is_manifest(key) else memory.remember(key).wait()
        if isinstance(entry, Manifest):
            entry.forget().wait()
            say(f"deleted {name}, with {count_text(len(set(entry)), 'leaf', 'leaves')}")
        else:
            memory.forget(key if name == key else stem(key)).wait()
            say(f"deleted {name}")
