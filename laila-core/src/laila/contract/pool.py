"""The pool contract: what every pool does for its users, over what its author wrote.

A pool files blobs under keys. An author writes a class with six methods (`_read`, `_write`, `_delete`,
`_exists`, `_keys`, `_empty`), and more for speed and strength: see :mod:`laila.component.backend`. Everything
without an underscore is the same for all pools: transformations, the chain of tiers, the mapping side.
"""

from __future__ import annotations

from laila.blob.blob import Blob
from laila.component.authored import Authored, answer, keys_of
from laila.component.backend import Backend
from laila.errors import (
    EntryNotFoundError,
    InvalidArgumentError,
    LailaError,
    NotSupportedError,
    PoolKeyError,
    SettingsError,
    UnknownOptionError,
)
from laila.leasing.tables import MemoryLeases
from laila.showing import shown
from laila.tiering.chain import StoreOutcome
from laila.tiering.tier import Tier

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import ClassVar, Literal, Self, TypeVar, overload

    from laila.blob.head import BlobHead
    from laila.entry import Entry, Manifest
    from laila.futures import GroupFuture
    from laila.settings import Settings
    from laila.tiering.wrapper import PoolWrapper
    from laila.transform import Transformation, TransformationSequence

    T = TypeVar("T")

__all__ = ["MAX_KEY_BYTES", "Pool", "StoreOutcome"]

MAX_KEY_BYTES = 512
"""The longest key, in bytes of UTF-8, that every pool must take."""


def check_key(key: object) -> str:
    """Check a key that a caller gave.

    Args:
        key: A text of 1 to 512 bytes of UTF-8.

    Returns:
        The key.

    Raises:
        InvalidArgumentError: For what is no text (a ``TypeError``).
        PoolKeyError: For a text that is empty, too long or not valid Unicode (a ``ValueError``).
    """
    if not isinstance(key, str):
        raise InvalidArgumentError(f"a key is a str, not {type(key).__name__}")
    try:
        length = len(key.encode())
    except UnicodeEncodeError as error:
        raise PoolKeyError(f"the key {shown(key)} is not valid Unicode", key=key) from error
    if not 0 < length <= MAX_KEY_BYTES:
        raise PoolKeyError(
            f"a key has 1 to {MAX_KEY_BYTES} bytes of UTF-8, this one has {length}: {shown(key)}…", key=key
        )
    return key


