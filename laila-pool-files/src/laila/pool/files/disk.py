"""What is asked of the file system: a new file that becomes an entry in one step, reading, syncing.

The only module that changes what is stored. Errors of the system come through as ``OSError``.

Other users may write to a shared folder, and put a link where a folder was at any moment. So nothing is done
by a whole path: the folder of a file is opened from the one above it, no link is followed at either step, and
what is asked for is asked for in the folder that was opened, whatever its name has come to mean (openat(2)).
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


# -- folders -------------------------------------------------------------------------------------------------

# Where the system knows it: a folder is gone through that may not be listed.
_THROUGH = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TO_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def _enter(path: str) -> tuple[int, str]:
    """Open the folder of ``path``; return its descriptor, and the last name of the path.

    Raises ``OSError`` (``ELOOP``) where the folder or the one above it is a link.
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
    """Say in an error that a path is a link; what was opened is not what is asked here."""
    for path in paths:
        with suppress(FileNotFoundError, NotADirectoryError):
            if stat.S_ISLNK(os.lstat(path).st_mode):
                raise OSError(errno.ELOOP, "there is a symbolic link in the place of a folder", path)


@contextmanager
def opened(path: str) -> Iterator[int]:
    """Open the folder ``path`` itself, for its list, for syncing, and for what lies in it."""
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
    """A file under a temporary name, written once, which :meth:`publish` makes an entry.

    ``folder`` is the descriptor of the folder it lies in, which stays open until the file is discarded.
    Whatever happens, :meth:`discard` must follow. Used by one thread.
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
        folder, name = _enter(target)
        try:
            if replace:
                os.replace(self._name, name, src_dir_fd=self._folder, dst_dir_fd=folder)
            else:
                _name_exclusively(self._name, self._folder, name, folder)
        except OSError as error:
            # Over NFS an answer may be lost. Asked again, the server finds what it has done already.
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
            found = os.lstat(name, dir_fd=folder)
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) == self._inode

    def discard(self) -> None:
        """Close the file, and take back its temporary name."""
        if self._fd >= 0:
            with suppress(OSError):  # its content does not matter any more
                os.close(self._fd)
        with suppress(OSError):  # it was renamed; or else it is cleaned up later
            os.unlink(self._name, dir_fd=self._folder)


def _name_exclusively(source: str, source_folder: int, target: str, target_folder: int) -> None:
    """Give a file the name ``target``; raise ``FileExistsError`` where something bears it."""
    try:
        os.link(source, target, src_dir_fd=source_folder, dst_dir_fd=target_folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    else:
        return
    # A file system without hard links, such as FAT. Linux can rename without replacing (see renameat2(2)).
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
    """Make a folder that may be there already, in one that is."""
    folder, name = _enter(path)
    try:
        os.mkdir(name, mode, dir_fd=folder)
    except FileExistsError:
        pass
    finally:
        os.close(folder)


def sync_folder(path: str) -> None:
    """Make the names in a folder survive a power failure; no sync of a file covers its name."""
    with opened(path) as fd:
        try:
            _sync(fd)
        except OSError as error:
            if error.errno not in {errno.EINVAL, errno.EBADF, errno.ENOTSUP}:  # nothing here syncs a folder
                raise


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
    folder, name = _enter(path)
    try:
        # A pipe must not be waited for; a link may lead anywhere.
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(folder)
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
        folder, name = _enter(path)
        try:
            os.lstat(name, dir_fd=folder)
        finally:
            os.close(folder)
    except FileNotFoundError:
        return False
    return True


@_looked_up_again
def list_files(folder: str, suffix: str) -> list[str]:
    """Return the names of the regular files in ``folder`` that end in ``suffix``, each once."""
    with opened(folder) as fd, os.scandir(fd) as found:
        names = [
            each.name for each in found if each.name.endswith(suffix) and each.is_file(follow_symlinks=False)
        ]
    # A file that is replaced meanwhile may be seen twice.
    return list(dict.fromkeys(names))


@_looked_up_again
def list_folders(folder: str) -> dict[str, bool]:
    """Return the names of the folders and links in ``folder``, and of each whether it is a link."""
    with opened(folder) as fd, os.scandir(fd) as found:
        return {
            each.name: each.is_symlink()
            for each in found
            if each.is_symlink() or each.is_dir(follow_symlinks=False)
        }


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
