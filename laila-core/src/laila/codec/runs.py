"""Runs: many rows of one kind that are written as one row, in columns.

A thousand instances of one class agree in tag, class and names of attributes. A run says that once, and
then, column by column, the fields in which its rows differ. It stands for as many rows as its columns are
long, each with an index of its own; what a reader makes of it is what it would make of these rows one by one.
"""

from __future__ import annotations

from laila.codec import registry, tags
from laila.codec.references import expand, packed_numbers, unpacked_numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from laila.codec.decoder import Decoder

    Row = list[Any]

__all__ = ["FEWEST", "Columns", "Run", "packed_column", "read_run", "rows_of_run", "run_row"]

FEWEST = 8
"""So many rows at least are worth a run."""
_BESIDE = 8
"""A run has so many fields more in common than it has columns, at most: no row costs more than it says."""
_SINGLE = frozenset({tags.REFERENCES, tags.RUN}) | tags.LEAVES


def run_row(places: Sequence[int], constants: Row, columns: Sequence[Any]) -> Row:
    """The row that stands for many.

    Args:
        places: Where in each row the fields are that all have in common; the first is 0, that of the tag.
        constants: These fields.
        columns: The other fields, each column as :func:`packed_column` gives it.
    """
    count = len(places)
    where = count if places[-1] == count - 1 else packed_numbers(places)
    return [tags.RUN, where, *constants, *columns]


def packed_column(column: Row, known: dict[int, int]) -> object:
    """Return the column of a run: a list of atoms, the bytes of references, or a map if it has both.

    Args:
        column: The fields.
        known: By id, the rows of what is no atom.
    """
    if not known:
        return column
    numbers = list(map(known.get, map(id, column)))
    atoms = numbers.count(None)
    if not atoms:
        return packed_numbers(numbers)  # type: ignore[arg-type]  # all of them are numbers
    if atoms == len(column):
        return column
    places = [place for place, number in enumerate(numbers) if number is not None]
    indexes = [number for number in numbers if number is not None]
    others = [field for field, number in zip(column, numbers, strict=True) if number is None]
    return {packed_numbers(places): [packed_numbers(indexes), *others]}


def _column(packed: Any, find: Callable[[int], Any]) -> Row:
    """The fields of a column; ``find`` gives what a reference stands for."""
    if type(packed) is list:
        return packed
    if type(packed) is bytes:
        return list(map(find, unpacked_numbers(packed)))
    if type(packed) is not dict or len(packed) != 1:
        raise TypeError("not a column")
    ((where, fields),) = packed.items()
    indexes, *others = fields
    numbers, places = unpacked_numbers(indexes), unpacked_numbers(where)
    size = len(places) + len(others)
    if (
        not others
        or not places
        or len(numbers) != len(places)
        or places[-1] >= size
        or any(map(int.__ge__, places, places[1:]))  # in order, and none twice
    ):
        raise ValueError("references at places that a column does not have")
    return expand(places, list(map(find, numbers)), others)


class _Rows:
    """Rows that agree in some fields, and differ in others."""

    __slots__ = ("columns", "constants", "count", "places")
    columns: list[Row]
    constants: Row
    count: int
    places: Sequence[int]

    def each(self) -> Iterator[tuple[Any, ...]]:
        """The fields that each row has for itself."""
        return zip(*self.columns, strict=True) if self.columns else iter([()] * self.count)

    def rows(self) -> Iterator[Row]:
        """The rows themselves."""
        constants, places = self.constants, self.places
        if places[-1] == len(places) - 1:
            for fields in self.each():
                yield [*constants, *fields]
            return
        template: Row = [None] * (len(constants) + len(self.columns))
        for place, field in zip(places, constants, strict=True):
            template[place] = field
        holes = sorted({*range(len(template))}.difference(places))
        for fields in self.each():
            row = template.copy()
            for place, field in zip(holes, fields, strict=True):
                row[place] = field
            yield row


class Columns(_Rows):
    """The data to write for objects of one type."""

    __slots__ = ("objects",)

    def __init__(self, objects: list[Any], places: Sequence[int], constants: Row, columns: list[Row]) -> None:
        self.objects = objects
        self.count = len(objects)
        self.places = places
        self.constants = constants
        self.columns = columns


class Run(_Rows):
    """The contents of a run; ``find`` gives the object of a reference in a column."""

    __slots__ = ()

    def __init__(self, row: Row, find: Callable[[int], Any]) -> None:
        _, where, *fields = row
        count: Any = where
        places: Any = None
        if type(where) is not int:
            places = unpacked_numbers(where)
            count = len(places)
        columns = len(fields) - count
        if not 1 <= count <= columns + _BESIDE or columns < 1:
            raise ValueError("a run of rows that have too much in common")
        if places is None:
            places = range(count)
        elif (
            places[0] != 0
            or not count <= places[-1] < count + columns
            or any(map(int.__ge__, places, places[1:]))  # in order, and none twice
        ):
            raise ValueError("a run with places that its rows do not have")
        tag = fields[0]
        if type(tag) is not int or tag in _SINGLE:
            raise ValueError("a run of what is no run")
        self.places = places
        self.constants = fields[:count]
        self.columns = [_column(packed, find) for packed in fields[count:]]
        self.count = len(self.columns[0])
        if self.count < FEWEST or {self.count} != set(map(len, self.columns)):
            raise ValueError("a run with columns that are not as long")

    def has_only(self, start: int) -> bool:
        """Whether all that the rows have in common are their first ``start`` fields."""
        return type(self.places) is range and len(self.places) == start


def rows_of_run(row: Row, find: Callable[[int], Any]) -> list[Row]:
    """The rows that a run stands for; ``find`` makes references."""
    return list(Run(row, find).rows())


def read_run(
    row: Row, decoder: Decoder, key: str, find: Callable[[int], Any], needed: frozenset[int] | None = None
) -> list[object]:
    """The values of the rows that a run stands for; None in the place of those that are not ``needed``."""
    from laila.codec.classruns import RUNS  # much that those without runs do not need

    run = Run(row, find)
    tag = run.constants[0]
    rebuild = registry.decoder_for(tag, key)
    if needed is not None:
        rows = enumerate(run.rows(), decoder.row)
        return [rebuild(each, decoder) if number in needed else None for number, each in rows]
    together = RUNS.get(tag)
    result = None if together is None else together(run, decoder)
    if result is None:
        result = []
        first = decoder.row
        for number, each in enumerate(run.rows()):
            decoder.row = first + number
            result.append(rebuild(each, decoder))
    return result
