"""The blobs of one pool: transformed on their way in and out, compared by digest, without other tiers.

Tiers and copies are built from the methods that end in ``_here``. None of these looks at an origin.
"""

from __future__ import annotations

from errno import EFBIG

from laila.blob.blob import Blob, BlobHead
from laila.blob.buffer import byte_view
from laila.blob.head import corrupt
from laila.component.authored import answer, answers, newest_of, numbers_of
from laila.component.backend import Backend, checked_blob
from laila.component.component import Component
from laila.errors import (
    ContractError,
    CorruptEntryError,
    InvalidValueError,
    LailaError,
    NotSupportedError,
    PoolClosedError,
    PoolError,
    TransformationError,
    UntrustedPayloadError,
)
from laila.showing import shown
from laila.tiering.chain import StoreOutcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import ClassVar, TypeVar

    from laila.blob.blob import BytesLike
    from laila.leasing.tables import LeaseTable
    from laila.transform import TransformationSequence
    from laila.transform.base import Read

    K = TypeVar("K")

__all__ = ["SingleTier", "groups", "how_made"]

_COMPARED_BYTES = 8 * 1024 * 1024


class SingleTier(Component, Backend):
    """The part of a pool that stores and finds blobs in this pool alone. As thread-safe as its backend."""

    max_blob_bytes: ClassVar[int | None]
    _transformations: TransformationSequence | None
    _tells_deletes: bool | None

    @property
    def label(self) -> str:
        """The name of the pool in messages."""
        raise NotImplementedError

    def _inward(self, blob: Blob) -> Blob:
        if self._transformations is None or self.would_make(blob):
            return blob
        return self._transformations.apply(blob)

    def would_make(self, blob: Blob) -> bool:
        """Whether ``blob`` has this pool's transformations, under the keys that it uses now.

        Args:
            blob: A stored blob.

        Returns:
            True if this pool would transform it alike.
        """
        steps = blob.transformations
        if not steps or self._transformations is None or len(steps) != len(self._transformations):
            return False
        return all(
            item.name == name and item.params().get("key") == params.get("key")
            for item, (name, params) in zip(self._transformations, steps, strict=True)
        )

    def _outward(self, blob: Blob) -> Blob:
        return self._sequence().invert(blob) if blob.transformations else blob

    def _sequence(self) -> TransformationSequence:
        from laila.transform import TransformationSequence

        return self._transformations or TransformationSequence(())

    def _check_open(self) -> None:
        if self._closed:
            raise PoolClosedError(
                f"pool {shown(self.label)} was closed; open it again before using it", pool=self.label
            )

    def store_here(self, blobs: Sequence[Blob], *, replace: bool = False) -> list[StoreOutcome | LailaError]:
        """Store plain ``blobs`` here alone; return an outcome each. Raises the errors of the backend."""
        self._check_open()
        items = [(blob.key, self._inward(blob)) for blob in blobs]
        refused = self._too_large(items)
        if refused:
            kept = [i for i in range(len(items)) if i not in refused]
            stored = iter(self._store_items([blobs[i] for i in kept], [items[i] for i in kept], replace))
            return [refused[i] if i in refused else next(stored) for i in range(len(items))]
        return self._store_items(blobs, items, replace)

    def _store_items(
        self, blobs: Sequence[Blob], items: Sequence[tuple[str, Blob]], replace: bool
    ) -> list[StoreOutcome | LailaError]:
        if replace:
            self._write_many(items)
            return [StoreOutcome.CREATED] * len(items)
        created = answers(self, "_create_many", self._create_many(items), len(items), bool)
        outcomes: list[StoreOutcome | LailaError] = [StoreOutcome.CREATED] * len(items)
        taken = [] if all(created) else [i for i, made in enumerate(created) if not made]
        heads = self.heads_here([items[i][0] for i in taken]) if taken else ()
        alike: list[int] = []
        for i, head in zip(taken, heads, strict=True):
            outcomes[i] = self._compare(blobs[i], items[i][1], head)
            if outcomes[i] is StoreOutcome.SAME:
                alike.append(i)
        for i, outcome in zip(alike, self.compared_here([blobs[i] for i in alike]), strict=True):
            if isinstance(outcome, CorruptEntryError):
                self._repair(items[i])
                outcome = StoreOutcome.CREATED
            outcomes[i] = self._compare(blobs[i], items[i][1], None) if outcome is None else outcome
        return outcomes

    def compared_here(self, blobs: Sequence[Blob]) -> list[StoreOutcome | LailaError | None]:
        """Compare ``blobs`` byte by byte with the stored blobs of their keys, which this reads.

        A digest says what was stored once; only the bytes say what is stored now. Returns SAME or CONFLICT,
        None for a missing key, and the error of a blob that cannot be read. Raises the errors of the backend.

        Args:
            blobs: Plain blobs.

        Returns:
            One outcome for each blob.
        """
        outcomes: list[StoreOutcome | LailaError | None] = []
        for batch in groups([(blob, blob.content_nbytes) for blob in blobs], _COMPARED_BYTES):
            for blob, stored in zip(batch, self.load_here([blob.key for blob in batch]), strict=True):
                plain = self.opened(blob) if blob.transformations else blob
                if stored is None or isinstance(stored, LailaError):
                    outcomes.append(stored)
                elif isinstance(plain, LailaError):
                    outcomes.append(plain)
                else:
                    same = isinstance(stored, Blob) and stored.has_content_of(plain)
                    fault = _fault_of_signature(stored, plain) if same else None  # type: ignore[arg-type]
                    outcomes.append(fault or (StoreOutcome.SAME if same else StoreOutcome.CONFLICT))
        return outcomes

    def whole_here(self, keys: Sequence[str]) -> list[bool]:
        """Return for each key whether it is here and undamaged; reads the blobs.

        Args:
            keys: The keys.

        Returns:
            A bool for each key.
        """
        sizes = self.sizes_here(keys)
        # A blob of unknown size is read alone.
        sized = [
            (key, _COMPARED_BYTES if size is None else size) for key, size in zip(keys, sizes, strict=True)
        ]
        return [
            isinstance(stored, Blob)
            for batch in groups(sized, _COMPARED_BYTES)
            for stored in self.load_here(batch)
        ]

    def _repair(self, item: tuple[str, Blob]) -> None:
        """Write a blob again. Its digest says that the same content was stored, so nothing else is lost."""
        self._write(*item)
        from logging import getLogger

        getLogger("laila.pool").warning(
            "%s was damaged in pool %s and was stored again: is the disk, or the service, all right?",
            item[0],
            self.label,
        )

    def store_together_here(self, blobs: Sequence[Blob]) -> bool:
        """Store plain ``blobs`` here alone, all in one commit or none; return whether they were stored."""
        self._check_open()
        if type(self)._create_together is Backend._create_together:
            return False
        if self._transformations is not None and any(self._exists(blob.key) for blob in blobs):
            return False  # before time is spent on compression
        items = [(blob.key, self._inward(blob)) for blob in blobs]
        return not self._too_large(items) and self._create_together(items)

    def lease_table_here(self) -> LeaseTable:
        """Return the table of what this pool alone lends.

        Returns:
            The table.

        Raises:
            NotSupportedError: the pool cannot lend.
        """
        self._check_open()
        table = self._lease_table()
        if table is None:
            raise NotSupportedError(
                f"pool {shown(self.label)} cannot lend entries: a {type(self).__name__} has no table of "
                "leases that all processes see. Borrow from a pool of files, HDF5, Redis or S3; the author "
                "of a pool implements _lease_table (docs/how-to/write-a-pool.md)"
            )
        return table

    def store_leased_here(self, blobs: Sequence[Blob], tokens: Mapping[str, bytes]) -> bool:
        """Store plain ``blobs`` here alone for a borrower, all or none where the pool can.

        Args:
            blobs: The blobs.
            tokens: The token of each key that is lent.

        Returns:
            Whether they were stored.

        Raises:
            LeaseLostError: a lease is another borrower's by now.
        """
        self._check_open()
        items = [(blob.key, self._inward(blob)) for blob in blobs]
        for error in self._too_large(items).values():
            raise error
        return answer(self, "_create_leased", self._create_leased(items, tokens), bool)

    def _too_large(self, items: Sequence[tuple[str, Blob]]) -> dict[int, LailaError]:
        """Return by place the errors of the blobs that are too large for this pool."""
        limit = self.max_blob_bytes
        if limit is None:
            return {}
        return {
            i: PoolError(
                f"{key} has {size} bytes, and pool {shown(self.label)} takes at most {limit}; split the "
                "payload, "
                "or store it in another pool",
                pool=self.label,
                errno=EFBIG,
            )
            for i, (key, blob) in enumerate(items)
            if (size := blob.nbytes) > limit
        }

    def _compare(
        self, blob: Blob, inward: Blob, head: Blob | BlobHead | LailaError | None
    ) -> StoreOutcome | LailaError:
        """Decide by the content digest whether the blob stored under ``blob.key`` has the same content."""
        if head is None:  # deleted since: the key is free, unless another writer is quicker again
            return StoreOutcome.CREATED if self._create(blob.key, inward) else StoreOutcome.CONFLICT
        if isinstance(head, LailaError):
            return head
        if self._is_same(head, blob, inward):
            return StoreOutcome.SAME
        return StoreOutcome.CONFLICT

    def _is_same(self, head: Blob | BlobHead, blob: Blob, inward: Blob) -> bool:
        if head.digest == inward.digest:
            return True
        if how_made(head) == how_made(inward):
            return False
        return self.is_content(head, blob.digest)

    def is_content(self, head: Blob | BlobHead, digest: bytes) -> bool:
        """Say whether a head is of a content.

        Args:
            head: The head of what is stored here.
            digest: The content digest of the plain blob.

        Returns:
            Whether the digest in the head is that one, under the key that the head names.
        """
        # A digest under another key is compared with the digest that this content has under that key.
        try:
            return head.digest == self.digest_as(head, digest)
        except (CorruptEntryError, TransformationError):  # the key is missing, or not even named
            return False

    def digest_as(self, head: Blob | BlobHead, digest: bytes) -> bytes:
        """Return the digest of a content with the plain ``digest`` after the steps of ``head``.

        Raises :class:`~laila.errors.TransformationError` if a key or a transformation is missing.

        Args:
            head: The head with the steps.
            digest: The digest of the plain content.

        Returns:
            The digest.
        """
        return self._sequence().digest_as(head.transformations, digest, key=head.key)

    def plain_digest(self, head: Blob | BlobHead) -> bytes | None:
        """Return the content's own digest, or None if ``head`` has a keyed digest.

        Raises :class:`~laila.errors.TransformationError` if a transformation is missing.

        Args:
            head: The head of a stored blob.

        Returns:
            The digest, or None.
        """
        return None if self._sequence().is_keyed(head.transformations) else head.digest

    def load_here(
        self,
        keys: Sequence[str],
        *,
        keep: Callable[[Blob], bool] | None = None,
        deferred: bool = False,
        views: bool = False,
    ) -> list[Blob | BaseException | None]:
        """Read plain blobs from this pool alone: for each key the blob, None, or its error.

        Blobs for which ``keep`` is true stay as they are stored. ``deferred`` leaves large checksums to the
        decoder, for a caller that decodes at once. ``views`` allows views of the stored bytes, if the pool
        can give them. Raises the errors of the backend.
        """
        self._check_open()
        try:
            blobs = self._read_views(keys) if views else self._read_many(keys)
            every = answers(self, "_read_views" if views else "_read_many", blobs, len(keys))
        except CorruptEntryError as error:
            if len(keys) == 1:
                return [self.placed(error)]
            # The other blobs are not damaged.
            return [self.load_here([key], keep=keep, deferred=deferred, views=views)[0] for key in keys]
        loaded: list[Blob | BaseException | None] = []
        for key, stored in zip(keys, every, strict=True):
            try:
                blob = None if stored is None else checked_blob(key, stored, deferred=deferred)
            except (CorruptEntryError, ContractError) as error:
                loaded.append(self.placed(error))
                continue
            if blob is not None and blob.transformations and not (keep is not None and keep(blob)):
                loaded.append(self.opened(blob))
            else:
                loaded.append(blob)
        return loaded

    def opened(self, blob: Blob) -> Blob | LailaError:
        """Return ``blob``, which was read here, without its transformations; or its error.

        Args:
            blob: The stored blob.

        Returns:
            The plain blob, or the error.
        """
        try:
            return self._outward(blob)
        except (CorruptEntryError, TransformationError) as error:
            return self.placed(error)

    def sizes_here(self, keys: Sequence[str]) -> list[int | None]:
        """Return the stored size of each key in bytes; None if it is missing or its size is unknown.

        Args:
            keys: The keys.

        Returns:
            A size or None for each key.
        """
        self._check_open()
        try:
            return list(self._sizes(keys))
        except CorruptEntryError:  # reading the blobs will show which one is damaged
            return [None] * len(keys)

    def ages_here(self, keys: Sequence[str]) -> list[float | None]:
        """Return for each key how many seconds ago it was stored here; None where nobody knows.

        Args:
            keys: The keys.

        Returns:
            Seconds or None for each key.
        """
        self._check_open()
        return list(answers(self, "_ages", self._ages(keys), len(keys)))

    def touch_here(self, keys: Sequence[str]) -> None:
        """Make the age of keys 0, if this pool keeps ages.

        Args:
            keys: The keys.
        """
        self._check_open()
        self._touch(keys)

    def heads_here(self, keys: Sequence[str]) -> list[Blob | BlobHead | LailaError | None]:
        """Return for each key its head, None if this pool alone lacks it, or its error.

        Args:
            keys: The keys.

        Returns:
            One head, None or error for each key.
        """
        self._check_open()
        try:
            return [
                stored
                if stored is None or isinstance(stored, (Blob, BlobHead))
                else _head_of(self, key, stored)
                for key, stored in zip(
                    keys, answers(self, "_read_heads", self._read_heads(keys), len(keys)), strict=True
                )
            ]
        except (CorruptEntryError, ContractError) as error:
            if len(keys) == 1:
                return [self.placed(error)]
            return [self.heads_here([key])[0] for key in keys]  # the other blobs are not damaged

    def ranges_here(
        self, key: str, ranges: Sequence[tuple[int, int]], *, short: bool = False
    ) -> list[BytesLike] | None:
        """Return the bytes of some ranges of what this pool alone holds under ``key``, as it is stored.

        Nothing is verified but their lengths.

        Args:
            key: The key.
            ranges: Pairs of first byte and the one after the last, ascending, none over another.
            short: Take fewer bytes of a range where the blob ends before.

        Returns:
            The bytes of each, or None where the key is not here.

        Raises:
            InvalidValueError: the ranges are not as they must be.
            CorruptEntryError: a range ends beyond the end of the blob.
        """
        self._check_open()
        end = 0
        for start, stop in ranges:
            if not end <= start <= stop:
                raise InvalidValueError(
                    f"ranges of bytes ascend, and none overlaps another: not {start} to {stop} after {end}"
                )
            end = stop
        found = self._read_ranges(key, ranges)
        if found is None:
            return None
        every = answers(self, "_read_ranges", found, len(ranges))
        for (start, stop), data in zip(ranges, every, strict=True):
            size = memoryview(data).nbytes
            if size > stop - start or (size < stop - start and not short):
                raise self.placed(
                    corrupt(key, f"{size} bytes of it were read where {start} to {stop} were asked for")
                )
        return list(every)

    def ranges_of_many(
        self, asked: Sequence[tuple[str, Sequence[tuple[int, int]]]]
    ) -> list[Sequence[BytesLike] | CorruptEntryError | None]:
        """Return ranges of several keys of this pool alone, as they are stored; nothing is verified.

        Args:
            asked: Pairs of a key and its ranges, which ascend and do not overlap.

        Returns:
            For each key the bytes of its ranges, fewer where the blob ends before, None where the key is not
            here, or the error of a blob that is damaged.
        """
        self._check_open()
        try:
            found = answers(self, "_read_ranges_many", self._read_ranges_many(asked), len(asked))
        except CorruptEntryError as error:
            if len(asked) == 1:
                return [error]
            return [self.ranges_of_many([one])[0] for one in asked]  # the other blobs are not damaged
        return [
            None if parts is None else answers(self, "_read_ranges_many", parts, len(ranges))
            for (_, ranges), parts in zip(asked, found, strict=True)
        ]

    def map_here(self, key: str) -> memoryview | None:
        """Return a map of what this pool alone holds under ``key``.

        Args:
            key: The key.

        Returns:
            The bytes as they are stored, none of them verified; None where nothing is there, or the
            pool has no maps that stay as they are.
        """
        self._check_open()
        found = self._read_map(key)
        return None if found is None else byte_view(found)

    def reader_of(self, head: BlobHead, read: Read) -> tuple[Read, int]:
        """Return what reads parts of the plain blob in a transformed one.

        Args:
            head: The head of the transformed blob.
            read: What reads ranges of it.

        Returns:
            The function that reads ranges of the plain blob, and the size of that.
        """
        return self._sequence().reader(head, read)

    def placed(self, error: LailaError) -> LailaError:
        """Write this pool's name into an error, and return the error.

        Args:
            error: The error.

        Returns:
            The same error.
        """
        error.args = (f"{error} (in pool {shown(self.label)})",)
        error.pool = self.label  # type: ignore[attr-defined]  # parts of an error are attributes
        return error

    def delete_here(self, keys: Sequence[str]) -> list[bool]:
        """Delete ``keys`` in this pool alone; return for each whether it was there."""
        self._check_open()
        # If a backend does not say whether a key was there, it is asked before. Its first answer shows that.
        known = (
            None
            if self._tells_deletes
            else [answer(self, "_exists", self._exists(key), bool) for key in keys]
        )
        deleted = answers(self, "_delete_many", self._delete_many(keys), len(keys), bool, type(None))
        if deleted and self._tells_deletes is None:
            self._tells_deletes = all(answer is not None for answer in deleted)
        if known is None:
            return [bool(answer) for answer in deleted]
        return [before if answer is None else answer for before, answer in zip(known, deleted, strict=True)]

    def history_here(self, stem: str) -> list[int]:
        """Return the stored evolutions of ``stem`` in this pool alone, ascending.

        Args:
            stem: The id of a variable without its evolution.

        Returns:
            The numbers.
        """
        return self.histories_here([stem])[0]

    def histories_here(self, stems: Sequence[str]) -> list[list[int]]:
        """Return for each of ``stems`` its stored evolutions in this pool alone, ascending.

        Args:
            stems: Ids of variables without evolutions.

        Returns:
            Numbers for each stem.
        """
        self._check_open()
        if type(self)._evolutions is Backend._evolutions:
            return self._scan_evolutions(stems) if stems else []
        return [numbers_of(self, self._evolutions(stem)) for stem in stems]

    def newest_here(self, stems: Sequence[str]) -> list[str | None]:
        """Return for each of ``stems`` the key of its newest evolution in this pool alone, or None.

        Args:
            stems: Ids of variables without evolutions.

        Returns:
            A key or None for each stem.
        """
        self._check_open()
        if type(self)._newest is not Backend._newest:
            return [newest_of(self, stem, self._newest(stem)) for stem in stems]
        histories = zip(stems, self.histories_here(stems), strict=True)
        return [f"{stem}-{numbers[-1]}" if numbers else None for stem, numbers in histories]


