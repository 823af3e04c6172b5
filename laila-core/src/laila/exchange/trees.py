"""Nested dicts as manifests: store the leaves a batch at a time, then the manifest that names them."""

from __future__ import annotations

from collections import OrderedDict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from laila.central.memory_verbs import MemoryVerbs

__all__ = ["TreeWriter", "is_branch", "leaves_in"]

_BATCH_BYTES = 64 * 2**20
_BATCH_LEAVES = 512
_BRANCHES = (dict, OrderedDict)  # the second is what a PyTorch state dict is


def is_branch(value: object) -> bool:
    """Whether a value becomes a level of a manifest: a dict that is not empty, and whose keys are texts."""
    if not isinstance(value, dict) or type(value) not in _BRANCHES:
        return False
    return bool(value) and all(type(key) is str for key in value)


def leaves_in(tree: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Give the path and the value of each leaf of nested dicts, in order."""
    pending: list[tuple[tuple[str, ...], Any]] = [((), tree)]
    while pending:
        path, value = pending.pop()
        if is_branch(value):
            pending.extend(((*path, key), child) for key, child in reversed(value.items()))
        else:
            yield path, value


class TreeWriter:
    """Stores leaves by content, and notes their ids in a tree. Memory: 64 MiB of leaves, or the largest leaf.

    Attributes:
        tree: Nested dicts of ids, for a manifest.
        leaves: How many leaves were added.
        nbytes: How many bytes they have, as far as they say.
    """

    def __init__(self, memory: MemoryVerbs, pool_nickname: str | None) -> None:
        self._memory = memory
        self._pool_nickname = pool_nickname
        self._batch: dict[str, Any] = {}
        self._batch_bytes = 0
        self.tree: dict[str, Any] = {}
        self.leaves = self.nbytes = 0

    def add(self, path: Iterable[str], value: object) -> bool:
        """Store a leaf, soon. Blocks at times.

        Args:
            path: The keys that lead to the leaf.
            value: What it holds.

        Returns:
            Whether a batch was stored.
        """
        from laila.entry import Entry

        entry = Entry.constant(value, by="content")
        *branches, last = path
        node = self.tree
        for branch in branches:
            node = node.setdefault(branch, {})
        node[last] = entry.global_id
        nbytes = len(value) if isinstance(value, (bytes, str)) else int(getattr(value, "nbytes", 64))
        self._batch[entry.global_id] = entry
        self._batch_bytes += nbytes
        self.leaves += 1
        self.nbytes += nbytes
        if self._batch_bytes < _BATCH_BYTES and len(self._batch) < _BATCH_LEAVES:
            return False
        self.flush()
        return True

    def flush(self) -> None:
        """Store the leaves that wait. Blocks."""
        if self._batch:
            entries = list(self._batch.values())
            self._memory.memorize(entries, pool_nickname=self._pool_nickname).wait()
        self._batch.clear()
        self._batch_bytes = 0
