"""Delete entries beside writers: never what a stored manifest, a pin or a running writer relies on.

Each batch of entries is read before it is deleted. Then the manifests of the pool are looked at again; what
has come to be referred to is left. After the deletion they are looked at once more, and what has come to be
referred to meanwhile is stored again. A writer of a manifest does the same from its side: when the manifest
is stored, it looks for the leaves that it did not write itself. So the later of the two repairs it.
"""

from __future__ import annotations

from laila.blob.blob import Blob
from laila.errors import LailaError, ManifestError
from laila.keys import is_manifest
from laila.showing import said, shown
from laila.tiering.single import groups
from laila.upkeep.leaves import References, batches, is_entry, is_kept_by_its_key
from laila.upkeep.notes import is_pin, is_use, read_payload, used_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from laila.contract.pool import Pool

__all__ = ["GROUP_KEYS", "Deleted", "Watch", "delete_unheld"]

_GROUP_BYTES = 64 * 1024 * 1024
GROUP_KEYS = 20_000
"""How many entries are deleted at a time."""


class Watch:
    """What the manifests and pins of one pool refer to, looked at again and again.

    Attributes:
        references: What is referred to, as far as it was seen.
    """

    def __init__(self, tier: Pool, *, ignored: Collection[str] = (), inputs: bool = False) -> None:
        self._tier = tier
        self._ignored = ignored
        self.references = References(tier, inputs=inputs)
        self._digests: dict[str, bytes | None] = {}
        self._seen: set[str] = set()  # pins and notes of writers
        self.entries = 0  # when it began

    def begin(self, *, every: bool) -> list[str]:
        """Look for the first time; return the keys of entries that no name, pin or manifest holds.

        Args:
            every: Whether each manifest holds its leaves, named or not.
        """
        keys, manifests, notes = self._listed()
        self.entries = len(keys)
        self._digests.update(self._changed(manifests))
        roots = [key for key in (manifests if every else keys) if every or is_kept_by_its_key(key)]
        self.references.follow(key for key in roots if key not in self._ignored)
        self._read_notes(notes)
        return [key for key in keys if not is_kept_by_its_key(key) and self.holder(key) is None]

    def look(self) -> None:
        """Look again: a manifest that is new or was replaced holds its leaves, named or not.

        Raises:
            ManifestError: A manifest cannot be read, so that nobody knows what it refers to.
        """
        _, manifests, notes = self._listed()
        changed = self._changed(manifests)
        self._digests.update(changed)
        self.references.follow(changed, again=True)
        self._read_notes(notes)
        self.check()

    def check(self) -> None:
        """Raise :class:`ManifestError` if a manifest could not be read."""
        for key, error in self.references.unread.items():
            raise ManifestError(
                f"nothing was deleted from pool {shown(self._tier.label)} from here on: nobody knows what "
                f"{key} refers to ({said(error)}). Repair it, or forget it, and try again",
                path=key,
            ) from error

    @property
    def uses(self) -> list[str]:
        """The notes of writers that were read."""
        return [key for key in self._seen if is_use(key)]

    def holder(self, key: str) -> str | None:
        """Return what refers to ``key``: a manifest, a pin, or a note of a writer; None if nothing does."""
        return self.references.holder(key)

    def _listed(self) -> tuple[list[str], list[str], list[str]]:
        keys = list(self._tier.keys(as_generator=True))
        manifests = [key for key in keys if is_manifest(key) and is_entry(key) and key not in self._ignored]
        return keys, manifests, [key for key in keys if is_pin(key) or is_use(key)]

    def _changed(self, manifests: Sequence[str]) -> dict[str, bytes | None]:
        """Return the digests of those manifests that are new, or have another content than before."""
        changed: dict[str, bytes | None] = {}
        for batch in batches(manifests):
            for key, head in zip(batch, self._tier.heads_here(batch), strict=True):
                digest = None if isinstance(head, LailaError) or head is None else head.digest
                if key not in self._digests or digest is None or self._digests[key] != digest:
                    changed[key] = digest
        return changed

    def _read_notes(self, keys: Sequence[str]) -> None:
        fresh = [key for key in keys if key not in self._seen]
        for batch in batches(key for key in fresh if is_pin(key)):
            for key, blob in zip(batch, self._tier.load_here(batch), strict=True):
                if isinstance(blob, Blob) and isinstance(pinned := read_payload(blob).get("pinned"), str):
                    self.references.hold(pinned, key)
                    self.references.follow([pinned])
                elif isinstance(blob, BaseException):
                    raise blob
        for batch in batches(key for key in fresh if is_use(key)):
            for key in used_in(self._tier, batch):
                self.references.hold(key, batch[0])
                self.references.follow([key])
        self._seen.update(fresh)


class Deleted:
    """The outcome of a deletion.

    Attributes:
        keys: What was deleted.
        kept: By key, what has come to refer to it meanwhile.
        restored: The keys among ``kept`` that were stored again.
        unread: The error of each entry that could not be read first, by key. It was left.
    """

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.kept: dict[str, str] = {}
        self.restored: list[str] = []
        self.unread: dict[str, Exception] = {}


def delete_unheld(
    pool: Pool, watch: Watch, keys: Iterable[str], deleted: Deleted, *, size: int = GROUP_KEYS
) -> None:
    """Delete ``keys`` that nothing refers to, in ``pool``, or all tiers of a chain that is one store. Blocks.

    Holds 64 MiB of entries in memory at a time, or one that is larger.

    Args:
        pool: The pool.
        watch: What is referred to. It has begun, on the pool's deciding tier.
        keys: The keys.
        deleted: Takes what became of each; also if this raises.
        size: How many entries are deleted at a time, at most.

    Raises:
        ManifestError: A manifest cannot be read. What was not deleted before was left.
        PoolError: The pool failed.
    """
    tier = pool.deciding_tier
    for batch in batches(keys, size):
        sizes = tier.sizes_here(batch)
        sized = ((k, _GROUP_BYTES if size is None else size) for k, size in zip(batch, sizes, strict=True))
        for group in groups(sized, _GROUP_BYTES):
            _delete(pool, tier, watch, group, deleted)


def _delete(pool: Pool, tier: Pool, watch: Watch, keys: Sequence[str], deleted: Deleted) -> None:
    blobs: dict[str, Blob] = {}
    for key, blob in zip(keys, tier.load_here(keys, keep=lambda _: True), strict=True):
        if isinstance(blob, Exception):
            deleted.unread[key] = blob  # it could not be stored again
        elif isinstance(blob, BaseException):
            raise blob
        elif blob is not None:
            blobs[key] = blob
    watch.look()
    _leave_held(watch, blobs, deleted)
    if not blobs:
        return
    try:
        pool.delete(list(blobs))
        watch.look()
    except BaseException:  # nobody knows whether something refers to them: they are stored again
        tier._create_many(list(blobs.items()))
        raise
    again = list(_leave_held(watch, blobs, deleted).items())
    if again:
        tier._create_many(again)  # as they were stored, with their transformations
        deleted.restored += (key for key, _ in again)
    deleted.keys += blobs


def _leave_held(watch: Watch, blobs: dict[str, Blob], deleted: Deleted) -> dict[str, Blob]:
    """Take what is referred to out of ``blobs``, and return it."""
    held = {key: blob for key, blob in blobs.items() if watch.holder(key) is not None}
    for key in held:
        del blobs[key]
        deleted.kept[key] = watch.holder(key) or ""
    return held
