"""Calls to the file system: create a file that becomes an entry in one step, read it, sync it.

Only this module changes stored files. It passes errors of the system on as ``OSError``.

Other users may write to a shared folder, and may replace a folder by a link at any moment. So no call here
uses a whole path. Each call opens the folder of the file from its parent folder and follows no link at either
step. It then works in the opened folder, whatever the folder's name means by then (openat(2)).
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
import sys
from collections import deque
from contextlib import contextmanager, suppress
from functools import wraps
from itertools import islice
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar
from weakref import WeakSet

from laila.contract import allocate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from laila.contract import BytesLike

__all__ = [
    "NewFile",
    "exists",
    "is_remote",
    "list_files",
    "list_folders",
    "make_folder",
    "opened",
    "read",
    "read_start",
    "remove",
    "remove_all",
    "sync_folder",
]

MAP_FROM = 1 << 20
"""A file of this size or more is mapped: nobody copies it, and its pages come from the system's cache."""
# Before Python 3.13 every map keeps a descriptor open, and a process has some thousand of them.
MOST_MAPS = 256
_LOOKUPS = 4
_PARTS_AT_ONCE = 1024  # every system takes so many in one call
_BYTES_AT_ONCE = 8 << 20  # the disk works on these bytes while the next ones are copied

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_REMOTE = {"nfs", "nfs4", "cifs", "smb3", "afs", "9p", "ceph", "lustre", "beegfs", "gpfs", "fuse"}

_maps: WeakSet[mmap.mmap] = WeakSet()

P = ParamSpec("P")
T = TypeVar("T")


# -- folders -------------------------------------------------------------------------------------------------

# Where the system has it: it opens a folder that may be passed through but not listed.
_THROUGH = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TO_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def _enter(path: str) -> tuple[int, str]:
    """Open the folder of ``path``; return its descriptor and the last name of the path.

    Raises ``OSError`` (``ELOOP``) if the folder or its parent is a link.
    """
    head, _, name = path.rpartition("/")
    above, _, folder = head.rpartition("/")
    outer = -1
    try:
        outer = os.open(above or "/", _THROUGH)
        return os.open(folder or ".", _THROUGH, dir_fd=outer), name
    except NotADirectoryError:
        _refuse_link(above, head)
        raise
    finally:
        if outer >= 0:
            os.close(outer)


def _refuse_link(*paths: str) -> None:
    """Raise an error that says that a path is a link; the caller must not use what was opened."""
    for path in paths:
        with suppress(FileNotFoundError, NotADirectoryError):
            if stat.S_ISLNK(os.lstat(path).st_mode):
                raise OSError(errno.ELOOP, "there is a symbolic link in the place of a folder", path)


@contextmanager
def opened(path: str) -> Iterator[int]:
    """Open the folder ``path`` itself: to list it, to sync it, or to open files in it."""
    outer, name = _enter(path)
    try:
        fd = os.open(name or ".", _TO_LIST, dir_fd=outer)
    except OSError as error:
        if error.errno == errno.ENOTDIR:
            _refuse_link(path)
        error.filename = path
        raise
    finally:
        os.close(outer)
    try:
        yield fd
    finally:
        os.close(fd)


# -- writing -------------------------------------------------------------------------------------------------


