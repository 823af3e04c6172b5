"""Turn errors of the system into errors of laila."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from laila.errors import LailaError, PoolError

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["reporting"]

_ROOM = "; make room, then try again"
_RIGHTS = "; this user may not: look at the owner and the permissions of the folder"
_ADVICE = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: "; raise the limit of the file size, then try again",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: "; the file system is mounted read-only",
    errno.EMFILE: "; raise the limit of open files (ulimit -n)",
    errno.ENFILE: "; raise the limit of open files",
    errno.ELOOP: "; a pool follows no symbolic link inside its folder: delete it",
    errno.EXDEV: "; the folders of a pool must be in one file system",
}


class reporting:  # noqa: N801 - it reads as the function that it would be, were that as quick
    """Turn an ``OSError`` of the body into a :class:`~laila.errors.PoolError` that says what to do."""

    __slots__ = ("_path", "_what")

    def __init__(self, what: str, path: str) -> None:
        self._what = what
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, OSError) or isinstance(error, LailaError):
            return
        # For a link or a rename the new name says more.
        place = error.filename2 or error.filename
        where = f" ({place})" if place not in (None, self._path) else ""
        advice = _ADVICE.get(error.errno or 0, "")
        raise PoolError(
            f"cannot {self._what} {self._path}: {error.strerror or error}{where}{advice}",
            errno=error.errno,
            pool=self._path,
        ) from error
