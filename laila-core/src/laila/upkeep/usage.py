"""How many bytes a pool holds: by kind, by nickname and by manifest.

Bytes that several manifests share are counted once, and shown as shared.
"""

from __future__ import annotations

from typing import NamedTuple

from laila.keys import is_evolution, is_manifest, stem_of
from laila.showing import shown
from laila.tiering.listing import list_pool
from laila.upkeep.leaves import is_entry, manifests_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from laila.contract.pool import Pool

__all__ = ["Usage", "UsageReport", "measure_pool"]


class Usage(NamedTuple):
    """The bytes of a manifest with its leaves, or of what has one nickname."""

    name: str
    """The nickname, or the id where there is none."""
    key: str
    """The id, without evolution."""
    kind: str
    """``manifest``, ``constant``, ``variable``, …"""
    entries: int
    """How many entries it is: the evolutions of a variable, a manifest and its leaves."""
    nbytes: int
    """The stored bytes of all of them, heads included."""
    shared: int
    """How many of the bytes are leaves that other manifests refer to as well."""


class UsageReport:
    """The bytes of a pool.

    Attributes:
        pool: The name of the pool, as messages show it.
        entries: The number of stored entries.
        nbytes: The stored bytes, each counted once.
        kinds: By kind, such as ``constant``, the number of entries and their bytes.
        names: The bytes of each nickname and of each manifest, the largest first. Rows of manifests that
            share leaves add up to more than the pool holds.
        shared: The bytes that several manifests refer to, counted once.
        loose: The bytes of entries that are in no row: without a nickname, and no leaf of a manifest.
        unread: The error of each entry that could not be read, by key.
    """

    def __init__(self, pool: str) -> None:
        self.pool = pool
        self.entries = 0
        self.nbytes = 0
        self.kinds: dict[str, tuple[int, int]] = {}
        self.names: list[Usage] = []
        self.shared = 0
        self.loose = 0
        self.unread: dict[str, Exception] = {}

    def __repr__(self) -> str:
        return (
            f"<UsageReport of {shown(self.pool)}: {self.entries} entries, {self.nbytes} bytes, "
            f"{self.shared} of them shared>"
        )


def measure_pool(pool: Pool) -> UsageReport:
    """Count the bytes of ``pool`` alone. Blocks.

    Reads the head of each entry, and each manifest whole: the cost is linear in both. The nickname of an
    entry that is encrypted or compressed is inside; such an entry counts under its id.

    Args:
        pool: The pool. Others may write to it meanwhile.

    Returns:
        The report.

    Raises:
        PoolError: The pool cannot be read.
    """
    report = UsageReport(pool.label)
    sizes: dict[str, int] = {}
    evolutions: dict[str, list[str]] = {}
    names: dict[str, tuple[str, str]] = {}
    for listed in list_pool(pool):
        key = listed.key
        if listed.error is not None:
            report.unread[key] = listed.error
        sizes[key] = listed.nbytes
        count, total = report.kinds.get(listed.kind, (0, 0))
        report.kinds[listed.kind] = count + 1, total + listed.nbytes
        stem = key
        if is_entry(key) and is_evolution(key):
            stem = stem_of(key)
            evolutions.setdefault(stem, []).append(key)
        if listed.nickname is not None and not (is_entry(key) and is_manifest(key)):
            names.setdefault(stem, (listed.nickname, listed.kind))
    report.entries, report.nbytes = len(sizes), sum(sizes.values())

    def stored(leaf: str) -> list[str]:
        return [leaf] if leaf in sizes else evolutions.get(leaf, [])

    members: list[tuple[str, str, list[str]]] = []
    referred: dict[str, int] = {}
    for key, manifest in manifests_in(pool, [key for key in sizes if is_entry(key) and is_manifest(key)]):
        if isinstance(manifest, Exception):
            report.unread[key] = manifest
        elif manifest is not None:
            leaves = list(dict.fromkeys(key for leaf in manifest.references() for key in stored(leaf)))
            members.append((key, manifest.nickname or key, leaves))
            for leaf in leaves:
                referred[leaf] = referred.get(leaf, 0) + 1
    for key, name, leaves in members:
        every = dict.fromkeys([key, *leaves])
        shared = sum(sizes[leaf] for leaf in _shared(leaves, referred))
        total = sum(sizes.get(leaf, 0) for leaf in every)
        report.names.append(Usage(name, key, "manifest", len(every), total, shared))
    for stem, (nickname, kind) in names.items():
        keys = stored(stem)
        report.names.append(
            Usage(
                nickname,
                stem,
                kind,
                len(keys),
                sum(sizes[key] for key in keys),
                sum(sizes[key] for key in _shared(keys, referred)),
            )
        )
    report.names.sort(key=lambda row: (-row.nbytes, row.name))
    report.shared = sum(sizes[leaf] for leaf, count in referred.items() if count > 1)
    inside = {*referred, *(key for key, *_ in members), *(key for stem in names for key in stored(stem))}
    report.loose = sum(size for key, size in sizes.items() if key not in inside)
    return report


def _shared(keys: list[str], referred: dict[str, int]) -> list[str]:
    return [key for key in keys if referred.get(key, 0) > 1]
