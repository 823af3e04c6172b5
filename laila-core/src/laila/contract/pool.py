"""The pool contract: what an author implements, and what every pool then does for its users.

A pool files blobs under keys. An author writes a class with six methods (`_read`, `_write`, `_delete`,
`_exists`, `_keys`, `_empty`); the rest of the underscore methods have defaults that work and may be replaced
for speed and strength. Everything without an underscore is the same for all pools: transformations, the
chain of tiers, the mapping side. Blobs reach the author already transformed and leave through here.

Thread-safety: an author's methods may be called from several threads at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from threading import Lock

from laila.contract.blob import Blob, BlobHead
from laila.contract.component import Component
from laila.contract.tiers import TierCounter, TierMixin
from laila.errors import (
    CorruptEntryError,
    EntryNotFoundError,
    PoolClosedError,
    SettingsError,
    TransformationError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import ClassVar, Literal, Self

    from laila.contract.blob import BytesLike
    from laila.entry import Entry, Manifest
    from laila.futures import GroupFuture
    from laila.settings import Settings
    from laila.transform import Transformation, TransformationSequence

__all__ = ["MAX_KEY_BYTES", "Pool", "PoolWrapper", "StoreOutcome"]

MAX_KEY_BYTES = 512
"""The longest key, in bytes of UTF-8, that every pool must take."""


class StoreOutcome:
    """What became of one blob in :meth:`Pool.store`: the three answers a store can give."""

    CREATED: ClassVar[StoreOutcome]
    """It was not there and is now, or was replaced as asked."""
    SAME: ClassVar[StoreOutcome]
    """The same content was there already; nothing was written."""
    CONFLICT: ClassVar[StoreOutcome]
    """Another content is there; nothing was written."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"StoreOutcome.{self._name}"


StoreOutcome.CREATED = StoreOutcome("CREATED")
StoreOutcome.SAME = StoreOutcome("SAME")
StoreOutcome.CONFLICT = StoreOutcome("CONFLICT")


def check_key(key: object) -> str:
    """Return ``key``, or raise ``TypeError`` or ``ValueError`` where it is no text of 1 to 512 bytes."""
    if not isinstance(key, str):
        raise TypeError(f"a key is a str, not {type(key).__name__}")
    try:
        length = len(key.encode())
    except UnicodeEncodeError as error:
        raise ValueError(f"the key {key!r} is not valid Unicode") from error
    if not 0 < length <= MAX_KEY_BYTES:
        raise ValueError(f"a key has 1 to {MAX_KEY_BYTES} bytes of UTF-8, this one has {length}: {key[:40]!r}…")
    return key


