"""Runs of instances of plain classes, of subclasses of builtins, and of exceptions.

What is taken of an instance, and what is given to one, is what :mod:`laila.codec.objects` takes and gives:
here it is done for many at once, and only where nothing about them is odd. The others are rows of their own.
See :mod:`laila.codec.runs`.
"""

from __future__ import annotations

from itertools import chain, islice

from laila.codec import plainruns, registry, tags
from laila.codec.classkinds import is_plain_class
from laila.codec.classnames import class_named, name_of
from laila.codec.decoder import WORK_OF_ATTRIBUTE
from laila.codec.exceptions import (
    ARGUMENTS,
    base_of_exception,
    encode_exception,
    give_states,
    is_exception,
    is_safe,
    links_of,
    state_of,
    tell_of_traceback,
)
from laila.codec.fields import shape_of
from laila.codec.objects import encode_object
from laila.codec.runs import Columns
from laila.codec.subclasses import base_of, encode_subclass, has_base

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from laila.codec.decoder import Decoder
    from laila.codec.encoder import Encoder
    from laila.codec.fields import Shape
    from laila.codec.plainruns import ColumnsOf, ReadRun
    from laila.codec.runs import Run

    Row = list[Any]

__all__ = ["COLUMNS", "RUNS"]

_TEXT = frozenset({str})
_HASH = "_attrs_cached_hash"


# -- writing


def _alike(
    kind: type, base: type, values: list[Any], encoder: Encoder
) -> Iterator[tuple[tuple[str, ...], list[Any], list[list[Any]]]]:
    """The objects that have attributes of the same names, none of them odd; these names and columns."""
    shape = shape_of(kind, base)
    if encoder.whole_dicts or shape.hidden or _HASH in shape.slots:
        return
    try:
        columns = [list(map(slot.__get__, values)) for slot in shape.slots.values()]
    except AttributeError:
        return  # it is not set
    slots = tuple(shape.slots)
    if shape.dict is None:
        if not shape.expected or shape.is_usual(slots):
            yield slots, values, columns
        return
    attributes = list(map(shape.dict.__get__, values))
    if {dict} != set(map(type, attributes)):
        return
    copies = list(map(dict.copy, attributes))  # what no other thread changes
    if not _TEXT.issuperset(map(type, chain.from_iterable(copies))):
        return
    groups: dict[tuple[str, ...], list[int]] = {}
    for number, names in enumerate(map(tuple, copies)):
        groups.setdefault(names, []).append(number)
    for names, numbers in groups.items():
        every = slots + names
        if not slots_apart(slots, names):
            continue
        if (every or shape.expected) and not shape.is_usual(every):
            continue
        whole = len(numbers) == len(values)
        batch = values if whole else list(map(values.__getitem__, numbers))
        taken = columns if whole else [list(map(column.__getitem__, numbers)) for column in columns]
        held = copies if whole else list(map(copies.__getitem__, numbers))
        yield every, batch, [*taken, *map(list, zip(*map(dict.values, held), strict=True))]


def slots_apart(slots: tuple[str, ...], names: tuple[str, ...]) -> bool:
    """Whether no attribute has the name of a slot."""
    return not slots or set(slots).isdisjoint(names)


def _columns_of_objects(kind: type, values: list[Any], encoder: Encoder) -> list[Columns]:
    return [
        Columns(
            batch,
            (0, 1, *range(2, 2 + 2 * len(names), 2)),
            [tags.OBJECT, name_of(kind, encoder), *names],
            columns,
        )
        for names, batch, columns in _alike(kind, object, values, encoder)
    ]


def _columns_of_subclasses(kind: type, values: list[Any], encoder: Encoder) -> list[Columns]:
    base = base_of(kind)
    if base is None:
        return []
    return [
        Columns(
            batch,
            (0, 1, 2, *range(4, 4 + 2 * len(names), 2)),
            [tags.SUBCLASS, name_of(kind, encoder), None, *names],
            [list(map(base.take, batch)), *columns],
        )
        for names, batch, columns in _alike(kind, base.kind, values, encoder)
    ]


def _columns_of_exceptions(kind: Any, values: list[Any], encoder: Encoder) -> list[Columns]:
    base = base_of_exception(kind)
    if base is None or issubclass(kind, BaseExceptionGroup):
        return []
    plain = [value for value in values if links_of(value) == [None, None, False]]
    if not plain:
        return []
    for value in plain:
        tell_of_traceback(value)
    result = []
    for names, batch, columns in _alike(kind, base, plain, encoder):
        arguments = list(map(ARGUMENTS.__get__, batch))
        states = [state_of(base, value) for value in batch]
        attributes = range(8, 8 + 2 * len(names), 2)
        head: Row = [tags.EXCEPTION, name_of(kind, encoder), None]
        if not all(state is None or is_safe(base, state) for state in states):
            continue
        if any(state is not None for state in states):
            places: tuple[int, ...] = (0, 1, 2, 5, 6, 7, *attributes)
            columns = [arguments, states, *columns]
        else:
            places = (0, 1, 2, 4, 5, 6, 7, *attributes)
            head.append(None)
            columns = [arguments, *columns]
        result.append(Columns(batch, places, [*head, None, None, False, *names], columns))
    return result


