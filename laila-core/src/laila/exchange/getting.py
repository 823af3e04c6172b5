"""get_path(): write what :func:`~laila.exchange.put_path` stored to a new file or folder.

Anybody may have written the manifest. Every name in it is checked before a file is made. Files are made
before links, and a link that leads out of the folder is not made.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from secrets import token_hex

from laila.active import get_active_policy
from laila.errors import CorruptEntryError, EntryNotFoundError, InvalidValueError
from laila.exchange.record import RECORD, FolderRecord, check_name, leaves_folder
from laila.exchange.whole import put_in_place
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from laila.central.memory_verbs import MemoryVerbs
    from laila.entry import Entry, Manifest

__all__ = ["Written", "get_path"]

_BATCH_FILES = 64


class Written:
    """What was written.

    Attributes:
        path: The new file or folder.
        files: How many files were written.
        nbytes: How many bytes they have.
        left_out: The links that were not made, because they lead out of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = 0
        self.nbytes = 0
        self.left_out: list[str] = []

    def __repr__(self) -> str:
        return f"Written({str(self.path)!r}, {self.files} files, {self.nbytes} bytes)"


def get_path(
    name: str,
    destination: str | os.PathLike[str] | None = None,
    memory: MemoryVerbs | None = None,
    *,
    pool_nickname: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Written:
    """Write a stored file or folder. Blocks. Nothing is there under the name until all of it is.

    Args:
        name: The nickname, or the global id.
        destination: The path of the new file or folder; by default its name, in the current folder. In a
            folder that exists it gets its name too.
        memory: Where from: by default ``laila.memory``; or the memory of a peer.
        pool_nickname: The pool; by default the alpha pool.
        on_progress: Called with the number of files and of bytes that are written so far.

    Returns:
        What was written.

    Raises:
        EntryNotFoundError: There is nothing of that name (a ``KeyError``).
        FileExistsError: The destination exists.
        InvalidValueError: What is stored under the name is no file or folder (a ``ValueError``).
        CorruptEntryError: The manifest has names that no file can have, or a file is damaged.
    """
    from laila.entry import Manifest

    if memory is None:
        memory = get_active_policy().central.memory
    if name.startswith("LAILA:"):
        entry: Any = memory.remember(name, pool_nickname=pool_nickname).wait()
    else:
        entry = memory.remember(nickname=name, pool_nickname=pool_nickname).wait()
    if isinstance(entry, Manifest):
        target = _target(destination, entry.nickname or "folder")
        return _Folder(entry, memory, pool_nickname, target, on_progress).write()
    content = _content(entry, name)
    metadata: Mapping[str, object] = entry.user_metadata() or {}
    written = Written(_target(destination, str(metadata.get("file") or entry.nickname or "file")))
    mode, mtime = metadata.get("mode"), metadata.get("mtime_ns")
    temporary = written.path.with_name(f".{written.path.name[:200]}.{token_hex(4)}.part")
    try:
        _write(temporary, content)
        if isinstance(mode, int) and isinstance(mtime, int) and 0 <= mtime < 2**63:
            _finish(temporary, (mode & 0o777, mtime))
        put_in_place(temporary, written.path)
    finally:
        temporary.unlink(missing_ok=True)
    written.files, written.nbytes = 1, len(content)
    return written


def _target(destination: str | os.PathLike[str] | None, name: str) -> Path:
    """The path of the new file or folder, which is not there."""
    target = Path() if destination is None else Path(destination)
    if target.is_dir():
        target /= check_name(name)
    if target.exists() or target.is_symlink():
        raise FileExistsError(
            f"{shown(str(target))} is there already: name another destination, or move it away"
        )
    if not target.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {shown(str(target.parent))}")
    return target


def _content(entry: Entry, name: str) -> bytes:
    if not isinstance(entry.data, (bytes, bytearray, memoryview)):
        raise InvalidValueError(
            f"{shown(name)} is no file: it holds a {type(entry.data).__name__}; laila.remember reads it"
        )
    return bytes(entry.data)


def _write(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)


def _finish(path: Path, attributes: tuple[int, int]) -> None:
    mode, mtime = attributes
    os.chmod(path, mode)
    os.utime(path, ns=(mtime, mtime))


class _Folder:
    """One folder that is being written, under another name until it is whole."""

    def __init__(
        self,
        manifest: Manifest,
        memory: MemoryVerbs,
        pool_nickname: str | None,
        target: Path,
        on_progress: Callable[[int, int], None] | None,
    ) -> None:
        self._manifest = manifest
        self._memory = memory
        self._pool_nickname = pool_nickname
        self._written = Written(target)
        self._root = target.with_name(f".{target.name[:200]}.{token_hex(4)}.part")
        self._on_progress = on_progress

    def write(self) -> Written:
        tree = dict(self._manifest.blueprint)
        record = self._read_record(tree.pop(RECORD, None))
        files = list(_files(tree))
        self._root.mkdir(mode=0o700)
        try:
            for start in range(0, len(files), _BATCH_FILES):
                self._write_files(files[start : start + _BATCH_FILES])
            for path in record.folders:
                (self._root / path).mkdir(mode=0o700, parents=True, exist_ok=True)
            self._write_links(record, {path for path, _ in files})
            for path, attributes in record.files.items():
                if not os.path.islink(self._root / path):
                    _finish(self._root / path, attributes)
            # The innermost folders first: a folder's time changes when something is written in it.
            for path in sorted(record.folders, key=lambda path: path.count("/") + bool(path), reverse=True):
                _finish(self._root / path, record.folders[path])
            put_in_place(self._root, self._written.path)
        except BaseException:
            for folder, _, _ in os.walk(self._root):
                os.chmod(folder, 0o700)  # a folder that is read-only could not be emptied
            shutil.rmtree(self._root, ignore_errors=True)
            raise
        return self._written

    def _read_record(self, leaf: object) -> FolderRecord:
        if not isinstance(leaf, str):
            return FolderRecord()  # a manifest that was made by other means has no record
        entry: Any = self._memory.remember(leaf, pool_nickname=self._pool_nickname).wait()
        return FolderRecord.from_data(entry.data)

    def _write_files(self, files: list[tuple[str, str]]) -> None:
        keys = [key for _, key in files]
        entries = self._memory.remember(keys, pool_nickname=self._pool_nickname).wait()
        for (path, key), entry in zip(files, entries, strict=True):
            if entry is None:
                raise EntryNotFoundError(f"no entry {shown(key)} for the file {shown(path)}", key=key)
            content = _content(entry, path)
            file = self._root / path
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(file, content)
            self._written.files += 1
            self._written.nbytes += len(content)
        if self._on_progress is not None:
            self._on_progress(self._written.files, self._written.nbytes)

    def _write_links(self, record: FolderRecord, files: set[str]) -> None:
        """Make the links, which all lie in folders: nothing is written through a link."""
        for path in record.files:
            if path not in files:
                raise CorruptEntryError(f"the record names a file {shown(path)} that the manifest has not")
        for path, target in record.links.items():
            if leaves_folder(path, target):
                self._written.left_out.append(path)
                continue
            if any(str(parent) in record.links for parent in Path(path).parents):
                raise CorruptEntryError(f"the link {shown(path)} lies in a link")
            (self._root / path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.symlink(target, self._root / path)


def _files(tree: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Give the path and the id of each file, the names checked."""
    pending: list[tuple[str, Mapping[str, object]]] = [("", tree)]
    while pending:
        folder, node = pending.pop()
        for name, child in node.items():
            path = f"{folder}/{check_name(name)}" if folder else check_name(name)
            if isinstance(child, str):
                yield path, child
            elif isinstance(child, dict):
                pending.append((path, child))
            else:
                raise InvalidValueError(
                    f"{shown(path)} is a list: this manifest is no folder; see laila export"
                )
