"""What the leaves of a manifest are: type, shape, dtype, bytes and digest of each, in columns.

The columns are stored in the payload of the manifest, so that checksum, digest and signature cover them.
Types, dtypes and shapes are numbers into lists of those that occur; 0 is nothing. A leaf that is not known
has a digest of zeros: one that was not there, or the id of a variable without evolution.
"""

from __future__ import annotations

from typing import NamedTuple

from laila.blob.head import BlobHead
from laila.codec.outline import shape_of_tensor
from laila.entry.columns import column_of, numbers_of, wrong_table
from laila.keys import is_manifest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from laila.blob.blob import Blob

__all__ = ["Leaf", "Leaves", "leaf_of"]

_DIGEST_BYTES = 16
_UNKNOWN = bytes(_DIGEST_BYTES)
_LONGEST_TEXT = 200
_MAX_DIMENSIONS = 64
_MAX_SIZE = 1 << 62
_LISTS = (("types", "type"), ("dtypes", "dtype"), ("shapes", "shape"))
_FIELDS = frozenset(name for pair in _LISTS for name in pair) | {"nbytes", "digest"}
_HEX = frozenset("0123456789abcdef")
_NONE = type(None)
_SENT = frozenset((str, shape, dtype, int, str) for shape in (list, _NONE) for dtype in (str, _NONE))
_KINDS = {"f": "float", "i": "int", "u": "uint", "c": "complex"}


class Leaf(NamedTuple):
    """The known facts of one leaf."""

    type: str
    """The name of the payload's type, such as ``numpy.ndarray``; empty where nobody knows."""
    shape: tuple[int, ...] | None
    """The shape of an array or a tensor; None for anything else."""
    dtype: str | None
    """The dtype of an array or a tensor, such as ``float32``; None for anything else."""
    nbytes: int
    """The bytes of the payload, before transformations. An inner manifest counts without its leaves."""
    digest: bytes
    """The content digest: equal for equal content."""

    def to_send(self) -> list[object]:
        """Return the leaf as JSON has it."""
        shape = None if self.shape is None else list(self.shape)
        return [self.type, shape, self.dtype, self.nbytes, self.digest.hex()]

    @classmethod
    def sent(cls, row: object) -> Leaf | None:
        """Return the leaf that :meth:`to_send` gave; None where ``row`` is anything else."""
        if type(row) is not list or tuple(map(type, row)) not in _SENT:
            return None
        kind, shape, dtype, nbytes, digest = row
        if len(kind) > _LONGEST_TEXT or len(dtype or "") > _LONGEST_TEXT or not 0 <= nbytes <= _MAX_SIZE:
            return None
        if not _is_shape(shape or []) or len(digest) != 2 * _DIGEST_BYTES or not set(digest) <= _HEX:
            return None
        return cls(kind, None if shape is None else tuple(shape), dtype, nbytes, bytes.fromhex(digest))


def leaf_of(found: Blob | BlobHead) -> Leaf | None:
    """Return the facts of a payload from its plain blob or head; None for a transformed blob."""
    if found.transformations or found._meta is None:
        return None
    _, kind, size, _, _ = found._meta
    described = (
        [(row[0], row[1], row[2]) for row in found.table]
        if isinstance(found, BlobHead)
        else [(buffer.nbytes, buffer.dtype, buffer.shape) for buffer in found.buffers]
    )
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    if is_manifest(found.key):
        kind = "laila.Manifest"
    elif len(described) == 1 and kind == "numpy.ndarray" and (written := described[0][1]) is not None:
        size, dtype, shape = described[0][0], _name_of(written), described[0][2]
    elif len(described) == 1 and kind.startswith("torch."):
        tensor = shape_of_tensor(found.tree)
        if tensor is not None:
            size, (shape, dtype) = described[0][0], tensor
    if dtype is not None and (len(dtype) > _LONGEST_TEXT or not _is_shape(shape)):
        shape = dtype = None
    return Leaf(kind[:_LONGEST_TEXT], None if shape is None else tuple(shape), dtype, size, found.digest)