class Pool(TierMixin, Component, ABC):
    """Storage for blobs, and the base class of every pool.

    ``nickname`` names the pool; ``transformations`` (names such as ``"zstd"``, or transformation objects) are
    applied to every blob on its way in and undone on its way out; ``write="through"`` makes the chain that
    begins at this pool one store (see :func:`laila.tiers`). Calling the base class itself builds the
    in-memory pool, as ``pathlib.Path()`` builds a ``PosixPath``.
    """

    scope: ClassVar[str] = "POOL"

    blocking: ClassVar[bool] = True
    """Whether a call may wait for a disk or a server. The verbs call a pool that never does in the caller."""
    durability: ClassVar[Literal["none", "process", "power"]] = "process"
    """What a finished write survives: nothing, the death of this process, or a power failure too."""

    def __new__(cls, *args: object, **kwargs: object) -> Self:
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
        self._counter = TierCounter()
        self._tells_deletes: bool | None = None
        self._create_lock = Lock()

    @classmethod
    def from_url(cls, url: str, **options: object) -> Self:
        """Build the pool that ``url`` names; ``options`` are the constructor's. The default passes ``url=`` on."""
        return cls(url=url, **options)

    def options(self) -> dict[str, object]:
        """See :meth:`Component.options`; transformations are written down by name and public parameters."""
        options = super().options()
        if self._transformations is not None:
            options["transformations"] = self._transformations.snapshot()
        if self._write_through:
            options["write"] = "through"
        return options

    def _arguments(self) -> dict[str, object]:
        return {k: v for k, v in super()._arguments().items() if k not in ("transformations", "write")}

    # -- what an author writes --------------------------------------------------------------------------------

    @abstractmethod
    def _read(self, key: str) -> Blob | BytesLike | Sequence[BytesLike] | None:
        """Return what was written under ``key``: the blob, its bytes, or its head and buffers; None if absent."""

    @abstractmethod
    def _write(self, key: str, blob: Blob) -> None:
        """File ``blob`` under ``key``, replacing what is there. All of it or nothing is seen by readers."""

    @abstractmethod
    def _delete(self, key: str) -> bool | None:
        """Delete ``key`` and return whether it was there, or None where the backend does not tell."""

    @abstractmethod
    def _exists(self, key: str) -> bool:
        """Return whether ``key`` is there."""

    @abstractmethod
    def _keys(self) -> Iterator[str]:
        """Yield every key once, in any order, streaming where the backend can."""

    @abstractmethod
    def _empty(self) -> None:
        """Delete everything in the pool."""

    # -- what an author may write for speed and strength ------------------------------------------------------

    def _create(self, key: str, blob: Blob) -> bool:
        """File ``blob`` unless ``key`` is there; return whether it was filed.

        The default checks and writes under a lock of this process: not atomic across processes.
        """
        with self._create_lock:
            if self._exists(key):
                return False
            self._write(key, blob)
            return True

    def _read_many(self, keys: Sequence[str]) -> Sequence[Blob | BytesLike | Sequence[BytesLike] | None]:
        """Read several keys; one answer a key, in their order."""
        return [self._read(key) for key in keys]

    def _write_many(self, items: Sequence[tuple[str, Blob]]) -> None:
        """Write several blobs. An error may leave some of them written, each whole."""
        for key, blob in items:
            self._write(key, blob)

    def _create_many(self, items: Sequence[tuple[str, Blob]]) -> Sequence[bool]:
        """Create several blobs; one answer an item, in their order."""
        return [self._create(key, blob) for key, blob in items]

    def _delete_many(self, keys: Sequence[str]) -> Sequence[bool | None]:
        """Delete several keys; one answer a key, in their order."""
        return [self._delete(key) for key in keys]

    def _read_head(self, key: str) -> BlobHead | BytesLike | None:
        """Return at least the head of what is filed under ``key``, without its buffers where that is cheaper."""
        found = self._read(key)
        return None if found is None else self._as_blob(key, found).head

    def _newest(self, stem: str) -> str | None:
        """Return the key ``<stem>-<n>`` with the greatest ``n``, or None. The default looks at every key."""
        numbers = self._evolutions(stem)
        return f"{stem}-{numbers[-1]}" if numbers else None

    def _evolutions(self, stem: str) -> list[int]:
        """Return the numbers ``n`` of the keys ``<stem>-<n>``, ascending. The default looks at every key."""
        prefix = stem + "-"
        cut = len(prefix)
        return sorted(int(key[cut:]) for key in self._keys() if key.startswith(prefix) and key[cut:].isdecimal())

    def flush(self) -> None:
        """Return when everything acknowledged is as durable as the pool promises. The default has no delay."""

    # -- blobs in, blobs out: what policies call --------------------------------------------------------------

    def _as_blob(self, key: str, found: Blob | BytesLike | Sequence[BytesLike]) -> Blob:
        """Check what an author's method returned, and make it a blob."""
        if isinstance(found, Blob):
            return found
        if isinstance(found, (bytes, bytearray, memoryview)):
            return Blob.from_bytes(found, key=key)
        if isinstance(found, (list, tuple)):
            return Blob.from_parts(found, key=key)
        return Blob.from_bytes(memoryview(found).cast("B"), key=key)  # type: ignore[arg-type]

    def _inward(self, blob: Blob) -> Blob:
        return blob if self._transformations is None else self._transformations.apply(blob)

    def _outward(self, blob: Blob) -> Blob:
        if not blob.transformations:
            return blob
        from laila.transform import TransformationSequence

        return (self._transformations or TransformationSequence(())).invert(blob)

    def _check_open(self) -> None:
        if self._closed:
            raise PoolClosedError(f"{self!r} was closed; open it again before using it", pool=self.label)

    @property
    def label(self) -> str:
        """The pool's nickname, or its global id: how messages name it."""
        return self._nickname or self.global_id

    @property
    def pool_id(self) -> str:
        """The pool's global id."""
        return self.global_id

    @property
    def transformations(self) -> TransformationSequence | None:
        """The transformations applied to blobs on their way in, or None."""
        return self._transformations

    def store_here(self, blobs: Sequence[Blob], *, replace: bool = False) -> list[StoreOutcome]:
        """File plain ``blobs`` in this pool alone and say what became of each. Raises what the backend raises."""
        self._check_open()
        items = [(blob.key, self._inward(blob)) for blob in blobs]
        if replace:
            self._write_many(items)
            return [StoreOutcome.CREATED] * len(items)
        created = self._create_many(items)
        return [
            StoreOutcome.CREATED if made else self._compare(blob, inward)
            for made, blob, (_, inward) in zip(created, blobs, items, strict=True)
        ]

    def _compare(self, blob: Blob, inward: Blob) -> StoreOutcome:
        """Decide by the content digest whether what is filed under ``blob.key`` is the same."""
        head = self.read_head(blob.key)
        if head is not None and head.digest == inward.digest:
            return StoreOutcome.SAME
        if head is not None and head.transformations != inward.transformations:
            # Digests made under other keys do not compare: undo the transformations and compare the contents'.
            stored = self.load_here([blob.key])[0]
            if isinstance(stored, Blob) and stored.digest == blob.digest:
                return StoreOutcome.SAME
        return StoreOutcome.CONFLICT

    def load_here(self, keys: Sequence[str]) -> list[Blob | BaseException | None]:
        """Read plain blobs from this pool alone: for each key the blob, None, or the error of damage or a key.

        Raises what the backend raises.
        """
        self._check_open()
        loaded: list[Blob | BaseException | None] = []
        for key, found in zip(keys, self._read_many(keys), strict=True):
            try:
                loaded.append(None if found is None else self._outward(self._as_blob(key, found)))
            except CorruptEntryError as error:
                loaded.append(
                    CorruptEntryError(f"{error} (in pool {self.label!r})", key=key, pool=self.label).with_traceback(
                        error.__traceback__
                    )
                )
            except TransformationError as error:
                loaded.append(error)
        return loaded

    def read_head(self, key: str) -> BlobHead | None:
        """Return the head of what this pool alone holds under ``key``: digest, sizes, transformations."""
        self._check_open()
        found = self._read_head(key)
        if found is None or isinstance(found, BlobHead):
            return found
        return Blob.read_head(found, key=key)

    def delete_here(self, keys: Sequence[str]) -> list[bool]:
        """Delete ``keys`` in this pool alone and say of each whether it was there."""
        self._check_open()
        # A backend that does not tell is asked before; whether this one tells is learnt from its first answer.
        known = None if self._tells_deletes else [self._exists(key) for key in keys]
        told = self._delete_many(keys)
        if told and self._tells_deletes is None:
            self._tells_deletes = all(answer is not None for answer in told)
        if known is None:
            return [bool(answer) for answer in told]
        return [before if answer is None else answer for before, answer in zip(known, told, strict=True)]

    def history_here(self, stem: str) -> list[int]:
        """Return the stored evolutions of ``stem`` in this pool alone, ascending."""
        self._check_open()
        return self._evolutions(stem)

    # -- the mapping side: this pool alone, but for a missing key ---------------------------------------------

    def __getitem__(self, key: str | Manifest) -> Blob | PoolWrapper:
        """Return the plain blob filed under ``key``, from the origin and through the tiers where it is missing.

        For a manifest: a :class:`PoolWrapper` with the manifest's tree, each leaf read on access. Raises
        :class:`EntryNotFoundError` (a ``KeyError``) where the key is nowhere in the chain.
        """
        if not isinstance(key, str):
            from laila.entry import Manifest

            if not isinstance(key, Manifest):
                raise TypeError(f"pool[…] takes a key or a manifest, not {type(key).__name__}")
            return PoolWrapper(self, key.blueprint)
        found = self.load([check_key(key)])[0]
        if isinstance(found, BaseException):
            raise found
        if found is None:
            raise self._not_found(key)
        return found

    def __setitem__(self, key: str, entry: bytes | str | Blob | Entry | Mapping[str, object]) -> None:
        """File ``entry`` under ``key`` in this pool alone, replacing what is there.

        An Entry, a serialized entry or a Blob must bear ``key`` as its id; the bytes of a blob are taken as that
        blob; other bytes, and text, are filed as payloads of their own.
        """
        self._check_open()
        from laila.entry import as_blob

        blob = as_blob(check_key(key), entry)
        if blob.key != key:
            raise ValueError(f"cannot file {blob.key} under {key!r}: the key must equal the global id")
        self._write(key, self._inward(blob))

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
            raise NotImplementedError(f"{type(self).__name__} writes at once: there is nothing to sync")
        self.flush()

    def _not_found(self, key: str) -> EntryNotFoundError:
        return EntryNotFoundError(
            f"no entry {key} in pool {self.label!r}; list what is there with pool.keys()", key=key, pool=self.label
        )

    def __le__(self, other: Pool) -> GroupFuture:
        """Copy everything in ``other`` into this pool: ``dest <= src``. See :mod:`laila.contract.copying`."""
        if not isinstance(other, Pool):
            return NotImplemented
        from laila.contract.copying import copy_pool

        return copy_pool(self, other)

    def __repr__(self) -> str:
        counts = self._counter
        chain = f" << {self._origin.label}" if self._origin is not None else ""
        return f"{super().__repr__()[:-1]}{chain} hits={counts.hits} misses={counts.misses}>"


class PoolWrapper:
    """A manifest's tree as one pool holds it: dict keys and list indexes lead to leaves, read when accessed."""

    def __init__(self, pool: Pool, tree: object) -> None:
        self._pool = pool
        self._tree = tree

    def __getitem__(self, key: object) -> object:
        """Go one step down the tree: a PoolWrapper for a branch, the plain blob for a leaf."""
        node = self._tree[key]  # type: ignore[index]
        return self._pool[node] if isinstance(node, str) else PoolWrapper(self._pool, node)

    def __iter__(self) -> Iterator[object]:
        return iter(self._tree)  # type: ignore[call-overload, no-any-return]

    def __len__(self) -> int:
        return len(self._tree)  # type: ignore[arg-type]

    def __contains__(self, key: object) -> bool:
        return key in self._tree  # type: ignore[operator]

    def __repr__(self) -> str:
        return f"<PoolWrapper of {self._pool.label!r}: {self._tree!r}>"