class NewFile:
    """A file under a temporary name. It is written once, and :meth:`publish` makes it an entry.

    ``folder`` is the descriptor of its folder, which stays open until :meth:`discard`. The caller must always
    call :meth:`discard`, also after an error. Used by one thread.
    """

    def __init__(self, folder: int, name: str, mode: int, *, sync: bool) -> None:
        self._folder = folder
        self._name = name
        self._sync = sync
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(name, flags, mode, dir_fd=folder)
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
        """Let the disk begin with the bytes from ``offset``, while the process prepares more."""
        if hasattr(os, "posix_fadvise"):
            # For bytes that are not on the disk yet, the advice to forget them means: write them there now.
            with suppress(OSError):
                os.posix_fadvise(self._fd, offset, 0, os.POSIX_FADV_DONTNEED)

    def finish(self) -> None:
        """Close the file. With ``sync`` its content survives a power failure from now on."""
        status = os.fstat(self._fd)
        self._inode = (status.st_dev, status.st_ino)
        if self._sync:
            _sync(self._fd)
        # Some file systems report only now that there is no room; nobody has seen the file yet.
        fd, self._fd = self._fd, -1
        os.close(fd)

    def time(self) -> float:
        """Return when the file was made, by the clock of its file system."""
        return os.fstat(self._fd).st_mtime

    def publish(self, target: str, *, replace: bool) -> bool:
        """Give the file the name ``target`` in one step; return whether it did.

        With ``replace`` the file replaces an existing one; without it an existing file stays.
        """
        folder, name = _enter(target)
        try:
            if replace:
                os.replace(self._name, name, src_dir_fd=self._folder, dst_dir_fd=folder)
            else:
                _name_exclusively(self._name, self._folder, name, folder)
        except OSError as error:
            # Over NFS an answer may be lost. At a second call the server answers that it has done this
            # already.
            lost = isinstance(error, FileExistsError | FileNotFoundError)
            if not (lost and self._is_at(name, folder)):
                if isinstance(error, FileExistsError):
                    return False
                error.filename2 = target
                raise
        finally:
            os.close(folder)
        return True

    def _is_at(self, name: str, folder: int) -> bool:
        try:
            status = os.lstat(name, dir_fd=folder)
        except FileNotFoundError:
            return False
        return (status.st_dev, status.st_ino) == self._inode

    def discard(self) -> None:
        """Close the file, and take back its temporary name."""
        if self._fd >= 0:
            with suppress(OSError):  # nobody needs its content any more
                os.close(self._fd)
        with suppress(OSError):  # it was renamed, or :func:`clean` deletes it later
            os.unlink(self._name, dir_fd=self._folder)


def _name_exclusively(source: str, source_folder: int, target: str, target_folder: int) -> None:
    """Give a file the name ``target``; raise ``FileExistsError`` if another file has that name."""
    try:
        os.link(source, target, src_dir_fd=source_folder, dst_dir_fd=target_folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    else:
        return
    # A file system without hard links, for example FAT. Linux can rename without replacing (see
    # renameat2(2)).
    import ctypes

    no_replace = 1
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    number = errno.ENOSYS
    if call is not None:
        names = os.fsencode(source), os.fsencode(target)
        if call(source_folder, names[0], target_folder, names[1], no_replace) == 0:
            return
        number = ctypes.get_errno()
    if number in {errno.EINVAL, errno.ENOSYS}:
        reason = "this file system has neither hard links nor exclusive renames: nothing can be created here"
        raise OSError(errno.ENOTSUP, reason, target)
    raise OSError(number, os.strerror(number), target)


def remove(path: str) -> bool:
    """Delete a file; return whether it was there."""
    try:
        folder, name = _enter(path)
        try:
            os.unlink(name, dir_fd=folder)
        finally:
            os.close(folder)
    except FileNotFoundError:
        return False
    return True


def remove_all(folder: str, names: Iterable[str]) -> None:
    """Delete files in ``folder`` that may be gone."""
    with opened(folder) as fd:
        for name in names:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=fd)


def make_folder(path: str, mode: int) -> None:
    """Make a folder in an existing folder; it may be there already."""
    folder, name = _enter(path)
    try:
        os.mkdir(name, mode, dir_fd=folder)
    except FileExistsError:
        pass
    finally:
        os.close(folder)


def sync_folder(path: str) -> None:
    """Make the names in a folder survive a power failure. Syncing a file does not cover its name."""
    with opened(path) as fd:
        try:
            _sync(fd)
        except OSError as error:
            # this file system cannot sync a folder
            if error.errno not in {errno.EINVAL, errno.EBADF, errno.ENOTSUP}:
                raise


if sys.platform == "darwin":
    import fcntl

    def _sync(fd: int) -> None:
        # On macOS fsync leaves the data in the drive's own cache.
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
else:

    def _sync(fd: int) -> None:
        os.fsync(fd)


# -- reading -------------------------------------------------------------------------------------------------


