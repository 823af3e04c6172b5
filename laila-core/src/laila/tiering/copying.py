"""``dest <= src``: copy everything from one pool into another with bounded memory.

Entries that the destination has with the same content are read, compared byte by byte and skipped, so an
interrupted copy goes on at the place where it stopped. A damaged copy is replaced, and so is a constant with
another content. An evolution is never overwritten. Bytes move unchanged only between pools with equal
transformations and keys. Otherwise they are undone and done again, so an encrypting pool never holds a plain
blob.
"""

from __future__ import annotations

from functools import partial

from laila.blob.blob import Blob
from laila.errors import (
    CorruptEntryError,
    EntryNotFoundError,
    EvolutionConflictError,
    IdentityError,
    LailaError,
    TransformationError,
)
from laila.identity import parse_global_id
from laila.showing import shown
from laila.tiering.chain import StoreOutcome
from laila.tiering.single import groups, how_made

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from laila.blob.blob import BlobHead
    from laila.contract.pool import Pool
    from laila.futures import GroupFuture

    Head = Blob | BlobHead | LailaError | None

__all__ = ["Copy", "copy_pool"]

_KEYS = 512
_READ_BYTES = 8 * 1024 * 1024
_WRITE_BYTES = 16 * 1024 * 1024


def copy_pool(
    dest: Pool,
    source: Pool,
    keys: Sequence[str] | None = None,
    *,
    on_progress: Callable[[int, int], object] | None = None,
) -> GroupFuture[str]:
    """Copy ``keys`` (all of ``source`` where None) into ``dest``, in the task force of the active policy.

    Returns a group with one child a key, which resolves to the key. A key that disappears meanwhile, is
    damaged, or is an evolution that ``dest`` has with another content, fails its own child only; a backend
    that fails, those not copied yet. A chain that is one store (``write="through"``) is copied from its last
    tier, and into as ``memorize`` does. Memory: about 24 MiB of blobs at a time, or the largest single blob.
    ``on_progress`` is called in the thread that copies, with the number of keys and of bytes that are done.
    """
    from laila.futures import GroupFuture

    source = source.deciding_tier
    wanted = list(source.keys() if keys is None else keys)

    def run() -> list[object]:
        copy = Copy(dest, source, on_progress)
        copy.run(wanted)
        return [copy.outcomes[key] for key in wanted]

    return GroupFuture.batch(len(wanted), run)


