"""What is asked of the file system: a new file that becomes an entry in one step, reading, syncing.

The only module that changes what is stored. Errors of the system come through as ``OSError``.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
import sys
from collections import deque
from contextlib import suppress
from functools import wraps
from itertools import islice
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar
from weakref import WeakSet

from laila.contract import allocate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from laila.contract import BytesLike

__all__ = [
    "NewFile",
    "exists",
    "is_remote",
    "list_files",
    "make_folder",
    "read",
    "read_start",
    "refuse_link",
    "remove",
    "sync_folder",
]

MAP_FROM = 1 << 20
"""A file of so many bytes is mapped: no copy is made, and its pages come from the system's cache."""
# Before Python 3.13 every map keeps a descriptor open, and a process has some thousand of them.
MOST_MAPS = 256
_LOOKUPS = 4
_PARTS_AT_ONCE = 1024  # what every system takes in one call
_BYTES_AT_ONCE = 8 << 20  # so that the disk works on some while the next are copied

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_REMOTE = {"nfs", "nfs4", "cifs", "smb3", "afs", "9p", "ceph", "lustre", "beegfs", "gpfs", "fuse"}

_maps: WeakSet[mmap.mmap] = WeakSet()

P = ParamSpec("P")
T = TypeVar("T")


# -- writing -------------------------------------------------------------------------------------------------


class NewFile:
    """A file under a temporary name, written once, which :meth:`publish` makes an entry.

    Whatever happens, :meth:`discard` must follow. Used by one thread.
    """

    def __init__(self, path: str, mode: int, *, sync: bool) -> None:
        self._path = path
        self._sync = sync
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        self._inode = (0, 0)

    def write(self, parts: Sequence[BytesLike], *, more: bool = False) -> None:
        """Write ``parts`` one after the other, without joining them.

        ``more`` says that other files will be written before this one is finished.
        """
        views = deque(view for part in parts if (view := memoryview(part)).nbytes)
        end = 0
        while views:
            room = _BYTES_AT_ONCE
            chosen: list[memoryview] = []
            for view in islice(views, _PARTS_AT_ONCE):
                chosen.append(view[:room])
                room -= chosen[-1].nbytes
                if not room:
                    break
            written = left = os.writev(self._fd, chosen)
            while left:
                view = views.popleft()
                if left < view.nbytes:
                    views.appendleft(view[left:])
                left -= min(left, view.nbytes)
            if self._sync and (views or more):
                self._start_sync(end)
            end += written

    def _start_sync(self, offset: int) -> None:
        """Let the disk begin with what was written from ``offset``, and work while there is more to write."""
        if hasattr(os, "posix_fadvise"):
            # About what is not on the disk yet this advice, to forget it, means: write it there now.
            with suppress(OSError):
                os.posix_fadvise(self._fd, offset, 0, os.POSIX_FADV_DONTNEED)

    def finish(self) -> None:
        """Close the file; with ``sync`` its content survives a power failure from now on."""
        found = os.fstat(self._fd)
        self._inode = (found.st_dev, found.st_ino)
        if self._sync:
            _sync(self._fd)
        # Some file systems tell only now that there is no room; nobody has seen the file yet.
        fd, self._fd = self._fd, -1
        os.close(fd)

    def publish(self, target: str, *, replace: bool) -> bool:
        """Give the file the name ``target`` in one step; return whether it was given.

        With ``replace`` in place of what bears it, else only where nothing does.
        """
        try:
            if replace:
                os.replace(self._path, target)
            else:
                _name_exclusively(self._path, target)
        except (FileExistsError, FileNotFoundError) as error:
            # Over NFS an answer may be lost. Asked again, the server finds what it has done already.
            if not self._is_at(target):
                if isinstance(error, FileExistsError):
                    return False
                raise
        return True

    def _is_at(self, target: str) -> bool:
        try:
            found = os.lstat(target)
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) == self._inode

    def discard(self) -> None:
        """Close the file, and take back its temporary name."""
        if self._fd >= 0:
            with suppress(OSError):  # its content does not matter any more
                os.close(self._fd)
        with suppress(OSError):  # it was renamed; or else it is cleaned up later
            os.unlink(self._path)


def _name_exclusively(source: str, target: str) -> None:
    """Give a file the name ``target``; raise ``FileExistsError`` where something bears it."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    else:
        return
    # A file system without hard links, such as FAT. Linux can rename without replacing (see renameat2(2)).
    import ctypes

    at_current, no_replace = -100, 1
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    number = errno.ENOSYS
    if call is not None:
        if call(at_current, os.fsencode(source), at_current, os.fsencode(target), no_replace) == 0:
            return
        number = ctypes.get_errno()
    if number in {errno.EINVAL, errno.ENOSYS}:
        reason = "this file system has neither hard links nor exclusive renames: nothing can be created here"
        raise OSError(errno.ENOTSUP, reason, target)
    raise OSError(number, os.strerror(number), target)


def remove(path: str) -> bool:
    """Delete a file; return whether it was there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def make_folder(path: str, mode: int) -> None:
    """Make a folder that may be there already, in one that is."""
    with suppress(FileExistsError):
        os.mkdir(path, mode)


