"""What differs between two manifests, and what their leaves are: without reading a leaf."""

from __future__ import annotations

from typing import NamedTuple

from laila.codec import encode
from laila.entry.construction import EntryState
from laila.entry.leaves import leaf_of
from laila.entry.paths import places_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from laila.entry.entry import Entry
    from laila.entry.leaves import Leaf, Leaves
    from laila.entry.manifest import Manifest

__all__ = ["ManifestDiff", "compare", "rows_of_pending"]


class ManifestDiff(NamedTuple):
    """What changes from one manifest to another: paths of leaves, each as text."""

    added: list[str]
    """Leaves that only the other manifest has."""
    removed: list[str]
    """Leaves that the other manifest lacks."""
    changed: list[str]
    """Leaves of both whose content differs, or is not known to be the same."""

    def __bool__(self) -> bool:
        """Whether there is any difference."""
        return bool(self.added or self.removed or self.changed)


def compare(one: Manifest, rows: Leaves, other: Manifest, other_rows: Leaves) -> ManifestDiff:
    """Compare two manifests place by place.

    Args:
        one: The manifest before.
        rows: What is known of its leaves.
        other: The manifest after.
        other_rows: What is known of its leaves.

    Returns:
        The changes.
    """
    before, after = dict(places_of(one.blueprint)), dict(places_of(other.blueprint))
    changed = []
    for path, leaf in before.items():
        new = after.get(path)
        if new is None:
            continue
        known, new_known = rows.get(leaf), other_rows.get(new)
        if known is None or new_known is None:
            same = leaf == new
        else:
            same = known.digest == new_known.digest
        if not same:
            changed.append(path)
    added = [path for path in after if path not in before]
    return ManifestDiff(added, [path for path in before if path not in after], changed)


def rows_of_pending(manifest: Manifest) -> dict[str, Leaf]:
    """Return what the entries are that wait to be stored with a manifest, as they are now.

    Args:
        manifest: The manifest.

    Returns:
        The outcome of storing each of them, by global id.

    Raises:
        PayloadError: an entry cannot be stored.
    """
    if not manifest._pending:
        return {}
    rows: dict[str, Leaf] = {}
    for _, pending in manifest.manifests():
        for entry in pending:
            key = entry.global_id
            stays = entry._state is EntryState.POOLED and manifest._leaves.get(key) is not None
            if key not in rows and not stays:
                row = _row_of(entry, rows)
                if row is not None:
                    rows[key] = row
    return rows


def _row_of(entry: Entry, rows: dict[str, Leaf]) -> Leaf | None:
    from laila.entry.manifest import Manifest

    payload = entry._to_store()
    if isinstance(entry, Manifest):
        known = entry._leaves.copy()
        known.add({leaf: rows[leaf] for leaf in entry if leaf in rows})
        payload = Manifest._payload_of(entry.blueprint, known, entry._packs)
    return leaf_of(encode(payload, key=entry.global_id, borrow=True, created=0.0))