def _fault_of_signature(stored: Blob, plain: Blob) -> LailaError | None:
    """Return why a stored blob with the content of ``plain`` cannot be read like it, or None.

    Somebody who can write to a pool can store other people's content without their signature, or with
    another.
    """
    if plain.signature is None:
        return None
    marks = ((blob.signature, blob.nickname, blob._meta) for blob in (stored, plain))
    if next(marks) == next(marks):
        return None
    from laila.codec.trust import verify_blob

    try:
        if verify_blob(stored) or not verify_blob(plain):
            return None  # a blob that somebody else signed with a missing key is passed on unchanged
    except UntrustedPayloadError:
        pass
    else:
        if stored.signature is not None:
            key_id = stored.signature[0]
            return UntrustedPayloadError(
                f"{plain.key} is stored with this content, but signed with the key {shown(key_id)}, which is "
                "not here: it was kept, and cannot be read here. If you trust who stored it, run 'laila keys "
                "import' with that key; or store it again with overwrite=True",
                key_id=key_id,
                type_name=None,
            )
    return CorruptEntryError(
        f"{plain.key} is stored with this content, but without a signature that verifies", key=plain.key
    )


def how_made(head: Blob | BlobHead) -> list[tuple[str, object]]:
    """Return how a digest was made: each transformation, and its key."""
    return [(name, params.get("key")) for name, params in head.transformations]


def groups(sized: Iterable[tuple[K, int]], room: int) -> Iterator[list[K]]:
    """Divide sized items into lists of at most ``room`` in total, or of a single larger item."""
    group: list[K] = []
    total = 0
    for item, size in sized:
        if group and total + size > room:
            yield group
            group, total = [], 0
        group.append(item)
        total += size
    if group:
        yield group


def _head_of(pool: object, key: str, stored: object) -> BlobHead:
    """Read the head that an author's method gave. Raises :class:`ContractError` for other types."""
    try:
        memoryview(stored)  # type: ignore[arg-type]  # told below
    except TypeError:
        raise ContractError(
            f"a read of the head of {key} gave a {type(stored).__name__}; it must give a blob, the bytes of "
            "its head at least, or None where there is nothing",
            plugin=type(pool).__qualname__,
        ) from None
    return Blob.read_head(stored, key=key)  # type: ignore[arg-type]  # it is bytes-like
