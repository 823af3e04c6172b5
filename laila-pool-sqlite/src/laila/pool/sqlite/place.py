"""The file itself, before SQLite opens it: how it is made, and on which file system it stands.

Never open the file beside SQLite: to close it would drop the locks that this process holds on it
(POSIX locks belong to the process: https://www.sqlite.org/howtocorrupt.html, section 2.2). :func:`make` does
so under a lock, and only where no file was.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from laila.contract import locks
from laila.errors import PoolError, PoolFormatError

__all__ = ["is_remote", "look", "make"]

MOUNTS = "/proc/self/mountinfo"
_making = locks.long_lock()
# Several hosts see one file there, but share no memory, which WAL needs.
_REMOTE = {"nfs", "nfs4", "cifs", "smb3", "afs", "9p", "ceph", "lustre", "beegfs", "gpfs", "virtiofs"}
_REMOTE |= {f"fuse.{name}" for name in ("sshfs", "glusterfs", "ceph", "s3fs", "rclone", "grpcfuse")}


def look(path: str) -> os.stat_result | None:
    """Return what stands at ``path``, or None. Raises an error for what is no regular file."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise PoolError(f"cannot look at {path}: {error.strerror}", pool=path, errno=error.errno) from error
    if not stat.S_ISREG(status.st_mode):
        number = errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.EINVAL
        raise PoolFormatError(
            f"{path} is no regular file; it was left as it is. Give another path", pool=path, errno=number
        )
    return status


def make(path: str) -> None:
    """Make an empty file that only its owner may read, unless a file is there."""
    locks.check_free(_making)
    with _making:
        try:
            os.close(
                os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            )
        except FileExistsError:
            return
        except OSError as error:
            folder = os.path.dirname(path)
            gone = isinstance(error, FileNotFoundError | NotADirectoryError)
            advice = (
                f"the folder {folder} is not there. Make it, or mount it, first" if gone else error.strerror
            )
            raise PoolError(f"cannot make {path}: {advice}", pool=path, errno=error.errno) from error


def is_remote(path: str) -> bool:
    """Return whether ``path`` is on a network file system, as far as the system says."""
    device = os.stat(path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    with suppress(OSError), open(MOUNTS, encoding="utf-8", errors="replace") as file:
        for line in file:  # see proc_pid_mountinfo(5)
            mount, _, source = line.partition(" - ")
            if mount.split()[2] == number:
                return source.split()[0] in _REMOTE
    return False
