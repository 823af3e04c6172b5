"""``dest[manifest] <= src[manifest]``: copy a manifest and everything that it leads to.

Leaves go first and the manifest last, inner manifests before outer ones, so that what is stored refers to
nothing that is missing. How each blob is copied, and what is skipped: :mod:`laila.tiering.copying`.
"""

from __future__ import annotations

from functools import partial
from graphlib import CycleError, TopologicalSorter

from laila.blob.blob import Blob
from laila.entry import Manifest, from_blob
from laila.entry.tree import leaves_of
from laila.errors import (
    CorruptEntryError,
    EntryNotFoundError,
    EvolutionConflictError,
    LailaError,
    ManifestError,
)
from laila.identity import last_scope
from laila.keys import may_evolve
from laila.tiering.chain import StoreOutcome
from laila.tiering.copying import Copy
from laila.tiering.packed import PackReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from laila.contract.pool import Pool
    from laila.entry.tree import Node
    from laila.futures import GroupFuture

    Found = Blob | BaseException | None

__all__ = ["copy_manifest"]

_UNPACKED_TOGETHER = 128


def copy_manifest(
    dest: Pool, source: Pool, tree: Node, manifest: str | None, of: Manifest
) -> GroupFuture[str]:
    """Copy the leaves of ``tree``, then ``manifest`` where it is one's, in the active policy's task force.

    Returns a group with one child a leaf, in the order of the tree, and the manifest's last; each resolves to
    the key under which it is in ``dest``. A leaf without evolution means what ``remember`` would give: the
    constant, else the newest evolution. The leaves of a manifest among the leaves are copied with it. A
    manifest of which something could not be copied is not copied either (:class:`ManifestError`).

    With a manifest its packs are copied whole. Packed leaves of a branch become entries of their own; ``of``
    is the manifest that knows where they are.

    A source with an origin is read tier by tier, as its entries would be; no cache is filled by it.
    """
    from laila.futures import GroupFuture

    wanted = list(leaves_of(tree))
    if manifest is not None:
        wanted.append(manifest)

    def run() -> list[object]:
        copy = _TreeCopy(dest, source)
        if manifest is None:
            copy.unpack(wanted, of)
        copy.run([key for key in wanted if key not in copy.outcomes])
        return [copy.outcomes[key] for key in wanted]

    return GroupFuture.batch(len(wanted), run)