def _name_of(dtype: str) -> str:
    """Return how people write a dtype: ``float32`` for ``<f4``. Other byte orders stay as they are."""
    order, kind, rest = dtype[:1], dtype[1:2], dtype[2:]
    if order not in ("<", "|"):
        return dtype
    if kind in _KINDS and rest.isdecimal():
        return f"{_KINDS[kind]}{int(rest) * 8}"
    if kind == "b":
        return "bool"
    if kind in ("M", "m") and rest[:1] == "8":
        return f"{'datetime64' if kind == 'M' else 'timedelta64'}{rest[1:]}"
    return dtype


class Leaves:
    """The known facts of the leaves of one manifest, by global id. Reading is safe between threads."""

    __slots__ = ("_added", "_table")

    def __init__(self) -> None:
        self._added: dict[str, Leaf] = {}
        self._table = _Table({}, {}, {})

    def copy(self) -> Leaves:
        """Return a table of its own that knows the same."""
        again = Leaves()
        again._added, again._table = self._added, self._table
        return again

    def get(self, leaf: str) -> Leaf | None:
        """Return what is known of a leaf, or None."""
        return self._added.get(leaf) or self._table.get(leaf)  # a Leaf is never empty

    def has_place(self, leaf: str) -> bool:
        """Return whether the table has a row for ``leaf``, known or not."""
        return leaf in self._table.places

    def nbytes(self, leaf: str) -> int:
        """Return the bytes of a leaf; 0 where nobody knows."""
        added = self._added.get(leaf)
        return self._table.nbytes(leaf) if added is None else added.nbytes

    def unknown(self, leaves: Iterable[str]) -> list[str]:
        """Return the ``leaves`` that the table does not describe, each once."""
        every = dict.fromkeys(leaves)
        added, table = self._added, self._table
        if not added and table.is_whole and every.keys() <= table.places.keys():
            return []
        return [leaf for leaf in every if leaf not in added and not table.has(leaf)]

    def total(self, leaves: Sequence[str]) -> tuple[int, bool]:
        """Return the bytes of ``leaves`` together, and whether each of them is known."""
        table = self._table
        if not self._added and table.is_whole:
            try:
                places = map(table.places.__getitem__, leaves)
                return sum(map(table.columns["nbytes"].__getitem__, places)), True
            except KeyError:
                pass
        return sum(map(self.nbytes, leaves)), not self.unknown(leaves)

    def add(self, found: Mapping[str, Leaf]) -> None:
        """Note what is known of leaves now, in place of what was known before."""
        if found:
            self._added = {**self._added, **found}

    def add_all(self, other: Leaves) -> None:
        """Note everything that another table knows."""
        known = {leaf: other._table.get(leaf) for leaf in other._table.places}
        self.add({leaf: row for leaf, row in known.items() if row is not None})
        self.add(other._added)

    def stored(self, leaves: Iterable[str]) -> dict[str, object] | None:
        """Return the columns for these leaves, each once in their order; None where nothing is known."""
        places = {leaf: place for place, leaf in enumerate(dict.fromkeys(leaves))}
        table = self._table
        if self._added or list(places) != list(table.places):
            rows = [self.get(leaf) or _NOTHING for leaf in places]
            if all(row is _NOTHING for row in rows):
                return None
            stored = _packed(rows)
            # From now on the columns are what is known: they take a tenth of the memory.
            self._table = table = _Table(places, _checked(stored, len(places)), stored)
            self._added = {}
        return table.stored or None

    @classmethod
    def read(cls, stored: object, leaves: Iterable[str]) -> Leaves:
        """Read the columns of a stored manifest with these leaves.

        Raises:
            ManifestError: they are not what :meth:`stored` gives (a ``ValueError``).
        """
        self = cls()
        every = dict.fromkeys(leaves)
        places = dict(zip(every, range(len(every)), strict=True))
        columns = _checked(stored, len(places))
        self._table = _Table(places, columns, stored)  # type: ignore[arg-type]  # checked
        return self


