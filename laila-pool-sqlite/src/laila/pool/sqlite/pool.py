"""The pool: laila's contract in SQL."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, Self, TypeVar
from urllib.parse import unquote, urlsplit
from weakref import finalize

from laila.contract import (
    MAX_KEY_BYTES,
    Blob,
    LeaseFile,
    Pool,
    counts_evolution,
    logger,
    said,
    shown,
    shown_url,
)
from laila.errors import CorruptEntryError, PoolError, PoolFormatError, ReentryError, SettingsError
from laila.pool.sqlite import layout
from laila.pool.sqlite.bound import Bound, largest_blob
from laila.pool.sqlite.database import Database
from laila.pool.sqlite.reporting import is_damage
from laila.pool.sqlite.settings import SQLiteSettings, default_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from laila.contract import Transformation, TransformationSequence

__all__ = ["SQLitePool"]

_SIZE = "SELECT size FROM entries WHERE key = ?"
_EXISTS = "SELECT 1 FROM entries WHERE key = ?"
_KEYS = "SELECT key FROM entries WHERE key > ? ORDER BY key LIMIT 1000"
_EVOLUTIONS = "SELECT evolution FROM entries WHERE stem = ? ORDER BY evolution"
_NEWEST = f"{_EVOLUTIONS} DESC LIMIT 1"

T = TypeVar("T")

_log = logger(__name__)


class SQLitePool(Pool):
    """A pool in one SQLite file, shared by the threads and processes of one host.

    ``path`` is the file; the other options are those of :class:`SQLiteSettings`. Thread-safe; readers wait
    for nobody. May be used in a forked child. The page ``docs/reference/pool-sqlite.md`` has the details, and
    says what network file systems allow.

    Raises:
        PoolFormatError: the file is not this pool's; it was left as it is. Or it is damaged.
        PoolLockedError: others wrote for longer than ``lock_timeout``.
        PoolError: SQLite or the system refused, with an ``errno``; nothing was changed.
    """

    laila_contract = 1
    writers = "host"
    creation = "host"
    batches = "batch"
    durability: Literal["none", "process", "power"] = "power"  # unless the settings say otherwise
    fences = True
    listing = "sorted"
    max_blob_bytes = layout.MOST_BYTES

    settings: SQLiteSettings

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        nickname: str | None = None,
        *,
        transformations: Iterable[str | Transformation] | TransformationSequence = (),
        write: Literal["through"] | None = None,
        durable: Literal["power", "process"] | None = None,
        lock_timeout: float | None = None,
        read_only: bool | None = None,
        max_bytes: int | None = None,
    ) -> None:
        settings = SQLiteSettings.resolve(
            {
                "path": os.fspath(path) if isinstance(path, os.PathLike) else path,
                "durable": durable,
                "lock_timeout": lock_timeout,
                "read_only": read_only,
                "max_bytes": max_bytes,
            }
        )
        settings.check()
        super().__init__(nickname=nickname, transformations=transformations, write=write, settings=settings)
        self.durability = settings.durable
        self._database = Database(
            default_path(nickname) if settings.path is None else os.path.expanduser(settings.path),
            durable=settings.durable == "power",
            timeout=settings.lock_timeout,
            read_only=settings.read_only,
        )
        self._lent = LeaseFile(f"{self.path}.leases", like=self.path, read_only=settings.read_only)
        self.evictions = 0
        """How many entries this pool has let go of, to keep to ``max_bytes``."""
        self._warned = False
        self._bound = None
        if settings.max_bytes is not None:
            self._bound = Bound(settings.max_bytes)
            self.max_blob_bytes = largest_blob(settings.max_bytes)  # type: ignore[misc]  # this pool's, not the class's
        # A pool gives its connections back even if nobody closes it.
        self._close_database = finalize(self, self._database.close)

    @classmethod
    def from_url(cls, url: str, **options: object) -> Self:
        """Open ``sqlite:///absolute/path.db``, ``sqlite:relative.db``, or ``sqlite:`` for the default file.

        The query may hold options (``?durable=process``); those in ``options`` come first. In the path ``%``
        writes what a URL cannot. Raises :class:`~laila.errors.SettingsError` for anything else.
        """
        parts = urlsplit(url)
        if parts.scheme != "sqlite" or parts.netloc or parts.fragment:
            raise SettingsError(
                f"{shown_url(url)} is no URL of a SQLite pool: write sqlite:///absolute/path.db or "
                "sqlite:relative.db",
                option="url",
            )
        settings = SQLiteSettings.parse_query(parts.query)
        if parts.path and not (url.startswith("sqlite://") and parts.path == "/"):
            settings["path"] = unquote(parts.path)
        return cls(**{**settings, **options})  # type: ignore[arg-type]  # checked by SQLiteSettings

    @property
    def path(self) -> str:
        """The absolute path of the file."""
        return self._database.path

    def options(self) -> dict[str, object]:
        """Return the JSON-able constructor arguments, with a given path made absolute."""
        options = super().options()
        if self.settings.path is not None:
            options["path"] = self.path
        return options

    def _place(self) -> str:
        return os.path.basename(self.path)

    def _facts(self) -> Mapping[str, object]:
        facts: dict[str, object] = {"journal": self._database.journal}
        return facts if self._bound is None else {**facts, "max_bytes": self._bound.max_bytes}

    # -- reading ---------------------------------------------------------------------------------------------

    def _look(self, function: Callable[[sqlite3.Connection, str], T], keys: Sequence[str]) -> list[T]:
        """Return what ``function`` finds of each key; all of the same state of the file."""
        results = []
        with self._database.reading() as connection:
            for key in keys:
                try:
                    results.append(function(connection, key))
                except sqlite3.Error as error:
                    if not is_damage(error):
                        raise
                    raise CorruptEntryError(
                        f"what is filed under {shown(key)} in {self.path} is damaged: {said(error)}", key=key
                    ) from error
        return results

    def _read(self, key: str) -> bytes | Blob | None:
        return self._read_many([key])[0]

    def _read_many(self, keys: Sequence[str]) -> list[bytes | Blob | None]:
        return [
            Blob.from_bytes(found, key=key, owned=True) if isinstance(found, memoryview) else found
            for key, found in zip(keys, self._read_views(keys), strict=True)
        ]

    def _read_views(self, keys: Sequence[str]) -> list[bytes | memoryview | None]:
        found = self._look(layout.read, keys)
        self._note(keys)
        return found

    def _read_head(self, key: str) -> bytes | None:
        return self._look(layout.read_head, [key])[0]

    def _read_heads(self, keys: Sequence[str]) -> list[bytes | None]:
        return self._look(layout.read_head, keys)

    def _read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes] | None:
        found = self._look(lambda connection, key: layout.read_ranges(connection, key, ranges), [key])[0]
        self._note([key])
        return found

    def _sizes(self, keys: Sequence[str]) -> list[int | None]:
        return self._look(_size, keys)

    def _exists(self, key: str) -> bool:
        return self._look(_is_there, [key])[0]

    def _exist_many(self, keys: Sequence[str]) -> list[bool]:
        return self._look(_is_there, keys)

    def _keys(self) -> Iterator[str]:
        # In pieces: a read transaction that stays open for long lets the write-ahead log grow. In the order
        # of the index: whatever is written meanwhile, no key comes twice, and none that stays is left out.
        last = ""
        while True:
            with self._database.reading() as connection:
                keys = [key for (key,) in connection.execute(_KEYS, (last,)).fetchall()]
            for key in keys:
                if type(key) is not str or key <= last:  # a forged index could lead in a circle
                    raise self._forged("its index of keys")
                last = key
                yield key
            if not keys:
                return

    def _evolutions(self, stem: str) -> list[int]:
        with self._database.reading() as connection:
            rows = connection.execute(_EVOLUTIONS, (stem,)).fetchall()
        return [int(self._number(evolution)) for (evolution,) in rows]

    def _newest(self, stem: str) -> str | None:
        with self._database.reading() as connection:
            row = connection.execute(_NEWEST, (stem,)).fetchone()
        return None if row is None else f"{stem}-{self._number(row[0])}"

    def _number(self, evolution: object) -> str:
        """The number of an evolution, as its row tells."""
        if type(evolution) is str and len(evolution) <= MAX_KEY_BYTES and counts_evolution(evolution[3:]):
            return evolution[3:]
        raise self._forged("its index of evolutions")

    def _forged(self, what: str) -> PoolFormatError:
        return PoolFormatError(
            f"{self.path} is damaged: {what} is not what was written; restore it from a backup, or save what "
            "is left with `sqlite3 FILE .recover`",
            pool=self.path,
        )

    # -- a cache of bounded size -----------------------------------------------------------------------------

    def _note(self, keys: Sequence[str]) -> None:
        """Note what was read, where that says what goes last."""
        if self._bound is None or self.settings.read_only or not self._bound.note(keys):
            return
        with suppress(PoolError, ReentryError), self._database.writing(timeout=0.0) as connection:
            self._bound.settle(connection)  # else with the next write

    def _store(self, connection: sqlite3.Connection, key: str, blob: Blob) -> bool:
        """Add an entry, unless its key is there; return whether it was added."""
        if self._bound is None:
            return layout.store(connection, key, blob)
        if _is_there(connection, key):
            return False
        self._bound.settle(connection)
        gone = self._bound.make_room(connection, blob.nbytes)
        layout.store(connection, key, blob)
        self._bound.use(connection, key)
        if gone:
            self.evictions += gone
            self._warn()
        return True

    def _warn(self) -> None:
        if self.proxy_to is None and not self._warned:
            self._warned = True
            _log.warning(
                "%s holds at most %s bytes and lets go of entries, the least recently used, which no tier "
                "behind it has; give it a larger max_bytes, or an origin: laila.tiers(pool, origin)",
                self.label,
                self.settings.max_bytes,
            )

    # -- writing ---------------------------------------------------------------------------------------------

    def _write(self, key: str, blob: Blob) -> None:
        self._write_many([(key, blob)])

    def _write_many(self, items: Sequence[tuple[str, Blob]]) -> None:
        with self._database.writing() as connection:
            for key, blob in items:
                layout.remove(connection, key)
                self._store(connection, key, blob)

    def _create(self, key: str, blob: Blob) -> bool:
        return self._create_many([(key, blob)])[0]

    def _create_many(self, items: Sequence[tuple[str, Blob]]) -> list[bool]:
        with self._database.writing() as connection:
            return [self._store(connection, key, blob) for key, blob in items]

    def _lease_table(self) -> LeaseFile:
        return self._lent

    def _create_leased(self, items: Sequence[tuple[str, Blob]], tokens: Mapping[str, bytes]) -> bool:
        with self._lent.held(tokens):
            return self._create_together(items)

    def _create_together(self, items: Sequence[tuple[str, Blob]]) -> bool:
        keys = {key for key, _ in items}
        with self._database.writing() as connection:
            if len(keys) < len(items) or any(_is_there(connection, key) for key in keys):
                return False
            for key, blob in items:
                self._store(connection, key, blob)
        return True

    def _delete(self, key: str) -> bool:
        return self._delete_many([key])[0]

    def _delete_many(self, keys: Sequence[str]) -> list[bool]:
        with self._database.writing() as connection:
            return [layout.remove(connection, key) for key in keys]

    def _empty(self) -> None:
        with self._database.writing() as connection:
            layout.remove_all(connection)

    def compact(self) -> int:
        """Give back the space of deleted and replaced entries. Blocks; others wait, up to ``lock_timeout``.

        SQLite writes the file anew, in one transaction; it needs free space of twice the result.

        Returns:
            How many bytes smaller the file is.
        """
        self._check_open()
        return self._database.compact()

    def _close(self) -> None:
        if self._bound is not None and not self.settings.read_only:
            with suppress(PoolError, ReentryError), self._database.writing(timeout=0.0) as connection:
                self._bound.settle(connection)
        self._close_database()


def _is_there(connection: sqlite3.Connection, key: str) -> bool:
    return connection.execute(_EXISTS, (key,)).fetchone() is not None


def _size(connection: sqlite3.Connection, key: str) -> int | None:
    row = connection.execute(_SIZE, (key,)).fetchone()
    return row[0] if row is not None and type(row[0]) is int else None
