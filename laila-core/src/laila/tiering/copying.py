"""``dest <= src``: copy everything from one pool into another with bounded memory.

What the destination has with the same content is read, compared byte by byte and skipped, so that a copy that
was interrupted goes on where it stopped; a damaged copy is replaced, and so is a constant with another
content. An evolution is never overwritten. Bytes move as they stand only between pools whose transformations
and keys are equal; otherwise they are undone and done again, so that an encrypting pool never holds a plain
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
    from collections.abc import Iterator, Sequence

    from laila.blob.blob import BlobHead
    from laila.contract.pool import Pool
    from laila.futures import GroupFuture

    Head = Blob | BlobHead | LailaError | None

__all__ = ["Copy", "copy_pool"]

_KEYS = 512
_READ_BYTES = 8 * 1024 * 1024
_WRITE_BYTES = 16 * 1024 * 1024


def copy_pool(dest: Pool, source: Pool, keys: Sequence[str] | None = None) -> GroupFuture[str]:
    """Copy ``keys`` (all of ``source`` where None) into ``dest``, in the task force of the active policy.

    Returns a group with one child a key, which resolves to the key. A key that disappears meanwhile, is
    damaged, or is an evolution that ``dest`` has with another content, fails its own child only; a backend
    that fails, those not copied yet. A chain that is one store (``write="through"``) is copied from its last
    tier, and into as ``memorize`` does. Memory: about 24 MiB of blobs at a time, or the largest single blob.
    """
    from laila.futures import GroupFuture

    source = source.deciding_tier
    wanted = list(source.keys() if keys is None else keys)

    def run() -> list[object]:
        copy = Copy(dest, source)
        copy.run(wanted)
        return [copy.outcomes[key] for key in wanted]

    return GroupFuture.batch(len(wanted), run)


class Copy:
    """A copy out of one pool alone. ``outcomes`` has for each key the key itself, or its error."""

    def __init__(self, dest: Pool, source: Pool) -> None:
        self.outcomes: dict[str, object] = {}
        self._dest = dest
        self._holder = dest.deciding_tier
        self._source = source
        # Where the tiers of a chain that is one store differ, blobs go in plain and each tier makes its own.
        self._as_they_stand = not dest.write_through and dest.transformations == source.transformations

    def run(self, keys: Sequence[str]) -> None:
        """Copy ``keys``. Raises nothing of a backend: what fails is the outcome of all that is left."""
        every = list(dict.fromkeys(keys))
        try:
            for start in range(0, len(every), _KEYS):
                self._copy_some(every[start : start + _KEYS])
        except Exception as error:  # noqa: BLE001 - the outcome of all that is left
            self.outcomes.update((key, error) for key in every if key not in self.outcomes)

    def _copy_some(self, keys: Sequence[str]) -> None:
        there = dict(zip(keys, self._holder.heads_here(keys), strict=True))
        known = [key for key in keys if _is_head(there[key])]
        here = dict(zip(known, self._source.heads_here(known), strict=True)) if known else {}
        new = {key for key in keys if there[key] is None}
        wanted: list[str] = []
        alike: list[str] = []
        for key in keys:
            if key not in here:
                wanted.append(key)
            else:
                self._decide(key, there[key], here[key], wanted, alike)
        for some, put in ((wanted, partial(self._put, new=new)), (alike, self._confirm)):
            ready: list[Blob] = []
            total = 0
            for blob in self._read(some):
                ready.append(blob)
                total += blob.nbytes
                if total >= _WRITE_BYTES:
                    put(ready)
                    ready, total = [], 0
            put(ready)

    def _decide(self, key: str, there: Head, here: Head, wanted: list[str], alike: list[str]) -> None:
        """Add ``key`` to what is ``wanted``, or to what is ``alike`` by its digest; or say its outcome."""
        if there is None or here is None or isinstance(there, LailaError) or isinstance(here, LailaError):
            wanted.append(key)
            return
        refused: LailaError | None = None
        try:
            same = self._is_same(key, there, here)
        except CorruptEntryError:  # what is there is damaged: it is replaced
            wanted.append(key)
            return
        except TransformationError as error:  # without its key nobody knows what is there
            same, refused = False, error
        if same:
            alike.append(key)
        elif _is_evolution(key):
            self.outcomes[key] = refused or self._conflict(key)
        else:
            wanted.append(key)

    def _is_same(self, key: str, there: Blob | BlobHead, here: Blob | BlobHead) -> bool:
        """Whether both are of one content, told by the heads as far as they tell."""
        if there.digest == here.digest:
            return True
        if how_made(there) == how_made(here):
            return False
        plain = self._source.plain_digest(here)
        if plain is not None:
            return self._holder.digest_as(there, plain) == there.digest
        plain = self._holder.plain_digest(there)
        if plain is None:
            # Both are keyed, under unlike keys: one of them has to be opened.
            (opened,) = self._holder.load_here([key])
            if opened is None:
                return False
            if isinstance(opened, BaseException):
                raise opened
            plain = opened.digest
        return self._source.digest_as(here, plain) == here.digest

    def _groups(self, keys: Sequence[str]) -> Iterator[list[str]]:
        """Divide ``keys`` into what is read at a time; one of unknown size is read alone."""
        sizes = self._source.sizes_here(keys) if keys else ()
        return groups(
            ((k, _READ_BYTES if size is None else size) for k, size in zip(keys, sizes, strict=True)),
            _READ_BYTES,
        )

    def _read(self, keys: Sequence[str]) -> Iterator[Blob]:
        """Read ``keys`` group by group as they are stored; give them one by one as they are to be written."""
        for group in self._groups(keys):
            stored = self._source.load_here(group, keep=lambda _: True)
            for i, key in enumerate(group):
                blob, stored[i] = self._opened(key, stored[i]), None
                if isinstance(blob, Blob):
                    yield blob
                else:
                    self.outcomes[key] = blob

    def _opened(self, key: str, found: Blob | BaseException | None) -> Blob | BaseException:
        if found is None:
            return EntryNotFoundError(
                f"{key} is not in pool {shown(self._source.label)}; did it go while it was copied?",
                key=key,
                pool=self._source.label,
            )
        if not isinstance(found, Blob) or (self._as_they_stand and self._dest.would_make(found)):
            return found
        return self._source.opened(found)

    def _put(self, blobs: Sequence[Blob], new: set[str]) -> None:
        """Write ``blobs``; those whose key is ``new`` to the destination replace no evolution.

        Raises what the backend raises.
        """
        created = [blob for blob in blobs if blob.key in new and _is_evolution(blob.key)]
        replaced = [blob for blob in blobs if blob.key not in new or not _is_evolution(blob.key)]
        for some, replace in ((created, False), (replaced, True)):
            outcomes = self._dest.store(some, replace=replace) if some else ()
            for blob, outcome in zip(some, outcomes, strict=True):
                if outcome is StoreOutcome.CONFLICT:
                    self.outcomes[blob.key] = self._conflict(blob.key)
                else:
                    self.outcomes[blob.key] = outcome if isinstance(outcome, LailaError) else blob.key

    def _confirm(self, blobs: Sequence[Blob]) -> None:
        """Compare ``blobs`` with what has their digests in the destination; replace what is damaged there.

        Raises what the backend raises.
        """
        other: list[Blob] = []
        for blob, outcome in zip(blobs, self._holder.compared_here(blobs), strict=True):
            if outcome is StoreOutcome.SAME:
                self.outcomes[blob.key] = blob.key
            # Another content of the same digest, as somebody may have made it, is another content.
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
