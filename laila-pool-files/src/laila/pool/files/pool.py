"""The pool itself: options, URL, and the contract's methods. Each method is one call of the folder."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import quote, unquote, urlsplit

from laila.contract import Blob, Pool, Settings, directory, logger, option, shown, shown_url
from laila.errors import SettingsError
from laila.pool.files.bound import LEAST_BYTES, Bound
from laila.pool.files.folder import Folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from laila.contract import BlobHead, LeaseFile, Transformation, TransformationSequence

__all__ = ["FilesystemPool", "FilesystemSettings"]


class FilesystemSettings(Settings):
    """The options of :class:`FilesystemPool`."""

    prefix = "files"

    path: str | None = option(
        default=None,
        help="the folder, made if missing; by default `laila-files` or `<nickname>-files` in the `pools` "
        "directory",
    )
    durable: Literal["power", "process"] = option(
        printed=True,
        default="power",
        help="what a finished write survives: a power failure, or (quicker) only the death of the process",
    )
    read_only: bool = option(
        printed=True, default=False, help="never make or change a file; the folder has to be there"
    )
    max_bytes: int | None = option(
        printed=True,
        default=None,
        help="makes it a cache: above this size, what was used least recently goes; unset: nothing goes",
    )


class FilesystemPool(Pool):
    """A pool in a folder: one file an entry. Each file is written, synced, and then named in one step.

    Threads, processes and hosts may use one folder at the same time; nobody takes a lock. The page
    ``docs/reference/pool-files.md`` has the details.

    ``path`` is the folder; the other options are those of :class:`FilesystemSettings`. Thread-safe. Usable in
    a forked child.

    Raises:
        PoolFormatError: the folder is something else, or of a newer version; it was left as it is.
        PoolError: the system refused, with its ``errno``.
    """

    laila_contract = 1
    schemes = ("file",)
    writers = "network"
    creation = "network"
    fences = True
    durability: Literal["none", "process", "power"] = "power"  # unless the settings say otherwise

    settings: FilesystemSettings

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        nickname: str | None = None,
        *,
        transformations: Iterable[str | Transformation] | TransformationSequence = (),
        write: Literal["through"] | None = None,
        durable: Literal["power", "process"] | None = None,
        read_only: bool | None = None,
        max_bytes: int | None = None,
    ) -> None:
        settings = FilesystemSettings.resolve(
            {
                "path": None if path is None else os.fspath(path),
                "durable": durable,
                "read_only": read_only,
                "max_bytes": max_bytes,
            }
        )
        if settings.path is not None and (not settings.path or "\0" in settings.path):
            raise SettingsError(f"path={shown(settings.path)} is no name of a folder", option="path")
        if settings.max_bytes is not None and settings.max_bytes < LEAST_BYTES:
            raise SettingsError(
                f"max_bytes={shown(settings.max_bytes)}: give a number of bytes from {LEAST_BYTES}, such as "
                "10000000000",
                option="max_bytes",
            )
        super().__init__(nickname=nickname, transformations=transformations, write=write, settings=settings)
        self.durability = settings.durable
        self._folder = Folder(
            _default_path(nickname) if settings.path is None else os.path.expanduser(settings.path),
            durable=settings.durable == "power",
            read_only=settings.read_only,
        )
        self._lent = self._folder.leases()
        self._bound: Bound | None = None
        self._warned = False
        if settings.max_bytes is not None:
            self._bound = Bound(settings.max_bytes)
            self.max_blob_bytes = settings.max_bytes // 2  # type: ignore[misc]  # this pool's, not the class's

    @classmethod
    def from_url(cls, url: str, **options: object) -> Self:
        """Open ``file:///absolute/folder``, ``file:relative/folder``, or ``file:`` for the default folder.

        The query may hold options (``?durable=process``); ``options`` override the query. In the path ``%``
        quotes characters that a URL cannot hold. Raises :class:`~laila.errors.SettingsError` for any other
        URL.
        """
        parts = urlsplit(url)
        if parts.scheme != "file" or parts.fragment:
            raise SettingsError(
                f"{shown_url(url)} is no URL of a folder: write file:///absolute/folder or "
                "file:relative/folder, and %23 for #",
                option="url",
            )
        if parts.netloc not in ("", "localhost"):
            raise SettingsError(
                f"{shown_url(url)} names the host {shown_url(parts.netloc)}, and a folder is on this "
                "machine or mounted here: write file:relative/folder where the path is relative, else file:///absolute/folder",
                option="url",
            )
        settings = FilesystemSettings.parse_query(parts.query)
        if parts.path and not (url.startswith("file://") and parts.path == "/"):
            settings["path"] = unquote(parts.path)
        return cls(**{**settings, **options})  # type: ignore[arg-type]  # checked by FilesystemSettings

    @property
    def path(self) -> str:
        """The absolute path of the folder."""
        return self._folder.path

    @property
    def evictions(self) -> int:
        """How many entries this pool has let go of, to keep to ``max_bytes``."""
        return 0 if self._bound is None else self._bound.evictions

    def _facts(self) -> Mapping[str, object]:
        return {} if self._bound is None else {"max_bytes": self._bound.max_bytes}

    def _used(self, keys: Iterable[str]) -> None:
        """Note what was read, where that says what goes last."""
        if self._bound is not None and not self.settings.read_only:
            for key in keys:
                self._bound.used(self._folder.file_of(key))

    def _put(self, items: Sequence[tuple[str, Blob]], *, replace: bool) -> list[bool]:
        """Write blobs; a cache of bounded size makes room for a part of them at a time."""
        if self._bound is None:
            return self._folder.put(items, replace=replace)
        written: list[bool] = []
        for part in self._bound.parts(items):
            gone = self._bound.make_room(sum(blob.nbytes for _, blob in part), self._folder.folders)
            if gone and self.proxy_to is None and not self._warned:
                self._warned = True
                logger("laila.pool").warning(
                    "%s holds at most %s bytes and lets go of entries, the least recently used, that no tier "
                    "behind it has; give it a larger max_bytes, or an origin: laila.tiers(pool, origin)",
                    self.label,
                    self._bound.max_bytes,
                )
            written += self._folder.put(part, replace=replace)
        return written

    def file_of(self, key: str) -> str:
        """Say which file holds an entry, whether or not the entry is there.

        Args:
            key: The key of the entry.

        Returns:
            The path of the file.
        """
        return self._folder.file_of(key)

    def options(self) -> dict[str, object]:
        """Return the options that :class:`laila.contract.Pool` lists, with a given path made absolute."""
        options = super().options()
        if self.settings.path is not None:
            options["path"] = self.path
        return options

    def _place(self) -> str:
        return os.path.basename(self.path)

    # -- the contract --------------------------------------------------------------------------------------

    def _read(self, key: str) -> bytes | Blob | None:
        blob = self._folder.read(key)
        self._used([key])
        if not isinstance(blob, memoryview):
            return blob
        return Blob.from_bytes(blob, key=key, owned=True)

    def _read_views(self, keys: Sequence[str]) -> list[bytes | memoryview | None]:
        self._used(keys)
        return [self._folder.read(key, mapped=True) for key in keys]

    def _read_head(self, key: str) -> BlobHead | None:
        return self._folder.read_head(key)

    def _read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes] | None:
        self._used([key])
        return self._folder.read_ranges(key, ranges)

    def _read_map(self, key: str) -> bytes | memoryview | None:
        self._used([key])
        return self._folder.map(key)

    def _exists(self, key: str) -> bool:
        return self._folder.exists(key)

    def _ages(self, keys: Sequence[str]) -> list[float | None]:
        return self._folder.ages(keys)

    def _touch(self, keys: Sequence[str]) -> None:
        self._folder.renew(keys)

    def _keys(self) -> Iterator[str]:
        return self._folder.keys()

    def _evolutions(self, stem: str) -> list[int]:
        return self._folder.evolutions(stem)

    def _write(self, key: str, blob: Blob) -> None:
        self._write_many([(key, blob)])

    def _write_many(self, items: Sequence[tuple[str, Blob]]) -> None:
        self._put(items, replace=True)

    def _create(self, key: str, blob: Blob) -> bool:
        return self._create_many([(key, blob)])[0]

    def _create_many(self, items: Sequence[tuple[str, Blob]]) -> list[bool]:
        return self._put(items, replace=False)

    def _lease_table(self) -> LeaseFile:
        return self._lent

    def _create_leased(self, items: Sequence[tuple[str, Blob]], tokens: Mapping[str, bytes]) -> bool:
        return self._folder.put_leased(items, self._lent.held(tokens))

    def _delete(self, key: str) -> bool:
        return self._folder.delete([key])[0]

    def _delete_many(self, keys: Sequence[str]) -> list[bool]:
        return self._folder.delete(keys)

    def _empty(self) -> None:
        self._folder.empty()


def _default_path(nickname: str | None) -> str:
    # Any nickname is the name of a folder once characters that a path cannot hold are quoted.
    name = "laila" if nickname is None else quote(nickname, safe=" !#$&'()+,;=@[]{}~").replace(".", "%2E")
    return os.path.join(directory("pools"), f"{name}-files")