class Pool(Authored, Tier):
    """Storage for blobs, and the base class of every pool.

    ``nickname`` names the pool; ``transformations`` (names such as ``"zstd"``, or transformation objects) are
    applied to every blob on its way in and undone on its way out; ``write="through"`` makes the chain that
    begins at this pool one store (see :func:`laila.tiers`). Calling the base class itself builds the
    in-memory pool, as ``pathlib.Path()`` builds a ``PosixPath``.
    """

    scope: ClassVar[str] = "POOL"
    for_authors = frozenset(
        name for name in vars(Backend) if name[:1] == "_" and name[:2] != "__" and name != "_scan_evolutions"
    ) | {"_close", "_facts", "_place", "_repr_html_"}
    keeps = frozenset(
        ("_counter", "_create_lock", "_failures", "_fill_lock", "_flights", "_leases", "_origin")
    ) | {"_tells_deletes", "_transformations", "_write_through"}
    promises: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "durability": ("none", "process", "power"),
        "writers": ("process", "host", "network"),
        "creation": ("process", "host", "network"),
        "batches": ("entry", "batch"),
        "listing": ("any", "sorted"),
        "fences": (True, False),
        "blocking": (True, False),
    }

    blocking: ClassVar[bool] = True
    """Whether a call may wait for a disk or a server. The verbs call a pool that never does in the caller."""

    # The promises of the pool beyond the duties of every pool. The conformance suite checks each of them.
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
    """What is written, or deleted, whole or not at all, also when the process dies: each entry, or each
    batch."""
    max_blob_bytes: ClassVar[int | None] = None
    """The largest blob that can be filed; None where only space limits it. A larger one is refused before
    anything of it is written."""
    fences: ClassVar[bool] = False
    """Whether ``_create_leased`` looks at the leases and stores in one step, so that a borrower never writes
    after another one has the lease, however long it was stopped."""
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
                f"write={shown(write)}: a pool takes write='through' (its whole chain is one store) or "
                "nothing",
                option="write",
            )
        self._transformations: TransformationSequence | None = None
        if transformations:
            from laila.transform import TransformationSequence

            self._transformations = TransformationSequence(transformations)
        self._init_tiers(write_through=write == "through")
        self._tells_deletes: bool | None = None
        self._leases = MemoryLeases()
        self.known_as: str | None = None  # what the policy that it was registered with calls it

    @classmethod
    def from_url(cls, url: str, **options: object) -> Self:
        """Build the pool that ``url`` names: what ``laila.memory.extend(url, **options)`` calls.

        The default gives the URL to a constructor that has ``url=``, and the path of the URL to one that has
        ``path=``: ``folder:///data/notes`` gives ``/data/notes``, ``folder:notes`` gives ``notes``. Override
        the method where the URL has more parts.

        Args:
            url: The URL, with the scheme that the plugin is registered for.
            options: Keyword arguments of the constructor.

        Raises:
            SettingsError: (a ``ValueError``) the URL has a part that the default gives no meaning to.
            NotSupportedError: the constructor has neither ``url=`` nor ``path=``.
        """
        from inspect import Parameter, signature

        parameters = signature(cls).parameters
        kinds = {parameter.kind for parameter in parameters.values()}
        if "url" in parameters or ("path" not in parameters and Parameter.VAR_KEYWORD in kinds):
            try:
                return cls(**{"url": url, **options})  # type: ignore[arg-type]  # what it takes is its own
            except UnknownOptionError as error:
                if "url" in parameters or error.option != "url":
                    raise
        if "path" not in parameters:
            raise NotSupportedError(
                f"no URL opens a {cls.__name__}: give its constructor a parameter path= (or url=), or the "
                "class a classmethod from_url(url, **options); without one, build the pool in code: "
                f"laila.memory.extend({cls.__name__}(…))"
            ) from None
        from urllib.parse import unquote, urlsplit

        parts = urlsplit(url)
        if parts.netloc or parts.query or parts.fragment or not parts.path:
            raise SettingsError(
                f"a {cls.__name__} is opened by a scheme and a path, as {parts.scheme}:///folder or "
                f"{parts.scheme}:folder; give options by keyword",
                option="url",
            )
        return cls(**{"path": unquote(parts.path), **options})  # type: ignore[arg-type]

    def options(self) -> dict[str, object]:
        """Return the JSON-able constructor arguments; transformations by name and public parameters."""
        options = super().options()
        if self._transformations is not None:
            options["transformations"] = self._transformations.snapshot()
        return options

    def _arguments(self) -> dict[str, object]:
        # Transformations are not JSON-able as they are; the chain is written down by the environment.
        return {k: v for k, v in super()._arguments().items() if k not in ("transformations", "write")}

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

    # -- what takes one step; everything else goes the way of `store` and `load` -----------------------------

    def file_new(self, blob: Blob) -> bool:
        """Store ``blob`` if that is one step: the pool never blocks, has no origin, and transforms nothing.

        Does nothing if it is not one step, or if the key is taken. Raises the errors of the backend.

        Args:
            blob: The blob.

        Returns:
            True if it was stored.
        """
        return not (
            self.blocking
            or self._closed
            or self._origin is not None
            or self._transformations is not None
            or self.max_blob_bytes is not None
        ) and answer(self, "_create", self._create(blob.key, blob), bool)

    def find(self, keys: Sequence[str]) -> Sequence[Blob] | None:
        """Return the plain blobs of ``keys`` if that is one step: all are here, and the pool never blocks.

        None if one of them is missing or transformed. Raises the errors of the backend.

        Args:
            keys: The keys.

        Returns:
            The blobs, or None.
        """
        if self.blocking or self._closed:
            return None
        blobs = self._read_many(keys)
        for key, blob in zip(keys, blobs, strict=True):
            if not isinstance(blob, Blob) or blob.transformations or blob.key != key:
                return None
        self._counter.count(len(keys), 0)
        return blobs  # type: ignore[return-value]  # each was looked at

    # -- the mapping side: this pool alone, except for a missing key -----------------------------------------

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
            from laila.tiering.wrapper import PoolWrapper

            return PoolWrapper(self, key.blueprint, key, key.global_id)
        blob = self.load([check_key(key)])[0]
        if isinstance(blob, BaseException):
            raise blob
        if blob is None:
            raise self._not_found(key)
        return blob

    if TYPE_CHECKING:

        @overload
        def get(self, key: str) -> Blob | None: ...
        @overload
        def get(self, key: str, default: T) -> Blob | T: ...
        @overload
        def get(self, key: Manifest, default: object = None) -> PoolWrapper: ...

    def get(self, key: str | Manifest, default: object = None) -> object:
        """Return ``pool[key]``, or ``default`` if no pool of the chain has ``key``. Blocks; thread-safe.

        A damaged entry is an error, also with a ``default``.

        Args:
            key: The key. A manifest gives its tree over this pool.
            default: What to return for a missing key.

        Returns:
            The plain blob, or ``default``.

        Raises:
            CorruptEntryError: what is filed under ``key`` is damaged.
        """
        try:
            return self[key]
        except EntryNotFoundError:
            return default

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
                f"cannot file {blob.key} under {shown(key)}: the key must equal the global id", key=key
            )
        item = (key, self._inward(self._outward(blob)))
        for error in self._too_large([item]).values():
            raise error
        self._write(*item)

    def __delitem__(self, key: str) -> None:
        """Delete ``key`` in this pool alone. Raises :class:`EntryNotFoundError` where it is not there."""
        if not self.delete_here([check_key(key)])[0]:
            raise self._not_found(key)

    def read_head(self, key: str) -> BlobHead | None:
        """Return the head of the blob that this pool alone has: digest, sizes, transformations. Blocks.

        Raises :class:`~laila.errors.CorruptEntryError` where it is damaged.

        Args:
            key: The key.

        Returns:
            The head, or None if this pool lacks the key.
        """
        (head,) = self.heads_here([check_key(key)])
        if isinstance(head, LailaError):
            raise head
        return Blob.read_head(head.head) if isinstance(head, Blob) else head

    def exists(self, key: str) -> bool:
        """Return whether this pool alone holds ``key``.

        Args:
            key: The key.

        Returns:
            True if this pool has it.
        """
        self._check_open()
        return answer(self, "_exists", self._exists(check_key(key)), bool)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.exists(key)

    def keys(self, as_generator: bool = False) -> Iterable[str]:
        """Return this pool's keys as a list, or as a generator that streams them.

        Args:
            as_generator: Whether to stream the keys.

        Returns:
            The keys.
        """
        self._check_open()
        keys = keys_of(self, self._keys())
        return keys if as_generator else list(keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys(as_generator=True))

    def __len__(self) -> int:
        """Count the entries of this pool alone. Blocks: the pool lists its keys for it."""
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return True  # an empty pool is a pool

    def empty(self) -> None:
        """Delete everything in this pool alone."""
        self._check_open()
        self._empty()

    def sync(self) -> None:
        """Flush delayed writes. Blocks.

        Raises:
            NotSupportedError: the pool delays no writes (a ``NotImplementedError``).
        """
        self._check_open()
        if type(self).flush is Pool.flush:
            raise NotSupportedError(f"{type(self).__name__} writes at once: there is nothing to sync")
        self.flush()

    def _not_found(self, key: str) -> EntryNotFoundError:
        return EntryNotFoundError(
            f"no entry {key} in pool {shown(self.label)}; list what is there with pool.keys()",
            key=key,
            pool=self.label,
        )

    def __le__(self, other: Pool) -> GroupFuture[str]:
        """Copy everything in ``other`` into this pool: ``dest <= src``. See :mod:`laila.tiering.copying`."""
        if isinstance(other, str):
            raise InvalidArgumentError("a URL is no pool yet: open it first, laila.memory.extend(url)")
        if not isinstance(other, Pool):
            return NotImplemented  # a PoolWrapper then says what it takes
        from laila.tiering.copying import copy_pool

        return copy_pool(self, other)

    def __repr__(self) -> str:
        if "_origin" not in vars(self):  # a debugger looks at one whose constructor has failed
            return f"<{type(self).__name__} that was not made>"
        from laila.tiering.display import chain_text

        return chain_text(self)

    def _repr_html_(self) -> str:
        """The chain as a table, for notebooks."""
        from laila.tiering.display import chain_html

        return chain_html(self)