def _looked_up_again(function: Callable[Concatenate[str, P], T]) -> Callable[Concatenate[str, P], T]:
    """Call ``function`` again, a few times, if another machine has replaced the file (NFS).

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
    folder, name = _enter(path)
    try:
        # The call must not wait for a pipe, and must not follow a link.
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(folder)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "no regular file")
    except BaseException:
        os.close(fd)
        raise
    return fd, status.st_size


@_looked_up_again
def read(path: str, *, mapped: bool) -> bytes | memoryview:
    """Return a file's content. With ``mapped`` a large file is returned as a map.

    Without a map the caller alone owns the memory of a large file, and may write to it.
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
    """Map a file; the map stays when the file is unlinked or replaced. None if it cannot be mapped."""
    try:
        if sys.version_info >= (3, 13):
            return memoryview(mmap.mmap(fd, size, access=mmap.ACCESS_READ, trackfd=False))
        if len(_maps) >= MOST_MAPS:
            return None
        made = mmap.mmap(fd, size, access=mmap.ACCESS_READ)
    except OSError:  # no descriptor or memory is left, or this file system cannot map: reading may work
        return None
    _maps.add(made)
    return memoryview(made)


@_looked_up_again
def read_start(path: str, length: int) -> bytes:
    """Return the first ``length`` bytes of a file, or all of a shorter one."""
    fd, size = _open(path)
    try:
        return os.read(fd, min(length, size))  # the length may be what a damaged blob says
    finally:
        os.close(fd)


@_looked_up_again
def read_ranges(path: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    """Return the bytes of some ranges of a file, fewer of one where the file ends before."""
    fd, size = _open(path)
    try:
        found = []
        for start, stop in ranges:
            end = min(stop, size)
            data = os.pread(fd, end - start, start) if start < end else b""
            while 0 < len(data) < end - start and (
                more := os.pread(fd, end - start - len(data), start + len(data))
            ):
                data += more  # the system reads no more than 2 GiB at once
            found.append(data)
        return found
    finally:
        os.close(fd)


@_looked_up_again
def map_file(path: str) -> bytes | memoryview | None:
    """Return a map of a file, or the bytes of a small one; None where it cannot be mapped."""
    fd, size = _open(path)
    try:
        return os.read(fd, size) if size < MAP_FROM else _map(fd, size)
    finally:
        os.close(fd)


@_looked_up_again
def exists(path: str) -> bool:
    """Whether any file, folder or link has this name."""
    try:
        folder, name = _enter(path)
        try:
            os.lstat(name, dir_fd=folder)
        finally:
            os.close(folder)
    except FileNotFoundError:
        return False
    return True


@_looked_up_again
def time_of(path: str) -> float | None:
    """Return when a file was written or renewed, by the clock of its file system; None if it is missing."""
    try:
        folder, name = _enter(path)
        try:
            return os.lstat(name, dir_fd=folder).st_mtime
        finally:
            os.close(folder)
    except FileNotFoundError:
        return None


@_looked_up_again
def renew(path: str) -> None:
    """Let a file have been written now."""
    folder, name = _enter(path)
    try:
        os.utime(name, dir_fd=folder, follow_symlinks=False)
    finally:
        os.close(folder)


@_looked_up_again
def note_access(path: str, when: int) -> None:
    """Set the access time of a file, in nanoseconds; the time when it was written stays."""
    folder, name = _enter(path)
    try:
        written = os.lstat(name, dir_fd=folder).st_mtime_ns
        os.utime(name, ns=(when, written), dir_fd=folder, follow_symlinks=False)
    finally:
        os.close(folder)


@_looked_up_again
def list_files(folder: str, suffix: str) -> list[str]:
    """Return the names of the regular files in ``folder`` that end in ``suffix``, each once."""
    with opened(folder) as fd, os.scandir(fd) as listing:
        names = [
            each.name
            for each in listing
            if each.name.endswith(suffix) and each.is_file(follow_symlinks=False)
        ]
    # A listing may show a file twice if somebody replaces it meanwhile.
    return list(dict.fromkeys(names))


@_looked_up_again
def list_folders(folder: str) -> dict[str, bool]:
    """Return the names of the folders and links in ``folder``, each with whether it is a link."""
    with opened(folder) as fd, os.scandir(fd) as listing:
        return {
            each.name: each.is_symlink()
            for each in listing
            if each.is_symlink() or each.is_dir(follow_symlinks=False)
        }


def is_remote(path: str) -> bool:
    """Whether ``path`` is on a network file system, as far as the system says.

    On a network file system another machine can delete a mapped file. Reading the map would then end the
    process.
    """
    device = os.stat(path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    with suppress(OSError), open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
        for line in file:  # see proc_pid_mountinfo(5)
            mount, _, source = line.partition(" - ")
            if mount.split()[2] == number:
                return source.split()[0].partition(".")[0] in _REMOTE  # for example fuse.sshfs
    return False