class _TreeCopy:
    """``outcomes`` has for each id the key under which it is in the destination, or its error."""

    def __init__(self, dest: Pool, source: Pool) -> None:
        self.outcomes: dict[str, object] = {}
        self._dest = dest
        self._source = source
        # Where the chain is one store the last tier has everything, and what only a cache has is gone.
        self._tiers = source.chain()[-1:] if source.write_through else source.chain()
        self._manifests: dict[str, Blob] = {}
        self._inner: dict[str, list[str]] = {}
        self._packed: dict[str, str] = {}

    def unpack(self, keys: Sequence[str], of: Manifest) -> None:
        """Copy the packed leaves among ``keys``, each as an entry of its own. Raises as ``run`` does."""
        wanted = [one for key in dict.fromkeys(keys) if (one := of.wanted(key)) is not None]
        reader = PackReader(self._source)
        for start in range(0, len(wanted), _UNPACKED_TOGETHER):
            some = wanted[start : start + _UNPACKED_TOGETHER]
            found = dict(zip((one.leaf for one in some), reader.read(some), strict=True))
            blobs = [blob for blob in found.values() if isinstance(blob, Blob)]
            answers = iter(self._dest.store(blobs) if blobs else ())
            for leaf, blob in found.items():
                outcome = next(answers) if isinstance(blob, Blob) else blob
                if outcome is StoreOutcome.CONFLICT or (
                    isinstance(outcome, CorruptEntryError) and blob is not outcome
                ):
                    (outcome,) = self._dest.store([blob], replace=True)  # type: ignore[list-item]  # it is one
                if outcome is not None:
                    self.outcomes[leaf] = outcome if isinstance(outcome, BaseException) else leaf

    def run(self, keys: Sequence[str]) -> None:
        """Copy leaves and manifests, with all that is in these."""
        self._read_manifests([key for key in keys if _is_manifest(key)])
        every = dict.fromkeys(
            self._packed.get(leaf, leaf) for batch in (keys, *self._inner.values()) for leaf in batch
        )
        self._copy_leaves([leaf for leaf in every if not _is_manifest(leaf)])
        for key in self._inner_ones_first():
            if key not in self.outcomes:
                self._copy_manifest(key, self._manifests[key])
        for leaf, pack in self._packed.items():
            outcome = self.outcomes[pack]
            self.outcomes.setdefault(leaf, outcome if isinstance(outcome, BaseException) else leaf)

    def _read_manifests(self, keys: Sequence[str]) -> None:
        while keys:
            for key, blob in self._read(keys).items():
                self._inner[key] = self._leaves(key, blob)
            below = dict.fromkeys(leaf for key in keys for leaf in self._inner[key] if _is_manifest(leaf))
            keys = [key for key in below if key not in self._inner]

    def _read(self, keys: Sequence[str]) -> dict[str, Found]:
        """Read from the nearest tier that has it whole. Raises what the last tier's backend raises."""
        blobs: dict[str, Found] = dict.fromkeys(keys)
        for tier in self._tiers:
            todo = [key for key, blob in blobs.items() if not isinstance(blob, Blob)]
            nothing: list[Found] = [None] * len(todo)
            load = partial(tier.load_here, todo)
            answers = load() if tier is self._tiers[-1] else tier._guarded("read", len(todo), load, nothing)
            blobs.update((key, blob) for key, blob in zip(todo, answers, strict=True) if blob is not None)
        return blobs

    def _leaves(self, key: str, blob: Found) -> list[str]:
        try:
            if isinstance(blob, BaseException):
                raise blob
            if blob is None:
                raise self._source._not_found(key)
            manifest = from_blob(blob)
        except LailaError as error:
            self.outcomes[key] = error
            return []
        self._manifests[key] = blob
        if not isinstance(manifest, Manifest):
            return []
        if manifest.packs:
            wanted = (manifest.wanted(leaf) for leaf in manifest)
            self._packed.update((one.leaf, one.place.pack) for one in wanted if one is not None)
        return manifest.references()

    def _copy_leaves(self, keys: Sequence[str]) -> None:
        todo = list(keys)
        for tier in self._tiers:
            copy = Copy(self._dest, tier)
            copy.run(todo)
            self.outcomes.update(copy.outcomes)
            # The next tier may have what this tier lacks, has damaged or cannot give.
            todo = [key for key in todo if _is_left(self.outcomes[key])]
        absent = [
            key for key in todo if isinstance(self.outcomes[key], EntryNotFoundError) and may_evolve(key)
        ]
        if not absent:
            return
        try:
            evolutions = dict(zip(absent, self._source.newest(absent), strict=True))
        except Exception as error:  # noqa: BLE001 - the outcome of those that it is about
            self.outcomes.update((key, error) for key in absent)
            return
        newest = {key: evolution for key, evolution in evolutions.items() if evolution is not None}
        if newest:
            self._copy_leaves(list(newest.values()))
            self.outcomes.update((key, self.outcomes[evolution]) for key, evolution in newest.items())

    def _inner_ones_first(self) -> list[str]:
        graph = {key: [leaf for leaf in inner if _is_manifest(leaf)] for key, inner in self._inner.items()}
        while True:
            try:
                return list(TopologicalSorter(graph).static_order())
            except CycleError as error:
                for key in error.args[1]:
                    graph[key] = []
                    self.outcomes[key] = ManifestError(f"the manifest {key} contains itself", path=key)

    def _copy_manifest(self, key: str, blob: Blob) -> None:
        outcomes = [self.outcomes[leaf] for leaf in self._inner[key]]
        failed = next((one for one in outcomes if isinstance(one, Exception)), None)
        if failed is not None:
            refused = ManifestError(
                f"the manifest {key} was not copied, because an entry of it could not be: {failed}", path=key
            )
            refused.__cause__ = failed
            self.outcomes[key] = refused
            return
        try:
            (outcome,) = self._dest.store([blob])
            if outcome is StoreOutcome.CONFLICT or isinstance(outcome, CorruptEntryError):
                (outcome,) = self._dest.store([blob], replace=True)
            self.outcomes[key] = outcome if isinstance(outcome, LailaError) else key
        except Exception as error:  # noqa: BLE001 - the outcome of this manifest, and of those around it
            self.outcomes[key] = error


def _is_manifest(key: str) -> bool:
    return last_scope(key) == "MANIFEST"


def _is_left(outcome: object) -> bool:
    return isinstance(outcome, Exception) and not isinstance(outcome, EvolutionConflictError)
