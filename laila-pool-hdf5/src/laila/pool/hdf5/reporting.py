"""Turn errors of the system and of HDF5 into errors of laila."""

from __future__ import annotations

import errno
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING

from laila.contract import said
from laila.errors import LailaError, PoolError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["reporting"]

_ADVICE = {
    errno.ENOSPC: "; nothing was changed: make room, then try again",
    errno.EDQUOT: "; nothing was changed: make room, then try again",
    errno.EFBIG: "; nothing was changed: raise the limit of the file size, then try again",
    errno.EACCES: "; to read a file without the right to write, open the pool with read_only=True",
    errno.EROFS: "; to read a file without the right to write, open the pool with read_only=True",
}


@contextmanager
def reporting(what: str, path: str) -> Iterator[None]:
    """Turn an error of the system, or of HDF5, into a :class:`PoolError` that says what to do."""
    try:
        yield
    except LailaError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise PoolError(
            f"cannot {what} {path}: {reason}{_ADVICE.get(error.errno or 0, '')}", errno=error.errno, pool=path
        ) from error
    except (LookupError, ValueError, RuntimeError, TypeError, struct.error) as error:
        raise PoolError(
            f"cannot {what} {path}: HDF5 says {said(error)}; was the file changed by another program?",
            pool=path,
        ) from error