def sync_folder(path: str) -> None:
    """Make the names in a folder survive a power failure; no sync of a file covers its name."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _sync(fd)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.EBADF, errno.ENOTSUP}:  # nothing here syncs a folder
            raise
    finally:
        os.close(fd)


if sys.platform == "darwin":
    import fcntl

    def _sync(fd: int) -> None:
        # There fsync leaves the data in the drive's own cache.
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
else:

    def _sync(fd: int) -> None:
        os.fsync(fd)


# -- reading -------------------------------------------------------------------------------------------------


def _looked_up_again(function: Callable[Concatenate[str, P], T]) -> Callable[Concatenate[str, P], T]:
    """Over NFS a name may lead to a file that another machine has replaced: follow it anew, a few times.

    Any error then names the path.
    """

    @wraps(function)
    def call(path: str, /, *args: P.args, **kwargs: P.kwargs) -> T:
        lookups_left = _LOOKUPS
        while True:
            try:
                return function(path, *args, **kwargs)
            except OSError as error:
                lookups_left -= 1
                if error.errno != errno.ESTALE or not lookups_left:
                    error.filename = path
                    raise

    return call


def _open(path: str) -> tuple[int, int]:
    """Open a regular file; return the descriptor, and the size of the file."""
    # A pipe must not be waited for; a link may lead anywhere.
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "no regular file")
    except BaseException:
        os.close(fd)
        raise
    return fd, found.st_size


@_looked_up_again
def read(path: str, *, mapped: bool) -> bytes | memoryview:
    """Return a file's content: with ``mapped`` as a map, where it is large enough for that.

    Of a large file that is not mapped the memory is the caller's alone, and writable.
    """
    fd, size = _open(path)
    try:
        if size < MAP_FROM:
            return os.read(fd, size)
        view = _map(fd, size) if mapped else None
        if view is not None:
            return view
        memory = allocate(size)
        end = 0
        with open(fd, "rb", buffering=0, closefd=False) as file:
            while end < size and (got := file.readinto(memory[end : end + _BYTES_AT_ONCE])):
                end += got
        return memory[:end]
    finally:
        os.close(fd)


def _map(fd: int, size: int) -> memoryview | None:
    """Map a file, which stays as it is when it is unlinked or replaced; None where that cannot be."""
    try:
        if sys.version_info >= (3, 13):
            return memoryview(mmap.mmap(fd, size, access=mmap.ACCESS_READ, trackfd=False))
        if len(_maps) >= MOST_MAPS:
            return None
        made = mmap.mmap(fd, size, access=mmap.ACCESS_READ)
    except OSError:  # no descriptor or memory is left, or this file system maps nothing: reading may work
        return None
    _maps.add(made)
    return memoryview(made)


@_looked_up_again
def read_start(path: str, length: int) -> bytes:
    """Return the first ``length`` bytes of a file, or all of a shorter one."""
    fd, _ = _open(path)
    try:
        return os.read(fd, length)
    finally:
        os.close(fd)


@_looked_up_again
def exists(path: str) -> bool:
    """Whether anything bears this name."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    return True


def refuse_link(*paths: str) -> None:
    """Raise ``OSError`` (``ELOOP``) where one of ``paths``, which should be folders, is a link."""
    for path in paths:
        with suppress(FileNotFoundError):
            if stat.S_ISLNK(os.lstat(path).st_mode):
                raise OSError(errno.ELOOP, "there is a symbolic link in the place of a folder", path)


@_looked_up_again
def list_files(folder: str, suffix: str) -> list[str]:
    """Return the names of the regular files in ``folder`` that end in ``suffix``, each once."""
    refuse_link(folder)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with os.scandir(fd) as found:
            names = [
                each.name
                for each in found
                if each.name.endswith(suffix) and each.is_file(follow_symlinks=False)
            ]
    finally:
        os.close(fd)
    # A file that is replaced meanwhile may be seen twice.
    return list(dict.fromkeys(names))


def is_remote(path: str) -> bool:
    """Whether ``path`` is on a network file system, as far as the system says.

    There another machine can delete a file under a map of it, and touching the map would end the process.
    """
    device = os.stat(path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    with suppress(OSError), open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
        for line in file:  # see proc_pid_mountinfo(5)
            mount, _, source = line.partition(" - ")
            if mount.split()[2] == number:
                return source.split()[0].partition(".")[0] in _REMOTE  # such as fuse.sshfs
    return False
