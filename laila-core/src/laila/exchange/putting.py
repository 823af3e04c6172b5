"""put_path(): store a file or a folder, so that :func:`~laila.exchange.get_path` gives it back.

A file becomes an entry of its bytes. A folder becomes a manifest of its files, whose ids come from their
content: equal files are stored once, and storing the folder again writes what changed.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from laila.active import get_active_policy
from laila.errors import InvalidValueError
from laila.exchange.record import RECORD, FolderRecord, check_name
from laila.exchange.trees import TreeWriter
from laila.showing import said, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from laila.central.memory_verbs import MemoryVerbs

__all__ = ["put_path"]


def put_path(
    path: str | os.PathLike[str],
    memory: MemoryVerbs | None = None,
    *,
    nickname: str | None = None,
    pool_nickname: str | None = None,
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> str:
    """Store a file or a folder. Blocks. Memory: 64 MiB of files, or the largest file.

    Args:
        path: The file or folder. A link is followed; links within a folder are stored as links.
        memory: Where to: by default ``laila.memory``; or the memory of a peer.
        nickname: The name of the entry or manifest; by default the last part of the path.
        pool_nickname: The pool; by default the alpha pool.
        overwrite: Replace what has the name already. By default other content is refused.
        on_progress: Called with the number of files and of bytes that are stored so far.

    Returns:
        The global id of the entry or manifest.

    Raises:
        OSError: A file could not be read.
        InvalidValueError: Something in the folder is no file, folder or link, or has a name that is no
            text (a ``ValueError``). Nothing was stored.
        ImmutableEntryError: The name is taken by other content (a ``RuntimeError``).
    """
    if memory is None:
        memory = get_active_policy().central.memory
    root = Path(os.path.abspath(path))
    name = nickname if nickname is not None else root.name
    if not name:
        raise InvalidValueError(f"{shown(str(path))} has no name of its own: give a nickname")
    options: dict[str, Any] = {"pool_nickname": pool_nickname, "overwrite": overwrite}
    if not root.is_dir():
        return _put_file(root, memory, name, options, on_progress)
    from laila.entry import Manifest

    record = FolderRecord()
    files = list(_walk(root, record))  # whole, so that nothing is stored of a folder that is refused
    writer = TreeWriter(memory, pool_nickname)
    for file in files:
        content, _ = _read(root / file, os.O_NOFOLLOW)  # it may be a link by now
        if writer.add(file.split("/"), content) and on_progress is not None:
            on_progress(writer.leaves, writer.nbytes)
    writer.add([RECORD], record.to_data())
    writer.flush()
    manifest = Manifest(writer.tree, nickname=name)
    memory.memorize_manifest(manifest, **options).wait()
    return manifest.global_id


def _put_file(
    path: Path,
    memory: MemoryVerbs,
    name: str,
    options: dict[str, Any],
    on_progress: Callable[[int, int], None] | None,
) -> str:
    from laila.entry import Entry

    content, status = _read(path)
    metadata = {"file": path.name, "mode": stat.S_IMODE(status.st_mode), "mtime_ns": status.st_mtime_ns}
    entry = Entry.constant(content, nickname=name, metadata=metadata)
    memory.memorize(entry, copy=False, **options).wait()
    if on_progress is not None:
        on_progress(1, len(content))
    return entry.global_id


def _walk(root: Path, record: FolderRecord) -> Iterator[str]:
    """Give the paths of the files below ``root``, in order; note everything in the record."""
    pending = [""]
    while pending:
        folder = pending.pop()
        status = os.stat(root / folder)
        record.folders[folder] = (stat.S_IMODE(status.st_mode), status.st_mtime_ns)
        with os.scandir(root / folder) as scan:
            entries = sorted(scan, key=lambda entry: entry.name, reverse=True)
        files = []
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            try:
                check_name(entry.name)
            except ValueError as error:
                raise InvalidValueError(f"{shown(path)} cannot be stored: {said(error)}") from error
            if entry.is_symlink():
                record.links[path] = os.readlink(entry.path)
            elif entry.is_dir(follow_symlinks=False):
                pending.append(path)
            elif entry.is_file(follow_symlinks=False):
                status = entry.stat(follow_symlinks=False)
                record.files[path] = (stat.S_IMODE(status.st_mode), status.st_mtime_ns)
                files.append(path)
            else:
                raise InvalidValueError(
                    f"{shown(path)} is no file, folder or link: move it away, or name files"
                )
        yield from reversed(files)


def _read(path: Path, flags: int = 0) -> tuple[bytes, os.stat_result]:
    """Read a regular file; a device or a pipe could be endless."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | flags)
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise InvalidValueError(f"{shown(str(path))} is no file or folder")
        return file.read(), status
