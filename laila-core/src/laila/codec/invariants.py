"""The rules for rows: the encoder knows readable rows by this table, and the decoder checks them by it.

A row of a scalar consists of atoms of certain types. A row of a plain container can be read whatever stands
in it. The decoder refuses a row of a scalar that is otherwise. The encoder may make one, since values of the
standard library can consist of numpy's numbers or of instances of subclasses. Then it has the blob read
before that is stored, as it does for every row that is not in this table.

A member of an enum that is found by its name cannot come back changed, where its class is found.
"""

from __future__ import annotations

from laila.codec import tags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

__all__ = ["FIELDS", "any_doubtful", "fields_of_row", "is_doubtful"]

_NONE = type(None)
_CLOCK = (int, int, int, int, int)  # hour, minute, second, microsecond, fold

_SCALARS: tuple[tuple[Any, ...], ...] = (
    (tags.CONSTANT, (int,)),
    (tags.INT, (int, _NONE), (_NONE, bytes)),
    (tags.COMPLEX, (float, float)),
    (tags.BYTES, (int, _NONE), (_NONE, bytes)),
    (tags.BYTEARRAY, (int, _NONE), (_NONE, bytes)),
    (tags.RANGE, (int, int, int)),
    (tags.DATE, (int, int, int)),
    (tags.TIME, _CLOCK),
    (tags.DATETIME, (int, int, int, *_CLOCK)),
    (tags.TIMEDELTA, (int, int, int)),
    (tags.TIMEZONE, (int, int, int)),
    (tags.ZONE, (str,)),
    (tags.OWN_ZONE, (str,)),
    (tags.DECIMAL, (str,)),
    (tags.FRACTION, (int, int)),
    (tags.UUID, (bytes, int), (bytes, _NONE)),
    (tags.PATH, (int, str)),
    (tags.IP, (int, int), (int, bytes), (int, str)),
    (tags.ENUM, (str, str, _NONE)),
)
FIELDS: dict[int, frozenset[tuple[type, ...]]] = {tag: frozenset(several) for tag, *several in _SCALARS}
"""By tag: the types that the fields of a row may have, one by one."""
_OPEN = frozenset({tags.TIME, tags.DATETIME, tags.TIMEZONE})
"""Rows whose last field is nil, or what another row gives: a time zone, and its name."""
_SURE = frozenset(
    {tags.LIST, tags.TUPLE, tags.DICT, tags.SET, tags.FROZENSET, tags.DEQUE, tags.DEFAULT_DICT}
    | {tags.SLICE, tags.PART, tags.ARRAY_ARRAY, tags.NDARRAY, tags.STRUCTURED, tags.OBJECT_ARRAY}
    | {tags.SCALAR, tags.NUMPY_TEXT, tags.DTYPE, tags.VIEW, tags.TENSOR, tags.DEVICE, tags.TORCH_CONSTANT}
    | {tags.PANDAS_CONSTANT, tags.TIMESTAMP, tags.PANDAS_TIMEDELTA}
)
"""Rows of containers, whatever is in them, and of values whose fields a library holds to their types."""


def is_doubtful(row: list[Any]) -> bool:
    """Whether a row, as it was written, is only known to be readable once it was read."""
    tag = row[0]
    if tag in _SURE:
        return False
    known = FIELDS.get(tag)
    return known is None or tuple(map(type, row[1:-1] if tag in _OPEN else row[1:])) not in known


def any_doubtful(tag: int, columns: Iterable[Iterable[Any]], rows: Iterable[list[Any]]) -> bool:
    """Whether the rule holds for several rows of one tag; ``columns`` are their differing fields."""
    if tag in _SURE:
        return False
    if tag not in FIELDS:
        return True
    if all(len(set(map(type, column))) == 1 for column in columns):
        return is_doubtful(next(iter(rows)))
    return any(map(is_doubtful, rows))


def fields_of_row(row: list[Any]) -> list[Any]:
    """The fields of a row of a scalar. Raises ``TypeError`` where one is missing or of a wrong type."""
    fields = row[1:-1] if row[0] in _OPEN else row[1:]
    if tuple(map(type, fields)) not in FIELDS[row[0]]:
        raise TypeError("fields that such a row does not have")
    return row[1:]
