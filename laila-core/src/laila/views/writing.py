"""Arrays that are larger than memory: written row by row, and stored whole or not at all.

Until all rows are there they lie in a file of their own, without a name, that nobody else can see. Then the
file is mapped, and stored as any array is: under its id, in whatever pool, or by a peer.
"""

from __future__ import annotations

import mmap
from math import prod
from tempfile import TemporaryFile

from laila.errors import InvalidArgumentError, InvalidValueError, PoolError
from laila.showing import said, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, Self

    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

__all__ = ["ArrayWriter"]

_MAX_DIMENSIONS = 64
_COPIED = 1 << 20


class ArrayWriter:
    """Takes the rows of an array in order. A context manager, which stores the array at its end.

    Made by :func:`laila.write_array`; for one thread. An error inside of ``with``, or rows that are missing
    at its end, leave nothing behind.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: object,
        store: Callable[[Array], str],
        folder: str | os.PathLike[str] | None = None,
    ) -> None:
        import numpy as np

        if isinstance(shape, (str, bytes)) or not hasattr(shape, "__iter__"):
            raise InvalidArgumentError(f"shape is a tuple of ints, not {shown(shape)}")
        try:
            lengths = tuple(n.__index__() for n in shape)
            kind = np.dtype(dtype)  # type: ignore[call-overload]  # raises for other types
        except (TypeError, AttributeError) as error:
            raise InvalidArgumentError(
                f"shape={shown(shape)} and dtype={shown(dtype)} are those of no array: {said(error)}"
            ) from error
        if not 0 < len(lengths) <= _MAX_DIMENSIONS or min(lengths) < 0:
            raise InvalidValueError(
                f"shape={shown(lengths)}: an array of rows has one length at least, none below 0"
            )
        if kind.hasobject or not kind.itemsize:
            raise InvalidValueError(
                f"dtype={shown(str(kind))}: rows of objects, or of nothing, cannot be written"
            )
        self.shape = lengths
        self.dtype: np.dtype[Any] = kind
        self.rows = 0
        """How many rows were written."""
        self.global_id: str | None = None
        """The id of the entry, once it is stored."""
        self._store = store
        try:
            self._file = TemporaryFile(dir=folder)  # noqa: SIM115 - closed at the end of the with statement
        except OSError as error:
            raise _failed("made", error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            if kind is None:
                self._commit()

    def append(self, rows: object) -> None:
        """Write the next rows, or the next row.

        Args:
            rows: An array of rows, or one row; of a dtype that becomes this one without another kind.

        Raises:
            InvalidValueError: they do not have the shape of rows, or there is no room for them.
            InvalidArgumentError: they are of another kind than this array (a ``TypeError``).
            PoolError: the file that they lie in until the end cannot be written.
        """
        import numpy as np

        try:
            given = np.asarray(rows)
        except ValueError as error:
            raise InvalidValueError(f"these are no rows: {said(error)}") from error
        if given.shape == self.shape[1:]:
            given = given[None]
        if given.shape[1:] != self.shape[1:] or given.ndim != len(self.shape):
            raise InvalidValueError(
                f"rows of shape {given.shape} do not go into an array of shape {self.shape}: give "
                f"(n, {', '.join(map(str, self.shape[1:]))})"
            )
        if not np.can_cast(given.dtype, self.dtype, "same_kind"):
            raise InvalidArgumentError(
                f"rows of {given.dtype} do not become {self.dtype} without loss: convert them"
            )
        if self.rows + len(given) > self.shape[0]:
            raise InvalidValueError(
                f"{len(given)} rows after {self.rows} are more than the {self.shape[0]} of the array"
            )
        if self._file.closed:
            raise InvalidValueError("the array is at its end: rows are written inside of the with statement")
        step = max(1, _COPIED // max(1, prod(self.shape[1:]) * self.dtype.itemsize))
        try:
            for start in range(0, len(given), step):
                part = np.ascontiguousarray(given[start : start + step], self.dtype)
                self._file.write(part.reshape(-1).view(np.uint8).data if part.nbytes else b"")
                self.rows += len(part)
        except OSError as error:
            raise _failed("written", error) from error

    def __setitem__(self, place: slice, rows: object) -> None:
        """Write rows at their place, which is right behind those before.

        Args:
            place: A slice of rows.
            rows: As many rows, or one row where the slice has one.

        Raises:
            InvalidValueError: it is not the next slice, or has another number of rows; else as
                :meth:`append` does.
        """
        if not isinstance(place, slice):
            raise InvalidArgumentError(f"rows are written by a slice, writer[a:b] = rows, not {shown(place)}")
        start, stop, step = place.indices(self.shape[0])
        if start != self.rows or step != 1:
            raise InvalidValueError(
                f"rows are written in order: the next slice begins at {self.rows}, not at {start}"
            )
        import numpy as np

        count = len(rows) if np.ndim(rows) == len(self.shape) else 1  # type: ignore[arg-type]  # what has dimensions
        if count != stop - start:
            raise InvalidValueError(f"{count} rows for the {stop - start} of the slice")
        self.append(rows)

    def _commit(self) -> None:
        import numpy as np

        if self.rows != self.shape[0]:
            raise InvalidValueError(
                f"{self.rows} of {self.shape[0]} rows were written, so nothing was stored: write all of them"
            )
        nbytes = prod(self.shape) * self.dtype.itemsize
        try:
            self._file.flush()
            mapped = mmap.mmap(self._file.fileno(), nbytes, access=mmap.ACCESS_READ) if nbytes else b""
        except OSError as error:
            raise _failed("mapped", error) from error
        array: Array = np.ndarray(self.shape, self.dtype, mapped)
        self.global_id = self._store(array)


def _failed(what: str, error: OSError) -> PoolError:
    return PoolError(
        f"the file that the rows lie in until all are there could not be {what} ({said(error)}); give "
        "another folder=, on a disk with room for the array",
        errno=error.errno,
    )
