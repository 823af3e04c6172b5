"""The folder of a pool: its layout, how a pool begins, and how entries are written and read.

::

    laila.json                           what this is, and the version of the layout
    entries/9c/ENTRY-3c78a603-….laila    one entry: its blob, byte for byte; see laila.pool.files.names
    tmp/                                 files that are being written
    leases.db                            what is lent, once something was lent

An entry is written under a temporary name in ``tmp``, and then gets its own name in one step. So a reader
finds the whole entry or nothing, and the file of an entry never changes. Nobody takes a lock.

Syncs come in this order: the file; then, once it has its name, the folder with that name; then the folders
above, if they may be new. The pool acknowledges an entry after the last of these syncs. All files of a batch
are synced before the first one gets its name. These syncs overlap, and so do the syncs of folders.
"""

from __future__ import annotations

import errno
import json
import os
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from laila.contract import Blob, LeaseFile, counts_evolution, head_nbytes, logger, shown, split_evolution
from laila.errors import CorruptEntryError, PoolError, PoolFormatError
from laila.pool.files import disk
from laila.pool.files.names import (
    SUFFIX,
    evolution_prefix,
    file_name,
    folder_name,
    is_folder_name,
    is_long,
    key_of,
)
from laila.pool.files.parallel import for_each
from laila.pool.files.reporting import reporting
from laila.pool.files.temporary import clean, temporary_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from laila.contract import BlobHead

__all__ = ["Folder"]

_log = logger(__name__)

MARKER = "laila.json"
LEASES = "leases.db"
FORMAT = "laila-pool-files"
VERSION = 1
_ABOUT = "A laila pool. Each file under entries/ is one entry; tmp/ holds what is being written."

# An empty folder may contain these: a new file system has the first, a pool that begins has the second.
_NOTHING = {"lost+found", "tmp"}
_HEAD_BYTES = 4096
# At most so many files of a batch are open at a time.
_FILES_AT_ONCE = 64


