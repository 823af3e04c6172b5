"""The pool contract: what every pool does for its users, over what its author wrote.

A pool files blobs under keys. An author writes a class with six methods (`_read`, `_write`, `_delete`,
`_exists`, `_keys`, `_empty`), and more for speed and strength: see :mod:`laila.contract.backend`. Everything
without an underscore is the same for all pools: transformations, the chain of tiers, the mapping side.
"""

from __future__ import annotations

from errno import EFBIG

from laila.contract.backend import Backend, as_blob
from laila.contract.blob import Blob, BlobHead
from laila.contract.component import Component
from laila.contract.tiers import StoreOutcome, TierMixin
from laila.errors import (
    CorruptEntryError,
    EntryNotFoundError,
    InvalidArgumentError,
    LailaError,
    NotSupportedError,
    PoolClosedError,
    PoolError,
    PoolKeyError,
    SettingsError,
    TransformationError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import ClassVar, Literal, Self, overload

    from laila.contract.wrapper import PoolWrapper
    from laila.entry import Entry, Manifest
    from laila.futures import GroupFuture
    from laila.settings import Settings
    from laila.transform import Transformation, TransformationSequence

__all__ = ["MAX_KEY_BYTES", "Pool", "StoreOutcome", "how_made"]

MAX_KEY_BYTES = 512
"""The longest key, in bytes of UTF-8, that every pool must take."""


def check_key(key: object) -> str:
    """Return ``key``, or raise ``TypeError`` or ``ValueError`` where it is no text of 1 to 512 bytes."""
    if not isinstance(key, str):
        raise InvalidArgumentError(f"a key is a str, not {type(key).__name__}")
    try:
        length = len(key.encode())
    except UnicodeEncodeError as error:
        raise PoolKeyError(f"the key {key!r} is not valid Unicode", key=key) from error
    if not 0 < length <= MAX_KEY_BYTES:
        raise PoolKeyError(
            f"a key has 1 to {MAX_KEY_BYTES} bytes of UTF-8, this one has {length}: {key[:40]!r}…", key=key
        )
    return key


class Pool(TierMixin, Component, Backend):
    """Storage for blobs, and the base class of every pool.

    ``nickname`` names the pool; ``transformations`` (names such as ``"zstd"``, or transformation objects) are
    applied to every blob on its way in and undone on its way out; ``write="through"`` makes the chain that
    begins at this pool one store (see :func:`laila.tiers`). Calling the base class itself builds the
    in-memory pool, as ``pathlib.Path()`` builds a ``PosixPath``.
    """

    scope: ClassVar[str] = "POOL"

    blocking: ClassVar[bool] = True
    """Whether a call may wait for a disk or a server. The verbs call a pool that never does in the caller."""

    # What the pool promises, beyond what every pool owes. The conformance suite holds it to each of these.
    durability: Literal["none", "process", "power"] = "process"
    """What a finished write survives: nothing, the death of this process, or a power failure too. An option
    may change it for one pool."""
    writers: ClassVar[Literal["process", "host", "network"]] = "process"
    """Who may use what is stored at the same time, through pools of their own: the threads of one process,
    the processes of one host, or processes anywhere."""
    creation: ClassVar[Literal["process", "host", "network"]] = "process"
    """Among whom ``_create`` is atomic, so that of any number who create one key exactly one succeeds. The
    default of ``_create`` is atomic in one process."""
    batches: ClassVar[Literal["entry", "batch"]] = "entry"
    """What is written whole or not at all, also when the process dies: each entry, or each batch."""
    max_blob_bytes: ClassVar[int | None] = None
    """The largest blob that can be filed; None where only space limits it. A larger one is refused before
    anything of it is written."""
    listing: ClassVar[Literal["any", "sorted"]] = "any"
    """The order of ``keys()``: any, or that of their UTF-8 bytes."""

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        """Build the in-memory pool where the abstract class itself is called."""
        if cls is Pool:
            from laila.pool.memory import MemoryPool

            return MemoryPool.__new__(MemoryPool, *args, **kwargs)  # type: ignore[return-value]
        return super().__new__(cls, *args, **kwargs)

    def __init__(
        self,
        *,
        nickname: str | None = None,
        transformations: Iterable[str | Transformation] | TransformationSequence = (),
        write: Literal["through"] | None = None,
        settings: Settings | None = None,
    ) -> None:
        super().__init__(nickname=nickname, settings=settings)
        if write not in (None, "through"):
            raise SettingsError(
                f"write={write!r}: a pool takes write='through' (its whole chain is one store) or nothing",
                option="write",
            )
        self._transformations: TransformationSequence | None = None
        if transformations:
            from laila.transform import TransformationSequence

            self._transformations = TransformationSequence(transformations)
        self._init_tiers(write_through=write == "through")
        self._tells_deletes: bool | None = None
        self.known_as: str | None = None  # what the policy that it was registered with calls it

    @classmethod
    def from_url(cls, url: str, **options: object) -> Self:
        """Build the pool that ``url`` names; ``options`` are the constructor's. The default adds ``url=``."""
        return cls(**{"url": url, **options})  # type: ignore[arg-type]  # what the constructor takes is its own

    def options(self) -> dict[str, object]:
        """See :meth:`Component.options`; transformations are written down by name and public parameters."""
        options = super().options()
        if self._transformations is not None:
            options["transformations"] = self._transformations.snapshot()
        return options

    def _arguments(self) -> dict[str, object]:
        # Transformations are not JSON-able as they are; the chain is written down by the environment.
        return {k: v for k, v in super()._arguments().items() if k not in ("transformations", "write")}

    # -- blobs in, blobs out: what policies call -------------------------------------------------------------

    def _inward(self, blob: Blob) -> Blob:
        if self._transformations is None or self.would_make(blob):
            return blob
        return self._transformations.apply(blob)

    def would_make(self, blob: Blob) -> bool:
        """Whether ``blob`` is transformed, by what this pool applies and under the keys that it uses now."""
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
                f"pool {self.label!r} was closed; open it again before using it", pool=self.label
            )

    @property
    def label(self) -> str:
        """How messages name the pool: its nickname, what a policy calls it, or its class and place."""
        return self._nickname or self.known_as or f"{type(self).__name__} {self._place()}"

    def _facts(self) -> Mapping[str, object]:
        """What people want to see of this pool beside its counters: what is known at once, by its name."""
        return {}

    def _place(self) -> str:
        """Where the pool keeps what it holds, in a word for messages; by default the start of its uuid."""
        return self._uuid[:8]

    @property
    def pool_id(self) -> str:
        """The pool's global id."""
        return self.global_id

    @property
    def transformations(self) -> TransformationSequence | None:
        """The transformations applied to blobs on their way in, or None."""
        return self._transformations

    def store_here(self, blobs: Sequence[Blob], *, replace: bool = False) -> list[StoreOutcome | LailaError]:
        """File plain ``blobs`` here alone; say what became of each. Raises what the backend raises."""
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
        created = self._create_many(items)
        outcomes: list[StoreOutcome | LailaError] = [StoreOutcome.CREATED] * len(items)
        there = [] if all(created) else [i for i, made in enumerate(created) if not made]
        heads = self.heads_here([items[i][0] for i in there]) if there else ()
        for i, head in zip(there, heads, strict=True):
            outcomes[i] = self._compare(blobs[i], items[i][1], head)
        return outcomes

    def _too_large(self, items: Sequence[tuple[str, Blob]]) -> dict[int, LailaError]:
        """Return by place the errors of the blobs that are larger than this pool can file."""
        limit = self.max_blob_bytes
        if limit is None:
            return {}
        return {
            i: PoolError(
                f"{key} has {size} bytes, and pool {self.label!r} takes at most {limit}; split the payload, "
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
        """Decide by the content digest whether what is filed under ``blob.key`` is the same."""
        if head is None:  # deleted since: the place is free, unless somebody else is quicker again
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
        # A digest made under another key is compared with what this content's would be under that key.
        try:
            return head.digest == self.digest_as(head, blob.digest)
        except (CorruptEntryError, TransformationError):  # its key is not here, or not even named
            return False

    def digest_as(self, head: Blob | BlobHead, digest: bytes) -> bytes:
        """Return what a content with the plain ``digest`` would bear were it transformed as ``head`` says.

        Raises :class:`~laila.errors.TransformationError` where a key or a transformation is not here.
        """
        return self._sequence().digest_as(head.transformations, digest, key=head.key)

    def plain_digest(self, head: Blob | BlobHead) -> bytes | None:
        """Return the content's own digest, or None where ``head`` has one that is keyed.

        Raises as :meth:`digest_as` does.
        """
        return None if self._sequence().is_keyed(head.transformations) else head.digest

    def load_here(
        self, keys: Sequence[str], *, keep: Callable[[Blob], bool] | None = None
    ) -> list[Blob | BaseException | None]:
        """Read plain blobs from this pool alone: for each key the blob, None, or what is wrong with it.

        What ``keep`` says yes to is left as it is stored. Raises what the backend raises.
        """
        self._check_open()
        try:
            every = self._read_many(keys)
        except CorruptEntryError as error:
            if len(keys) == 1:
                return [self._placed(error)]
            return [self.load_here([key])[0] for key in keys]  # the others are not damaged
        loaded: list[Blob | BaseException | None] = []
        for key, found in zip(keys, every, strict=True):
            try:
                blob = None if found is None else as_blob(key, found)
            except CorruptEntryError as error:
                loaded.append(self._placed(error))
                continue
            if blob is not None and blob.transformations and not (keep is not None and keep(blob)):
                loaded.append(self.opened(blob))
            else:
                loaded.append(blob)
        return loaded

    def opened(self, blob: Blob) -> Blob | LailaError:
        """Return ``blob``, as it was read from here, with its transformations undone; or what is wrong."""
        try:
            return self._outward(blob)
        except (CorruptEntryError, TransformationError) as error:
            return self._placed(error)

    def sizes_here(self, keys: Sequence[str]) -> list[int | None]:
        """Return how many bytes each takes as it is stored; None where it is not here, or nobody knows."""
        self._check_open()
        try:
            return list(self._sizes(keys))
        except CorruptEntryError:  # reading the blobs will tell which
            return [None] * len(keys)

    def heads_here(self, keys: Sequence[str]) -> list[Blob | BlobHead | LailaError | None]:
        """Return for each key what tells its digest, None where this pool alone lacks it, or its damage."""
        self._check_open()
        try:
            return [
                Blob.read_head(found, key=key)
                if found is not None and not isinstance(found, (Blob, BlobHead))
                else found
                for key, found in zip(keys, self._read_heads(keys), strict=True)
            ]
        except CorruptEntryError as error:
            if len(keys) == 1:
                return [self._placed(error)]
            return [self.heads_here([key])[0] for key in keys]  # the others are not damaged

    def _placed(self, error: LailaError) -> LailaError:
        """Say in which pool it happened."""
        error.args = (f"{error} (in pool {self.label!r})",)
        error.pool = self.label  # type: ignore[attr-defined]  # parts of an error are attributes
        return error

    def read_head(self, key: str) -> BlobHead | None:
        """Return the head of what this pool alone holds under ``key``: digest, sizes, transformations.

        Raises :class:`~laila.errors.CorruptEntryError` where it is damaged.
        """
        (head,) = self.heads_here([check_key(key)])
        if isinstance(head, LailaError):
            raise head
        return Blob.read_head(head.head) if isinstance(head, Blob) else head

    def delete_here(self, keys: Sequence[str]) -> list[bool]:
        """Delete ``keys`` in this pool alone and say of each whether it was there."""
        self._check_open()
        # A backend that does not tell is asked before; whether this one tells is learnt from an answer.
        known = None if self._tells_deletes else [self._exists(key) for key in keys]
        told = self._delete_many(keys)
        if told and self._tells_deletes is None:
            self._tells_deletes = all(answer is not None for answer in told)
        if known is None:
            return [bool(answer) for answer in told]
        return [before if answer is None else answer for before, answer in zip(known, told, strict=True)]

    def history_here(self, stem: str) -> list[int]:
        """Return the stored evolutions of ``stem`` in this pool alone, ascending."""
        return self.histories_here([stem])[0]

    def histories_here(self, stems: Sequence[str]) -> list[list[int]]:
        """Return for each of ``stems`` its stored evolutions in this pool alone, ascending."""
        self._check_open()
        if type(self)._evolutions is Pool._evolutions:
            return self._scan_evolutions(stems) if stems else []
        return [self._evolutions(stem) for stem in stems]

    def newest_here(self, stems: Sequence[str]) -> list[str | None]:
        """Return for each of ``stems`` the key of its newest evolution in this pool alone, or None."""
        self._check_open()
        if type(self)._newest is not Pool._newest:
            return [self._newest(stem) for stem in stems]
        histories = zip(stems, self.histories_here(stems), strict=True)
        return [f"{stem}-{numbers[-1]}" if numbers else None for stem, numbers in histories]

    # -- the mapping side: this pool alone, but for a missing key --------------------------------------------

    if TYPE_CHECKING:

        @overload
        def __getitem__(self, key: str) -> Blob: ...
        @overload
        def __getitem__(self, key: Manifest) -> PoolWrapper: ...

    def __getitem__(self, key: str | Manifest) -> Blob | PoolWrapper:
        """Return the plain blob filed under ``key``; where it is missing, the origin's, through the tiers.

        For a manifest: a :class:`PoolWrapper` with the manifest's tree, each leaf read on access. Raises
        :class:`EntryNotFoundError` (a ``KeyError``) where the key is nowhere in the chain.
        """
        if not isinstance(key, str):
            from laila.entry import Manifest

            if not isinstance(key, Manifest):
                raise InvalidArgumentError(f"pool[…] takes a key or a manifest, not {type(key).__name__}")
            from laila.contract.wrapper import PoolWrapper

            return PoolWrapper(self, key.blueprint, key.global_id)
        found = self.load([check_key(key)])[0]
        if isinstance(found, BaseException):
            raise found
        if found is None:
            raise self._not_found(key)
        return found

    def __setitem__(self, key: str, entry: bytes | str | Blob | Entry | Mapping[str, object]) -> None:
        """File ``entry`` under ``key`` in this pool alone, replacing what is there.

        An Entry, a serialized entry or a Blob must bear ``key`` as its id; the bytes of a blob are taken as
        that blob; other bytes, and text, are filed as payloads of their own.
        """
        self._check_open()
        from laila.entry import as_blob

        blob = as_blob(check_key(key), entry)
        if blob.key != key:
            raise PoolKeyError(
                f"cannot file {blob.key} under {key!r}: the key must equal the global id", key=key
            )
        item = (key, self._inward(self._outward(blob)))
        for error in self._too_large([item]).values():
            raise error
        self._write(*item)

    def __delitem__(self, key: str) -> None:
        """Delete ``key`` in this pool alone. Raises :class:`EntryNotFoundError` where it is not there."""
        if not self.delete_here([check_key(key)])[0]:
            raise self._not_found(key)

    def exists(self, key: str) -> bool:
        """Return whether this pool alone holds ``key``."""
        self._check_open()
        return self._exists(check_key(key))

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.exists(key)

    def keys(self, as_generator: bool = False) -> Iterable[str]:
        """Return this pool's keys as a list, or as a generator that streams them."""
        self._check_open()
        return self._keys() if as_generator else list(self._keys())

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys(as_generator=True))

    def empty(self) -> None:
        """Delete everything in this pool alone."""
        self._check_open()
        self._empty()

    def sync(self) -> None:
        """Flush delayed writes. Raises ``NotImplementedError`` where the pool has none to flush."""
        self._check_open()
        if type(self).flush is Pool.flush:
            raise NotSupportedError(f"{type(self).__name__} writes at once: there is nothing to sync")
        self.flush()

    def _not_found(self, key: str) -> EntryNotFoundError:
        return EntryNotFoundError(
            f"no entry {key} in pool {self.label!r}; list what is there with pool.keys()",
            key=key,
            pool=self.label,
        )

    def __le__(self, other: Pool) -> GroupFuture[str]:
        """Copy everything in ``other`` into this pool: ``dest <= src``. See :mod:`laila.contract.copying`."""
        if not isinstance(other, Pool):
            return NotImplemented  # a PoolWrapper then says what it takes
        from laila.contract.copying import copy_pool

        return copy_pool(self, other)

    def __repr__(self) -> str:
        from laila.contract.display import chain_text

        return chain_text(self)

    def _repr_html_(self) -> str:
        """The chain as a table, for notebooks."""
        from laila.contract.display import chain_html

        return chain_html(self)


def how_made(head: Blob | BlobHead) -> list[tuple[str, object]]:
    """Return how a digest was made: each transformation, and the key it was made under."""
    return [(name, params.get("key")) for name, params in head.transformations]
