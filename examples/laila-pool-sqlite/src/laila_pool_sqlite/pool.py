"""The pool: laila's contract in SQL."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import quote, unquote, urlsplit
from weakref import finalize

from laila.contract import Pool, Settings, directory, option, split_evolution
from laila.errors import SettingsError
from laila_pool_sqlite.database import Database

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from laila.contract import Blob, Transformation

__all__ = ["SQLitePool", "SQLiteSettings"]

_INSERT = "INSERT INTO entries (key, stem, evolution, head, body) VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) "
_CREATE = f"{_INSERT} DO NOTHING"
_REPLACE = f"{_INSERT} DO UPDATE SET head = excluded.head, body = excluded.body"
_READ = "SELECT head, body FROM entries WHERE key = ?"
_READ_HEAD = "SELECT head FROM entries WHERE key = ?"
_SIZE = "SELECT length(head) + length(body) FROM entries WHERE key = ?"
_EXISTS = "SELECT 1 FROM entries WHERE key = ?"
_KEYS = "SELECT key FROM entries WHERE key > ? ORDER BY key LIMIT 1000"
_EVOLUTIONS = "SELECT evolution FROM entries WHERE stem = ? ORDER BY evolution"
_NEWEST = f"{_EVOLUTIONS} DESC LIMIT 1"


class SQLiteSettings(Settings):
    """The options of :class:`SQLitePool`."""

    prefix = "sqlite"

    path: str | None = option(
        default=None,
        help="the file, made if missing; by default `laila.db` or `<nickname>.db` in the `pools` directory",
    )
    durable: Literal["power", "process"] = option(
        printed=True,
        default="power",
        help="what a finished write survives: a power failure, or (quicker) only the death of the process",
    )
    lock_timeout: float = option(
        printed=True, default=30.0, help="seconds to wait for other threads and processes that write"
    )
    read_only: bool = option(printed=True, default=False, help="never write, and make no file")


class SQLitePool(Pool):
    """A pool in one SQLite file, shared by the threads and processes of one host.

    ``path`` is the file; the other options are those of :class:`SQLiteSettings`. Thread-safe; readers wait
    for nobody. May be used in a forked child. Not for network file systems, where SQLite's locks and shared
    memory do not work.

    Raises:
        PoolFormatError: the file is not this pool's; it was left as it is. Or it is damaged.
        PoolLockedError: others wrote for longer than ``lock_timeout``.
        PoolError: SQLite or the system refused, with an ``errno``; nothing was changed.
    """

    laila_contract = 1
    writers = "host"
    creation = "host"
    batches = "batch"
    listing = "sorted"
    # SQLite takes 1,000,000,000 bytes a row (https://www.sqlite.org/limits.html), keys and all.
    max_blob_bytes = 999_998_000

    settings: SQLiteSettings

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        nickname: str | None = None,
        *,
        transformations: Iterable[str | Transformation] = (),
        write: Literal["through"] | None = None,
        durable: Literal["power", "process"] | None = None,
        lock_timeout: float | None = None,
        read_only: bool | None = None,
    ) -> None:
        settings = SQLiteSettings.resolve(
            {
                "path": None if path is None else os.fspath(path),
                "durable": durable,
                "lock_timeout": lock_timeout,
                "read_only": read_only,
            }
        )
        if not 0 <= settings.lock_timeout <= 1e6:
            raise SettingsError(
                f"lock_timeout={settings.lock_timeout!r} is no number of seconds from 0 to a million",
                option="lock_timeout",
            )
        super().__init__(nickname=nickname, transformations=transformations, write=write, settings=settings)
        self.durability = settings.durable  # this pool's, in place of the class's
        self._database = Database(
            os.path.abspath(os.path.expanduser(settings.path or _default_path(nickname))),
            durable=settings.durable == "power",
            timeout=settings.lock_timeout,
            read_only=settings.read_only,
        )
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
                f"{url!r} is no URL of a SQLite pool: write sqlite:///absolute/path.db or sqlite:relative.db",
                option="url",
            )
        settings = SQLiteSettings.parse_query(parts.query)
        if parts.path:
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

    # -- reading ---------------------------------------------------------------------------------------------

    def _rows(self, query: str, keys: Sequence[str]) -> list[tuple[Any, ...] | None]:
        """The row that each key has, or None; all of the same state of the file."""
        with self._database.reading() as connection:
            results = [connection.execute(query, (key,)).fetchall() for key in keys]
        return [rows[0] if rows else None for rows in results]

    def _read(self, key: str) -> list[bytes] | None:
        return self._read_many([key])[0]

    def _read_many(self, keys: Sequence[str]) -> list[list[bytes] | None]:
        return [[part for part in row if part] if row else None for row in self._rows(_READ, keys)]

    def _read_head(self, key: str) -> bytes | None:
        return self._read_heads([key])[0]

    def _read_heads(self, keys: Sequence[str]) -> list[bytes | None]:
        return [row[0] if row else None for row in self._rows(_READ_HEAD, keys)]

    def _sizes(self, keys: Sequence[str]) -> list[int | None]:
        return [row[0] if row else None for row in self._rows(_SIZE, keys)]

    def _exists(self, key: str) -> bool:
        return self._exist_many([key])[0]

    def _exist_many(self, keys: Sequence[str]) -> list[bool]:
        return [row is not None for row in self._rows(_EXISTS, keys)]

    def _keys(self) -> Iterator[str]:
        # In pieces: a read transaction that stays open for long lets the write-ahead log grow. In the order
        # of the index: whatever is written meanwhile, no key comes twice, and none that stays is left out.
        last = ""
        while True:
            with self._database.reading() as connection:
                keys = [key for (key,) in connection.execute(_KEYS, (last,)).fetchall()]
            yield from keys
            if not keys:
                return
            last = keys[-1]

    def _evolutions(self, stem: str) -> list[int]:
        with self._database.reading() as connection:
            rows = connection.execute(_EVOLUTIONS, (stem,)).fetchall()
        return [int(evolution[3:]) for (evolution,) in rows]

    def _newest(self, stem: str) -> str | None:
        (row,) = self._rows(_NEWEST, [stem])
        return f"{stem}-{row[0][3:]}" if row else None

    # -- writing ---------------------------------------------------------------------------------------------

    def _write(self, key: str, blob: Blob) -> None:
        self._write_many([(key, blob)])

    def _write_many(self, items: Sequence[tuple[str, Blob]]) -> None:
        with self._database.writing() as connection:
            connection.executemany(_REPLACE, (_row(key, blob) for key, blob in items))

    def _create(self, key: str, blob: Blob) -> bool:
        return self._create_many([(key, blob)])[0]

    def _create_many(self, items: Sequence[tuple[str, Blob]]) -> list[bool]:
        with self._database.writing() as connection:
            return [connection.execute(_CREATE, _row(key, blob)).rowcount == 1 for key, blob in items]

    def _create_together(self, items: Sequence[tuple[str, Blob]]) -> bool:
        keys = {key for key, _ in items}
        with self._database.writing() as connection:
            free = not any(connection.execute(_EXISTS, (key,)).fetchall() for key in keys)
            if free and len(keys) == len(items):
                connection.executemany(_CREATE, (_row(key, blob) for key, blob in items))
                return True
            return False

    def _delete(self, key: str) -> bool:
        return self._delete_many([key])[0]

    def _delete_many(self, keys: Sequence[str]) -> list[bool]:
        with self._database.writing() as connection:
            return [
                connection.execute("DELETE FROM entries WHERE key = ?", (key,)).rowcount == 1 for key in keys
            ]

    def _empty(self) -> None:
        with self._database.writing() as connection:
            connection.execute("DELETE FROM entries")

    def _close(self) -> None:
        self._close_database()


def _row(key: str, blob: Blob) -> tuple[str, str | None, str | None, object, object]:
    """The columns of an entry. A blob of one buffer, as an array is, passes without being copied."""
    split = split_evolution(key)
    head, *rest = blob.parts
    return (
        key,
        None if split is None else split[0],
        None if split is None else f"{len(split[1]):03}{split[1]}",
        head,
        rest[0] if len(rest) == 1 else b"".join(rest),
    )


def _default_path(nickname: str | None) -> str:
    # Named pools each have a file of their own: what a path cannot hold is quoted.
    name = "laila" if nickname is None else quote(nickname, safe=" !#$&'()+,;=@[]{}~").replace(".", "%2E")
    return os.path.join(directory("pools"), f"{name}.db")