class Copy:
    """Copies out of one pool. ``outcomes`` has for each key the key itself, or its error."""

    def __init__(
        self, dest: Pool, source: Pool, on_progress: Callable[[int, int], object] | None = None
    ) -> None:
        self.outcomes: dict[str, object] = {}
        self._nbytes = 0
        self._on_progress = on_progress
        self._dest = dest
        self._holder = dest.deciding_tier
        self._source = source
        # If the tiers of one store have different transformations, blobs go in plain and each tier applies
        # its own.
        self._as_they_stand = not dest.write_through and dest.transformations == source.transformations

    def run(self, keys: Sequence[str]) -> None:
        """Copy ``keys``. Never raises an error of a backend: it becomes the outcome of all remaining keys."""
        every = list(dict.fromkeys(keys))
        try:
            for start in range(0, len(every), _KEYS):
                self._copy_some(every[start : start + _KEYS])
        except Exception as error:  # noqa: BLE001 - the outcome of all remaining keys
            self.outcomes.update((key, error) for key in every if key not in self.outcomes)

    def _copy_some(self, keys: Sequence[str]) -> None:
        theirs = dict(zip(keys, self._holder.heads_here(keys), strict=True))
        known = [key for key in keys if _is_head(theirs[key])]
        here = dict(zip(known, self._source.heads_here(known), strict=True)) if known else {}
        new = {key for key in keys if theirs[key] is None}
        wanted: list[str] = []
        alike: list[str] = []
        for key in keys:
            if key not in here:
                wanted.append(key)
            else:
                self._decide(key, theirs[key], here[key], wanted, alike)
        for batch, put in ((wanted, partial(self._put, new=new)), (alike, self._confirm)):
            ready: list[Blob] = []
            total = 0
            for blob in self._read(batch):
                ready.append(blob)
                total += blob.nbytes
                if total >= _WRITE_BYTES:
                    put(ready)
                    self._tell(total)
                    ready, total = [], 0
            put(ready)
            self._tell(total)

    def _tell(self, nbytes: int) -> None:
        """Count the bytes that were copied or compared, and tell of them."""
        self._nbytes += nbytes
        if self._on_progress is not None:
            self._on_progress(len(self.outcomes), self._nbytes)

    def _decide(self, key: str, theirs: Head, ours: Head, wanted: list[str], alike: list[str]) -> None:
        """Add ``key`` to ``wanted``, or to ``alike`` if the digests are equal; or note its outcome."""
        if theirs is None or ours is None or isinstance(theirs, LailaError) or isinstance(ours, LailaError):
            wanted.append(key)
            return
        refused: LailaError | None = None
        try:
            same = self._is_same(key, theirs, ours)
        except CorruptEntryError:  # the destination's blob is damaged: it is replaced
            wanted.append(key)
            return
        except TransformationError as error:  # nobody can read the destination's blob without its key
            same, refused = False, error
        if same:
            alike.append(key)
        elif _is_evolution(key):
            self.outcomes[key] = refused or self._conflict(key)
        else:
            wanted.append(key)

    def _is_same(self, key: str, theirs: Blob | BlobHead, ours: Blob | BlobHead) -> bool:
        """Whether both have one content, as far as the heads say."""
        if theirs.digest == ours.digest:
            return True
        if how_made(theirs) == how_made(ours):
            return False
        plain = self._source.plain_digest(ours)
        if plain is not None:
            return self._holder.digest_as(theirs, plain) == theirs.digest
        plain = self._holder.plain_digest(theirs)
        if plain is None:
            # Both digests are keyed, under different keys: one blob must be opened.
            (opened,) = self._holder.load_here([key])
            if opened is None:
                return False
            if isinstance(opened, BaseException):
                raise opened
            plain = opened.digest
        return self._source.digest_as(ours, plain) == ours.digest

    def _groups(self, keys: Sequence[str]) -> Iterator[list[str]]:
        """Divide ``keys`` into groups that are read together; a blob of unknown size is read alone."""
        sizes = self._source.sizes_here(keys) if keys else ()
        return groups(
            ((k, _READ_BYTES if size is None else size) for k, size in zip(keys, sizes, strict=True)),
            _READ_BYTES,
        )

    def _read(self, keys: Sequence[str]) -> Iterator[Blob]:
        """Read the stored blobs of ``keys`` group by group; yield them in the form that is written."""
        for group in self._groups(keys):
            stored = self._source.load_here(group, keep=lambda _: True)
            for i, key in enumerate(group):
                blob, stored[i] = self._opened(key, stored[i]), None
                if isinstance(blob, Blob):
                    yield blob
                else:
                    self.outcomes[key] = blob

    def _opened(self, key: str, stored: Blob | BaseException | None) -> Blob | BaseException:
        if stored is None:
            return EntryNotFoundError(
                f"{key} is not in pool {shown(self._source.label)}; did it go while it was copied?",
                key=key,
                pool=self._source.label,
            )
        if not isinstance(stored, Blob) or (self._as_they_stand and self._dest.would_make(stored)):
            return stored
        return self._source.opened(stored)

    def _put(self, blobs: Sequence[Blob], new: set[str]) -> None:
        """Write ``blobs``; a key that is ``new`` to the destination replaces no evolution.

        Raises the errors of the backend.
        """
        created = [blob for blob in blobs if blob.key in new and _is_evolution(blob.key)]
        replaced = [blob for blob in blobs if blob.key not in new or not _is_evolution(blob.key)]
        for batch, replace in ((created, False), (replaced, True)):
            outcomes = self._dest.store(batch, replace=replace) if batch else ()
            for blob, outcome in zip(batch, outcomes, strict=True):
                if outcome is StoreOutcome.CONFLICT:
                    self.outcomes[blob.key] = self._conflict(blob.key)
                else:
                    self.outcomes[blob.key] = outcome if isinstance(outcome, LailaError) else blob.key

    def _confirm(self, blobs: Sequence[Blob]) -> None:
        """Compare ``blobs`` with blobs of equal digests in the destination; replace damaged ones.

        Raises the errors of the backend.
        """
        other: list[Blob] = []
        for blob, outcome in zip(blobs, self._holder.compared_here(blobs), strict=True):
            if outcome is StoreOutcome.SAME:
                self.outcomes[blob.key] = blob.key
            # Another content with the same digest is another content; somebody may have made it on purpose.
            elif outcome is StoreOutcome.CONFLICT and _is_evolution(blob.key):
                self.outcomes[blob.key] = self._conflict(blob.key)
            elif isinstance(outcome, LailaError) and not isinstance(outcome, CorruptEntryError):
                self.outcomes[blob.key] = outcome
            else:
                other.append(blob)
        self._put(other, set())

    def _conflict(self, key: str) -> EvolutionConflictError:
        where = self._holder.label
        return EvolutionConflictError(
            f"pool {shown(where)} has {key} with another content, which was kept", key=key, pool=where
        )


def _is_head(head: Head) -> bool:
    return head is not None and not isinstance(head, LailaError)


def _is_evolution(key: str) -> bool:
    try:
        return parse_global_id(key).evolution is not None
    except IdentityError:  # a pool takes any text for a key
        return False
