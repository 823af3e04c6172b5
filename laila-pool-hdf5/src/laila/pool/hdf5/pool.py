"""The pool itself: the contract's methods, each one transaction or one look into the index."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import quote, unquote, urlsplit

from laila.contract import Blob, LeaseFile, Pool, Settings, option, shown, shown_url
from laila.errors import SettingsError
from laila.pool.hdf5.locking import NO_LOCKS
from laila.pool.hdf5.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from laila.contract import BytesLike, Transformation, TransformationSequence
    from laila.pool.hdf5.poolfile import Transaction

__all__ = ["HDF5Pool", "HDF5Settings"]


class HDF5Settings(Settings):
    """The options of :class:`HDF5Pool`."""

    prefix = "hdf5"

    path: str | None = option(
        default=None,
        help="the file, made if missing; by default `laila.h5` or `<nickname>.h5` in the `pools` directory",
    )
    durable: Literal["power", "process"] = option(
        printed=True,
        default="power",
        help="what a finished write survives: a power failure, or (quicker) only the death of the process",
    )
    lock: Literal["wait", "error", "none"] = option(
        printed=True,
        default="wait",
        help="when another process is at the file: wait, or raise PoolLockedError at once; `none` takes no "
        "locks, for file systems that have none, where nobody else writes",
    )
    lock_timeout: float = option(
        printed=True, default=30.0, help="seconds to wait with `lock='wait'` before PoolLockedError"
    )
    read_only: bool = option(
        printed=True, default=False, help="never write, and follow what other processes write"
    )
    compact: Literal["auto", "manual"] = option(
        printed=True,
        default="auto",
        help="give back the space of deleted entries when they fill most of the file, or in `compact()` only",
    )


class HDF5Pool(Pool):
    """A pool in one HDF5 file, crash-safe, shared by threads and processes.

    Large arrays are native datasets under ``/entries``; small blobs are packed. A write that has returned
    survives ``kill -9`` and, with ``durable="power"``, the loss of power. Any other write has happened whole
    or not at all. The page ``docs/reference/pool-hdf5.md`` has the details.

    ``path`` is the file; the other options are those of :class:`HDF5Settings`. Thread-safe; reads do not wait
    for writes. Usable in a forked child.

    Raises:
        PoolFormatError: the file is not a laila pool; it was left as it is.
        PoolLockedError: another process kept the file longer than ``lock_timeout``.
        PoolError: the system refused, with its ``errno``; nothing was changed.
    """

    laila_contract = 1
    writers = "host"
    creation = "host"
    batches = "batch"
    fences = True
    durability: Literal["none", "process", "power"] = "power"  # unless the settings say otherwise

    settings: HDF5Settings

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        nickname: str | None = None,
        *,
        transformations: Iterable[str | Transformation] | TransformationSequence = (),
        write: Literal["through"] | None = None,
        durable: Literal["power", "process"] | None = None,
        lock: Literal["wait", "error", "none"] | None = None,
        lock_timeout: float | None = None,
        read_only: bool | None = None,
        compact: Literal["auto", "manual"] | None = None,
    ) -> None:
        settings = HDF5Settings.resolve(
            {
                "path": os.fspath(path) if isinstance(path, os.PathLike) else path,
                "durable": durable,
                "lock": lock,
                "lock_timeout": lock_timeout,
                "read_only": read_only,
                "compact": compact,
            }
        )
        if settings.lock_timeout < 0:
            raise SettingsError(
                f"lock_timeout={shown(settings.lock_timeout)} is less than 0 seconds", option="lock_timeout"
            )
        super().__init__(nickname=nickname, transformations=transformations, write=write, settings=settings)
        self.durability = settings.durable
        self._store = Store(
            _default_path(nickname) if settings.path is None else os.path.expanduser(settings.path),
            durable=settings.durable == "power",
            timeout={"wait": settings.lock_timeout, "error": 0.0, "none": NO_LOCKS}[settings.lock],
            read_only=settings.read_only,
            compact=settings.compact == "auto",
        )
        self._lent = LeaseFile(f"{self.path}.leases", like=self.path, read_only=settings.read_only)

    @classmethod
    def from_url(cls, url: str, **options: object) -> Self:
        """Open ``hdf5:///absolute/path.h5``, ``hdf5:relative.h5``, or ``hdf5:`` for the default file.

        The query may hold options (``?durable=process&lock=error``); ``options`` override the query. In the
        path ``%`` quotes characters that a URL cannot hold. Raises :class:`~laila.errors.SettingsError` for
        any other URL.
        """
        parts = urlsplit(url)
        if parts.scheme != "hdf5" or parts.netloc or parts.fragment:
            raise SettingsError(
                f"{shown_url(url)} is no URL of an HDF5 pool: write hdf5:///absolute/path.h5 or "
                "hdf5:relative.h5",
                option="url",
            )
        settings = HDF5Settings.parse_query(parts.query)
        if parts.path and not (url.startswith("hdf5://") and parts.path == "/"):
            settings["path"] = unquote(parts.path)
        return cls(**{**settings, **options})  # type: ignore[arg-type]  # checked by HDF5Settings

    @property
    def path(self) -> str:
        """The absolute path of the file."""
        return self._store.path

    def options(self) -> dict[str, object]:
        """Return the options that :class:`laila.contract.Pool` lists, with a given path made absolute."""
        options = super().options()
        if self.settings.path is not None:
            options["path"] = self.path
        return options

    def _place(self) -> str:
        return os.path.basename(self.path)

    # -- reading -------------------------------------------------------------------------------------------

    def _read(self, key: str) -> bytes | Blob | None:
        blob = self._find(key, mapped=False)
        return Blob.from_parts(blob, key=key, owned=True) if isinstance(blob, list) else blob

    def _read_views(self, keys: Sequence[str]) -> list[bytes | list[BytesLike] | None]:
        return [self._find(key, mapped=True) for key in keys]

    def _find(self, key: str, *, mapped: bool) -> bytes | list[BytesLike] | None:
        file = self._store.current()
        entry = file.index.entries.get(key)
        return None if entry is None else file.read(entry, mapped=mapped)

    def _read_many(self, keys: Sequence[str]) -> list[bytes | list[BytesLike] | None]:
        file = self._store.current()
        find = file.index.entries.get
        return [None if (entry := find(key)) is None else file.read(entry) for key in keys]

    def _read_head(self, key: str) -> bytes | None:
        file = self._store.current()
        entry = file.index.entries.get(key)
        return None if entry is None else file.read_head(entry)

    def _read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes] | None:
        file = self._store.current()
        entry = file.index.entries.get(key)
        return None if entry is None else file.read_ranges(entry, ranges)

    def _exists(self, key: str) -> bool:
        return key in self._store.current().index.entries

    def _keys(self) -> Iterator[str]:
        # A copy of the present keys: nobody can walk a dict that another thread changes.
        return iter(list(self._store.current().index.entries))

    def _evolutions(self, stem: str) -> list[int]:
        return self._store.evolutions(stem)

    def _newest(self, stem: str) -> str | None:
        numbers = self._store.evolutions(stem)
        return f"{stem}-{numbers[-1]}" if numbers else None

    # -- writing -------------------------------------------------------------------------------------------

    def _write(self, key: str, blob: Blob) -> None:
        self._write_many([(key, blob)])

    def _write_many(self, items: Sequence[tuple[str, Blob]]) -> None:
        last = dict(items)

        def change(transaction: Transaction) -> None:
            for key, blob in last.items():
                transaction.put(key, blob)

        self._store.transact(change, frozenset(last))

    def _create(self, key: str, blob: Blob) -> bool:
        return self._create_many([(key, blob)])[0]

    def _create_many(self, items: Sequence[tuple[str, Blob]]) -> list[bool]:
        def change(transaction: Transaction) -> list[bool]:
            created: list[bool] = []
            new: set[str] = set()
            for key, blob in items:
                fresh = key not in transaction.entries and key not in new
                if fresh:
                    new.add(key)
                    transaction.put(key, blob)
                created.append(fresh)
            return created

        return self._store.transact(change, frozenset(key for key, _ in items))

    def _create_together(self, items: Sequence[tuple[str, Blob]]) -> bool:
        keys = frozenset(key for key, _ in items)
        if len(keys) < len(items):
            return False

        def change(transaction: Transaction) -> bool:
            if not keys.isdisjoint(transaction.entries):
                return False
            for key, blob in items:
                transaction.put(key, blob)
            return True

        return self._store.transact(change, keys)

    def _lease_table(self) -> LeaseFile:
        return self._lent

    def _create_leased(self, items: Sequence[tuple[str, Blob]], tokens: Mapping[str, bytes]) -> bool:
        with self._lent.held(tokens):
            return self._create_together(items)

    def _delete(self, key: str) -> bool:
        return self._delete_many([key])[0]

    def _delete_many(self, keys: Sequence[str]) -> list[bool]:
        def change(transaction: Transaction) -> list[bool]:
            deleted: list[bool] = []
            gone: set[str] = set()
            for key in keys:
                exists = key in transaction.entries and key not in gone
                if exists:
                    gone.add(key)
                    transaction.delete(key)
                deleted.append(exists)
            return deleted

        return self._store.transact(change, frozenset(keys))

    def _empty(self) -> None:
        def change(transaction: Transaction) -> None:
            if transaction.entries:
                transaction.clear()

        self._store.transact(change, None)

    def compact(self) -> int:
        """Give back the space of deleted and replaced entries. Blocks; readers go on, writers wait.

        The living entries are written into a new file, which then takes the place of the old file at once.
        After a crash one of the two files is there, whole. Needs as much free space as the result.


        Returns:
            How many bytes smaller the file is.
        """
        self._check_open()
        return self._store.compact()

    def _close(self) -> None:
        self._store.close()


def _default_path(nickname: str | None) -> str:
    from laila.contract import directory

    # Each named pool has a file of its own. Any name is a file name once characters that a path cannot hold
    # are quoted.
    name = "laila" if nickname is None else quote(nickname, safe=" !#$&'()+,;=@[]{}~").replace(".", "%2E")
    return os.path.join(directory("pools"), f"{name}.h5")
