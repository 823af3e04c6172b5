"""Turn errors of SQLite into errors of laila that say what to do."""

from __future__ import annotations

import errno
import os
import sqlite3

from laila.contract import said
from laila.errors import PoolError, PoolFormatError, PoolLockedError

__all__ = ["is_busy", "is_damage", "locked", "moved", "translated"]

_ERRNO = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_PERM: errno.EACCES,
    sqlite3.SQLITE_IOERR: errno.EIO,
    sqlite3.SQLITE_NOMEM: errno.ENOMEM,
}
_ADVICE = {
    errno.ENOSPC: "; nothing was changed: make room, then try again",
    errno.EROFS: "; this user may not write there: read it with read_only=True, or mind the permissions of "
    "the file and its folder",
    errno.EACCES: "; this user may not: mind the permissions of the file and its folder",
    errno.ENOENT: "; make the folder, or mount it, first",
    errno.EIO: "; nothing was changed: look at the disk, then try again",
}
_NO_LOCKS = {
    sqlite3.SQLITE_IOERR_LOCK,
    sqlite3.SQLITE_IOERR_RDLOCK,
    sqlite3.SQLITE_IOERR_UNLOCK,
    sqlite3.SQLITE_IOERR_CHECKRESERVEDLOCK,
    sqlite3.SQLITE_IOERR_SHMLOCK,
}
# PROTOCOL: others were always quicker when this one began to read the log.
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH}


def _code(error: sqlite3.Error) -> int:
    """Return SQLite's extended result code; 0 for an error of Python's own."""
    return getattr(error, "sqlite_errorcode", 0)


def is_busy(error: sqlite3.Error) -> bool:
    """Return whether another connection has the lock that was asked for."""
    return _code(error) & 0xFF in _BUSY


def is_damage(error: sqlite3.Error) -> bool:
    """Return whether what stands in the file cannot be what the pool wrote."""
    # Python's own error, without a code: a text that is not valid UTF-8.
    return _code(error) & 0xFF in _DAMAGE or (
        not _code(error) and isinstance(error, sqlite3.OperationalError | sqlite3.DataError)
    )


def locked(path: str, timeout: float) -> PoolLockedError:
    """Make the error for a lock that others kept for longer than ``timeout`` seconds."""
    return PoolLockedError(
        f"another thread or process writes to {path} for more than {timeout:g} s: nothing was done; try "
        "again, or give a longer lock_timeout",
        pool=path,
        errno=errno.EAGAIN,
    )


def moved(path: str) -> PoolError:
    """Make the error for a file that is not at its place any more."""
    return PoolError(
        f"{path} was moved, deleted or replaced while the pool was open; open it again",
        pool=path,
        errno=errno.ESTALE,
    )


def translated(error: sqlite3.Error, path: str, timeout: float) -> PoolError:
    """Say in laila's terms what SQLite reports of the file at ``path``."""
    if is_busy(error):
        return locked(path, timeout)
    code = _code(error)
    if code & 0xFF == sqlite3.SQLITE_NOTADB:
        return PoolFormatError(
            f"{path} is no SQLite file; it was left as it is. Give another path", pool=path
        )
    if is_damage(error):
        return PoolFormatError(
            f"{path} is damaged ({said(error)}): restore it from a backup, or save what is left with "
            "`sqlite3 FILE .recover`",
            pool=path,
        )
    if code in _NO_LOCKS:
        return PoolError(
            f"cannot lock {path}: its file system has no locks, or refuses them, and SQLite needs them; put "
            "the file on a local disk, or keep a pool of files there (file:FOLDER)",
            pool=path,
            errno=errno.ENOLCK,
        )
    if code == sqlite3.SQLITE_READONLY_DBMOVED:
        return moved(path)
    number = _why_not_opened(path) if code & 0xFF == sqlite3.SQLITE_CANTOPEN else _ERRNO.get(code & 0xFF)
    reason = os.strerror(number) if number else "SQLite failed"
    return PoolError(
        f"cannot use {path}: {reason} (SQLite says: {said(error)}){_ADVICE.get(number or 0, '')}",
        pool=path,
        errno=number,
    )


def _why_not_opened(path: str) -> int:
    """Find out why a file, or one of the files beside it, cannot be opened: SQLite does not tell."""
    folder = os.path.dirname(path)
    if os.path.isdir(path):
        return errno.EISDIR
    if os.path.exists(path) or (os.path.isdir(folder) and not os.access(folder, os.W_OK)):
        return errno.EACCES
    return errno.ENOENT