class Folder:
    """The pool's folder at ``path``. Safe in any thread, and in a forked child.

    The folder is made if it is not there. With ``read_only`` nothing is made or changed.

    Raises :class:`~laila.errors.PoolFormatError` for a folder that is not a pool, and leaves it as it is.
    """

    def __init__(self, path: str, *, durable: bool, read_only: bool = False) -> None:
        self.path = os.path.realpath(path)
        self._entries = os.path.join(self.path, "entries")
        self._tmp = os.path.join(self.path, "tmp")
        self._marker = os.path.join(self.path, MARKER)
        self._durable = durable
        self._read_only = read_only
        self._mode = 0o700
        self._reachable: set[str] = set()  # folders that certainly survive a power failure
        with reporting("open", self.path):
            if not read_only:
                self._open()
                clean(self._tmp)
            elif not self._is_marked():
                raise PoolError(
                    f"there is no pool at {self.path}, and read_only=True makes none",
                    pool=self.path,
                    errno=errno.ENOENT,
                )
            self._maps = not disk.is_remote(self.path)

    # -- beginning -----------------------------------------------------------------------------------------

    def _open(self) -> None:
        if not self._is_marked():
            self._make_root()
            others = set(os.listdir(self.path)) - _NOTHING
            if others and not self._is_marked():  # otherwise another process has just begun the pool
                raise PoolFormatError(
                    f"{self.path} is no pool: it has no {MARKER}, and is not empty (it has "
                    f"{shown(min(others))}). "
                    "It was left as it is; name an empty folder, or a new one",
                    pool=self.path,
                )
            self._mode = self._mode_of_folder()
            self._begin()
        self._mode = self._mode_of_folder()

    def _make_root(self) -> None:
        try:
            disk.make_folder(self.path, self._mode)
        except FileNotFoundError as error:
            above = os.path.dirname(self.path)
            raise PoolError(
                f"cannot make {self.path}: {above} is not there. Make it, or mount it, first",
                pool=self.path,
                errno=errno.ENOENT,
            ) from error

    def _mode_of_folder(self) -> int:
        # New files are as open as the folder is, as far as the umask allows.
        return os.stat(self.path).st_mode & 0o777

    def _is_marked(self) -> bool:
        """Whether this folder is a pool. Raises for a pool of another version."""
        try:
            text = disk.read_start(self._marker, _HEAD_BYTES)
        except FileNotFoundError:
            return False
        try:
            marker = json.loads(text)
        except (ValueError, RecursionError):
            marker = None
        if not isinstance(marker, dict) or marker.get("format") != FORMAT:
            raise PoolFormatError(
                f"{self.path} is no pool of files: its {MARKER} says something else. It was left as it is",
                pool=self.path,
            )
        if marker.get("version") != VERSION:
            raise PoolFormatError(
                f"{self.path} has version {shown(marker.get('version'))} of the layout, and this "
                "laila-pool-files "
                f"knows version {VERSION}: install a newer one. The folder was left as it is",
                pool=self.path,
            )
        return True

    def _begin(self) -> None:
        # A process that finds the marker relies on the name of its folder.
        with suppress(PermissionError):  # a user who may not read a folder cannot sync it
            self._sync([os.path.dirname(self.path)])
        disk.make_folder(self._tmp, self._mode)
        text = json.dumps({"format": FORMAT, "version": VERSION, "about": _ABOUT}, indent=2) + "\n"
        with disk.opened(self._tmp) as tmp:
            file = self._new_file(tmp)
            try:
                file.write([text.encode()])
                file.finish()
                file.publish(self._marker, replace=False)  # or another process has published it
            finally:
                file.discard()
        self._sync([self.path])

    def folders(self) -> list[str]:
        """Return the paths of the folders with entries."""
        return [f"{self._entries}/{name}" for name in self._folders()]

    def check(self) -> None:
        """Raise unless the pool's folder is there; otherwise every entry would seem to be missing."""
        if not disk.exists(self._marker):
            raise PoolError(
                f"the pool at {self.path} is gone: its {MARKER} is not there. Was the folder removed, or is "
                "its file system not mounted?",
                pool=self.path,
                errno=errno.ENOENT,
            )

    def _check_writable(self) -> None:
        if self._read_only:
            raise PoolError(f"{self.path} was opened with read_only=True", pool=self.path, errno=errno.EROFS)

    def file_of(self, key: str) -> str:
        """Return the path of the file of ``key``."""
        return f"{self._entries}/{folder_name(key)}/{file_name(key)}"

    # -- reading -------------------------------------------------------------------------------------------

    def read(self, key: str, *, mapped: bool = False) -> bytes | memoryview | None:
        """Return the blob of ``key``. With ``mapped`` a large blob is a map of the file."""
        with reporting("read from", self.path):
            try:
                return disk.read(self.file_of(key), mapped=mapped and self._maps)
            except FileNotFoundError:
                self.check()
                return None

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes] | None:
        """Return the bytes of some ranges of the blob of ``key``."""
        with reporting("read from", self.path):
            try:
                return disk.read_ranges(self.file_of(key), ranges)
            except FileNotFoundError:
                self.check()
                return None

    def map(self, key: str) -> bytes | memoryview | None:
        """Return a map of the blob of ``key``; None where it cannot be mapped, or is not there."""
        with reporting("read from", self.path):
            try:
                return disk.map_file(self.file_of(key)) if self._maps else None
            except FileNotFoundError:
                self.check()
                return None

    def read_head(self, key: str) -> BlobHead | None:
        """Return the head of the blob of ``key``. Raises :class:`CorruptEntryError`."""
        with reporting("read from", self.path):
            try:
                return self._head(self.file_of(key), key)
            except FileNotFoundError:
                self.check()
                return None

    def _head(self, path: str, key: str | None = None) -> BlobHead:
        start = disk.read_start(path, _HEAD_BYTES)
        try:
            return Blob.read_head(start, key=key)
        except CorruptEntryError:
            if len(start) < _HEAD_BYTES:
                raise
        if head_nbytes(start) > _HEAD_BYTES:
            return Blob.read_head(disk.read_start(path, head_nbytes(start)), key=key)
        return Blob.read_head(disk.read(path, mapped=False), key=key)  # it says what the file is, if no blob

    def exists(self, key: str) -> bool:
        """Return whether ``key`` is there."""
        with reporting("read from", self.path):
            exists = disk.exists(self.file_of(key))
            if not exists:
                self.check()
            return exists

    def ages(self, keys: Sequence[str]) -> list[float | None]:
        """Return for each key how many seconds ago its file was written or renewed; None if it is missing."""
        with reporting("read from", self.path):
            times = [disk.time_of(self.file_of(key)) for key in keys]
            now = time.time() if self._read_only else self._now()
            return [None if when is None else max(0.0, now - when) for when in times]

    def _now(self) -> float:
        """Return what the clock of the file system says, which may be another host's."""
        with self._tmp_folder() as tmp:
            file = self._new_file(tmp)
            try:
                return file.time()
            finally:
                file.discard()

    def renew(self, keys: Sequence[str]) -> None:
        """Make the files of ``keys`` as young as if they were written now."""
        self._check_writable()
        with reporting("write to", self.path):
            for key in keys:
                with suppress(FileNotFoundError):
                    disk.renew(self.file_of(key))

    def keys(self) -> Iterator[str]:
        """Yield every key once. Holds the names of one of the 256 folders in memory at a time."""
        for folder in self._folders():
            for name in self._names(folder):
                key = self._key_of(folder, name)
                if key is not None:
                    yield key

    def evolutions(self, stem: str) -> list[int]:
        """Return the numbers of the evolutions of ``stem``, ascending."""
        folder, prefix = folder_name(f"{stem}-0"), evolution_prefix(stem)
        numbers: list[int] = []
        for name in self._names(folder):
            if is_long(name):
                split = split_evolution(self._key_of(folder, name) or "")
                if split is None or split[0] != stem:
                    continue
                number = split[1]
            elif name.startswith(prefix):
                number = name[len(prefix) : -len(SUFFIX)]
            else:
                continue
            if counts_evolution(number):
                numbers.append(int(number))
        return sorted(numbers)

    def _folders(self) -> list[str]:
        with reporting("list", self.path):
            try:
                folders = disk.list_folders(self._entries)
            except FileNotFoundError:
                self.check()
                return []  # nobody has written anything yet
            ours = sorted(filter(is_folder_name, folders))
            for name in ours:
                if folders[name]:
                    path = f"{self._entries}/{name}"
                    _log.warning("%s is a symbolic link, and no folder of this pool: it is left out", path)
            return [name for name in ours if not folders[name]]

    def _names(self, folder: str) -> list[str]:
        with reporting("list", self.path):
            try:
                return disk.list_files(f"{self._entries}/{folder}", SUFFIX)
            except (FileNotFoundError, NotADirectoryError):
                self.check()
                return []

    def _key_of(self, folder: str, name: str) -> str | None:
        """Return the key of a file. None if the file is not the pool's, or lies in a wrong folder."""
        if is_long(name):
            key = self._long_key(folder, name)
            return key if key is not None and self.file_of(key).endswith(f"/{folder}/{name}") else None
        key = key_of(name)
        return key if key is not None and folder_name(key) == folder else None

    def _long_key(self, folder: str, name: str) -> str | None:
        path = f"{self._entries}/{folder}/{name}"
        with reporting("list", self.path):
            try:
                return self._head(path).key
            except FileNotFoundError:
                return None  # another process deleted it meanwhile
            except CorruptEntryError as error:
                _log.warning("%s is left out of the keys: the key is in the file, and %s", path, error)
                return None

    # -- writing -------------------------------------------------------------------------------------------

    def put(self, items: Sequence[tuple[str, Blob]], *, replace: bool) -> list[bool]:
        """Write blobs; return for each whether it was written. Without ``replace`` existing blobs stay.

        After an error some of the blobs may be written, each of them whole.
        """
        self._check_writable()
        with reporting("write to", self.path):
            written: list[bool] = []
            touched: set[str] = set()
            for start in range(0, len(items), _FILES_AT_ONCE):
                written += self._put_some(items[start : start + _FILES_AT_ONCE], replace, touched)
            # Also if this call wrote nothing: the process that wrote the file may not have synced it yet.
            self._sync(touched)
            self._reachable |= touched
            return written

    def leases(self) -> LeaseFile:
        """Return the table of what is lent, a file beside the marker."""
        return LeaseFile(os.path.join(self.path, LEASES), like=self.path, read_only=self._read_only)

    def put_leased(self, items: Sequence[tuple[str, Blob]], held: AbstractContextManager[None]) -> bool:
        """Write blobs if none of them is there; return whether they were written.

        The content is written and synced first. In ``held``, which no other borrower passes, the files only
        get their names.
        """
        self._check_writable()
        with reporting("write to", self.path), self._tmp_folder() as tmp:
            touched: set[str] = set()
            made = self._put_by(tmp, items, False, touched, held)
            self._sync(touched)
            self._reachable |= touched
            return all(made)

    def _put_some(self, items: Sequence[tuple[str, Blob]], replace: bool, touched: set[str]) -> list[bool]:
        with self._tmp_folder() as tmp:
            return self._put_by(tmp, items, replace, touched)

    def _put_by(
        self,
        tmp: int,
        items: Sequence[tuple[str, Blob]],
        replace: bool,
        touched: set[str],
        held: AbstractContextManager[None] | None = None,
    ) -> list[bool]:
        files: list[tuple[str, disk.NewFile | None]] = []
        try:
            for key, blob in items:
                path = self.file_of(key)
                file = None if not replace and disk.exists(path) else self._new_file(tmp)
                files.append((path, file))
                if file is not None:
                    file.write(blob.parts, more=len(items) > 1)
            written = [file for _, file in files if file is not None]
            if self._durable:
                for_each(disk.NewFile.finish, written)
            else:
                for file in written:
                    file.finish()
            if held is None:
                return [self._publish(file, path, replace, touched) for path, file in files]
            with held:
                if any(file is None or disk.exists(path) for path, file in files):
                    return [False] * len(files)
                return [self._publish(file, path, replace, touched) for path, file in files]
        finally:
            for _, file in files:
                if file is not None:
                    file.discard()

    @contextmanager
    def _tmp_folder(self) -> Iterator[int]:
        with ExitStack() as stack:
            try:
                fd = stack.enter_context(disk.opened(self._tmp))
            except FileNotFoundError:
                self.check()
                disk.make_folder(self._tmp, self._mode)  # a copy of the pool may lack it
                fd = stack.enter_context(disk.opened(self._tmp))
            yield fd

    def _new_file(self, tmp: int) -> disk.NewFile:
        return disk.NewFile(tmp, temporary_name(), self._mode & 0o666, sync=self._durable)

    def _publish(self, file: disk.NewFile | None, path: str, replace: bool, touched: set[str]) -> bool:
        """Give a written file its name; add the folders to sync after that to ``touched``."""
        folder = os.path.dirname(path)
        touched.add(folder)
        if folder not in self._reachable:
            self._make(folder, touched)
        if file is None:
            return False
        try:
            return file.publish(path, replace=replace)
        except FileNotFoundError:
            self._reachable.discard(self.path)
            self._make(folder, touched)  # somebody has deleted the folder
            return file.publish(path, replace=replace)

    def _make(self, folder: str, touched: set[str]) -> None:
        self.check()
        for each in (self._entries, folder):
            disk.make_folder(each, self._mode)
        touched.add(self._entries)
        if self.path not in self._reachable:
            touched.add(self.path)

    def delete(self, keys: Sequence[str]) -> list[bool]:
        """Delete keys; return of each whether it was there."""
        self._check_writable()
        with reporting("delete from", self.path):
            paths = [self.file_of(key) for key in keys]
            deleted = [disk.remove(path) for path in paths]
            if not all(deleted):
                self.check()
            self._sync({os.path.dirname(path) for path, gone in zip(paths, deleted, strict=True) if gone})
            return deleted

    def empty(self) -> None:
        """Delete every entry, and nothing else."""
        self._check_writable()
        for folder in self._folders():
            ours = [n for n in self._names(folder) if is_long(n) or self._key_of(folder, n) is not None]
            with reporting("delete from", self.path):
                disk.remove_all(f"{self._entries}/{folder}", ours)
                if ours:
                    self._sync([f"{self._entries}/{folder}"])

    def _sync(self, folders: Iterable[str]) -> None:
        if self._durable:
            for_each(disk.sync_folder, folders)