COLUMNS: dict[registry.EncodeFunction, ColumnsOf] = {
    **plainruns.COLUMNS,
    encode_object: _columns_of_objects,
    encode_subclass: _columns_of_subclasses,
    encode_exception: _columns_of_exceptions,
}
"""Encoder to what makes the rows of many objects of one type at once."""


# -- reading


def _names_of(run: Run, first: int, beside: int) -> tuple[Any, ...] | None:
    """The names of attributes, from field ``first`` on, that all rows have; None where they differ."""
    places = run.places
    count = len(run.columns) - beside
    names = tuple(run.constants[len(places) - count :]) if count else ()
    if len(places) - count < 0 or list(places)[len(places) - count :] != [
        *range(first, first + 2 * count, 2)
    ]:
        return None
    return names


def _set_all(
    instances: list[Any], shape: Shape, names: tuple[Any, ...], run: Run, beside: int, decoder: Decoder
) -> bool:
    """Give all of ``instances`` their attributes; False where it takes more than that."""
    known = ready(shape, names)
    if known is None:
        return False
    if not names:
        return True
    columns = run.columns[beside:]
    slots = shape.slots
    plain = [name for name in known if name not in slots]
    if plain and shape.dict is None:
        return False
    for name, column in zip(known, columns, strict=True):
        if name in slots:
            list(map(slots[name].__set__, instances, column))
    if plain and shape.dict is not None:
        own = map(shape.dict.__get__, instances)
        left = [column for name, column in zip(known, columns, strict=True) if name not in slots]
        for attributes, values in zip(own, zip(*left, strict=True), strict=True):
            attributes.update(zip(plain, values, strict=True))
    return True


def ready(shape: Shape, names: tuple[Any, ...]) -> tuple[str, ...] | None:
    """The names where instances that have just these are whole today; else None."""
    if not _TEXT.issuperset(map(type, names)) or registry.changes_of(shape.kind).defaults:
        return None
    return shape.is_complete(names)


def _objects(run: Run, decoder: Decoder) -> list[Any] | None:
    if list(islice(run.places, 2)) != [0, 1]:
        return None
    names = _names_of(run, 2, 0)
    if names is None or len(run.places) != 2 + len(names):
        return None
    cls: Any = class_named(run.constants[1], decoder, is_plain_class)
    new = object.__new__
    result = [new(cls) for _ in range(run.count)]
    return result if _set_all(result, shape_of(cls), names, run, 0, decoder) else None


def _subclasses(run: Run, decoder: Decoder) -> list[Any] | None:
    if list(islice(run.places, 3)) != [0, 1, 2] or run.constants[2] is not None:
        return None
    names = _names_of(run, 4, 1)
    if names is None or len(run.places) != 3 + len(names):
        return None
    cls: Any = class_named(run.constants[1], decoder, has_base)
    base = base_of(cls)
    values = run.columns[0]
    if base is None or {base.of} != set(map(type, values)):
        raise TypeError("what is no value of a base")
    shape = shape_of(cls, base.kind)
    if ready(shape, names) is None:
        return None
    if hasattr(base.of, "__len__"):
        decoder.each_again("base", values, WORK_OF_ATTRIBUTE)
    give = base.give
    result = [give(cls, value) for value in values]
    return result if _set_all(result, shape, names, run, 1, decoder) else None


def _exceptions(run: Run, decoder: Decoder) -> list[Any] | None:
    places, constants = list(run.places), run.constants
    head = [0, 1, 2, 4, 5, 6, 7] if places[3:4] == [4] else [0, 1, 2, 5, 6, 7]
    size = len(head)
    if places[:size] != head or constants[2:size] != [None] * (size - 3) + [False]:
        return None
    beside = 8 - size
    names = _names_of(run, 8, beside)
    if names is None or len(places) != size + len(names):
        return None
    cls: Any = class_named(constants[1], decoder, is_exception)
    base: Any = base_of_exception(cls)
    if issubclass(base, BaseExceptionGroup):
        return None
    arguments = run.columns[0]
    if {tuple} != set(map(type, arguments)):
        raise TypeError("arguments that are no tuple")
    new = base.__new__
    result = [new(cls) for _ in range(run.count)]
    if beside > 1:
        give_states(base, result, run.columns[1])
    list(map(ARGUMENTS.__set__, result, arguments))
    return result if _set_all(result, shape_of(cls, base), names, run, beside, decoder) else None


RUNS: dict[int, ReadRun] = {
    **plainruns.RUNS,
    tags.OBJECT: _objects,
    tags.SUBCLASS: _subclasses,
    tags.EXCEPTION: _exceptions,
}
"""Tag to what rebuilds the values of a run at once; it gives None for one to be read row by row."""
