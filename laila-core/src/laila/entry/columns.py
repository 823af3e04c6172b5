"""Columns of numbers in the tables of a manifest: as few bytes each as the largest takes."""

from __future__ import annotations

import sys
from array import array

from laila.errors import ManifestError
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["column_of", "numbers_of", "wrong_table"]

_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}


def column_of(numbers: Sequence[int]) -> bytes:
    """Return numbers in as few bytes each as the largest takes: 1, 2, 4 or 8, the least significant first."""
    largest = max(numbers)
    width = next(width for width in _CODES if largest < 1 << (8 * width))
    column = array(_CODES[width], numbers)
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()


def numbers_of(name: str, column: object, count: int) -> Sequence[int]:
    """Return the ``count`` numbers of a stored column.

    Raises:
        ManifestError: it is no such column.
    """
    if type(column) is not bytes or not count or len(column) % count or len(column) // count not in _CODES:
        raise wrong_table(f"its column {shown(name)} is not one of {count} numbers")
    numbers = array(_CODES[len(column) // count], column)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def wrong_table(what: str) -> ManifestError:
    """Return the error for a table that :mod:`laila.entry` did not write."""
    return ManifestError(f"the table of the leaves is damaged: {what}", path="$")