class _Table:
    """Columns, and the place in them of each leaf."""

    __slots__ = ("columns", "digests", "is_whole", "places", "stored")

    def __init__(
        self, places: dict[str, int], columns: dict[str, Sequence[int]], stored: dict[str, Any]
    ) -> None:
        self.places = places
        self.columns = columns
        self.stored = stored
        self.digests: bytes = stored.get("digest", b"")
        self.is_whole = bool(places) and not _has_unknown(self.digests)

    def _digest(self, place: int) -> bytes:
        return self.digests[place * _DIGEST_BYTES : (place + 1) * _DIGEST_BYTES]

    def has(self, leaf: str) -> bool:
        place = self.places.get(leaf)
        return place is not None and self._digest(place) != _UNKNOWN

    def nbytes(self, leaf: str) -> int:
        place = self.places.get(leaf)
        return 0 if place is None else self.columns["nbytes"][place]

    def get(self, leaf: str) -> Leaf | None:
        place = self.places.get(leaf)
        if place is None or (digest := self._digest(place)) == _UNKNOWN:
            return None
        kind, dtype, shape = (self._value(every, one, place) for every, one in _LISTS)
        return Leaf(
            kind or "", None if shape is None else tuple(shape), dtype, self.columns["nbytes"][place], digest
        )

    def _value(self, every: str, one: str, place: int) -> Any:
        number = self.columns[one][place]
        return self.stored[every][number - 1] if number else None


def _has_unknown(digests: bytes) -> bool:
    """Whether one of the digests is that of nothing; zeros of two neighbours do not count."""
    at = digests.find(_UNKNOWN)
    while at >= 0 and at % _DIGEST_BYTES:
        at = digests.find(_UNKNOWN, at - at % _DIGEST_BYTES + _DIGEST_BYTES)
    return at >= 0


_NOTHING = Leaf("", None, None, 0, _UNKNOWN)


def _packed(rows: Sequence[Leaf]) -> dict[str, object]:
    table: dict[str, object] = {}
    for i, (every, one) in ((0, _LISTS[0]), (2, _LISTS[1]), (1, _LISTS[2])):
        numbers: dict[object, int] = {None: 0, "": 0}
        column = [numbers.setdefault(row[i], len(numbers) - 1) for row in rows]
        values = list(numbers)[2:]
        table[every] = [list(value) for value in values] if i == 1 else values  # type: ignore[call-overload]
        table[one] = column_of(column)
    table["nbytes"] = column_of([row.nbytes for row in rows])
    table["digest"] = b"".join([row.digest for row in rows])
    return table


def _checked(stored: object, count: int) -> dict[str, Sequence[int]]:
    if type(stored) is not dict or stored.keys() != _FIELDS:
        raise wrong_table("it has other columns")
    digests = stored["digest"]
    if type(digests) is not bytes or len(digests) != count * _DIGEST_BYTES:
        raise wrong_table(f"its digests are not those of {count} leaves")
    columns = {name: numbers_of(name, stored[name], count) for name in ("nbytes", "type", "dtype", "shape")}
    for every, one in _LISTS:
        values = stored[every]
        if type(values) is not list or len(values) > count or max(columns[one], default=0) > len(values):
            raise wrong_table(f"its {every} are not those that its leaves have")
        if every == "shapes":
            valid = all(map(_is_shape, values))
        else:
            valid = all(type(value) is str and 0 < len(value) <= _LONGEST_TEXT for value in values)
        if not valid:
            raise wrong_table(f"its {every} have a wrong one")
    if max(columns["nbytes"], default=0) > _MAX_SIZE:
        raise wrong_table("it has a leaf of an impossible size")
    return columns


def _is_shape(value: object) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) <= _MAX_DIMENSIONS
        and all(type(n) is int and 0 <= n <= _MAX_SIZE for n in value)
    )
