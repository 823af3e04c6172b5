"""Runs of the builtin containers, of byte arrays and of ints beyond 64 bits; see :mod:`laila.codec.runs`."""

from __future__ import annotations

from itertools import chain, repeat

from laila.codec import registry, tags
from laila.codec.plain import ATOMS, INLINE_BYTES, sort_packed
from laila.codec.runs import FEWEST, Columns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from laila.codec.decoder import Decoder
    from laila.codec.encoder import Encoder
    from laila.codec.registry import EncodeFunction
    from laila.codec.runs import Run

    Row = list[Any]
    ColumnsOf = Callable[[type, list[Any], Encoder], list[Columns]]
    ReadRun = Callable[[Run, Decoder], list[Any] | None]

__all__ = ["COLUMNS", "RUNS"]

registry.load_for("builtins")
_SHORT = ATOMS - {bytes}
_TEXT = frozenset({str})


def _by_size(objects: Iterable[Any], parts: Iterable[Any]) -> list[tuple[list[Any], list[Any]]]:
    """For each size that ``parts`` have: the objects that have one of it, and these parts."""
    groups: dict[int, tuple[list[Any], list[Any]]] = {}
    for obj, part in zip(objects, parts, strict=True):
        size = len(part)
        group = groups.get(size)
        if group is None:
            group = groups[size] = [], []
        group[0].append(obj)
        group[1].append(part)
    return [*groups.values()]


def _across(parts: Iterable[Iterable[Any]]) -> list[Row]:
    """The columns of rows of one size."""
    return list(map(list, zip(*parts, strict=True)))


def _columns_of_lists(kind: type, values: list[Any], encoder: Encoder) -> list[Columns]:
    return [
        Columns(batch, (0,), [tags.LIST], _across(parts))
        for batch, parts in _by_size(values, map(list.copy, values))
    ]


def _columns_of_dicts(kind: type, values: list[Any], encoder: Encoder) -> list[Columns]:
    copies = list(map(dict.copy, values))  # what no other thread changes
    if _TEXT.issuperset(map(type, chain.from_iterable(copies))):
        # Equal texts are the same key, which equal numbers are not.
        every = list(map(tuple, copies))
        groups: dict[tuple[Any, ...], tuple[list[Any], list[Any]]] = {}
        if every.count(every[0]) == len(every):
            groups[every[0]] = values, copies
        else:
            for value, copied, keys in zip(values, copies, every, strict=True):
                group = groups.get(keys)
                if group is None:
                    group = groups[keys] = [], []
                group[0].append(value)
                group[1].append(copied)
        if len(groups) * FEWEST <= len(values):
            return [
                Columns(
                    batch,
                    (0, *range(1, 2 * len(keys), 2)),
                    [tags.DICT, *keys],
                    _across(map(dict.values, parts)),
                )
                for keys, (batch, parts) in groups.items()
            ]
    encoder.check_each(list(map(tuple, copies)))
    return [
        Columns(batch, (0,), [tags.DICT], _across(chain.from_iterable(part.items()) for part in parts))
        for batch, parts in _by_size(values, copies)
    ]


def _columns_of_sets(kind: type, values: list[Any], encoder: Encoder) -> list[Columns]:
    copies = list(map(set.copy, values))
    members = list(map(tuple, copies))
    encoder.check_each(members)
    every = [*chain.from_iterable(members)]
    if _SHORT.issuperset(map(type, every)):
        try:
            rows: list[Any] | None = list(map(sort_packed, members))
        except OverflowError:
            return []
    else:
        rows = encoder.members(members, every)
    return (
        [Columns(batch, (0,), [tags.SET], _across(parts)) for batch, parts in _by_size(values, rows or [])]
        if rows is not None
        else []
    )


def _columns_of_bytearrays(kind: type, values: list[Any], encoder: Encoder) -> list[Columns]:
    if max(map(len, values)) >= INLINE_BYTES:
        values = [value for value in values if len(value) < INLINE_BYTES]
    return [Columns(values, (0, 1), [tags.BYTEARRAY, None], [list(map(bytes, values))])]


COLUMNS: dict[EncodeFunction, ColumnsOf] = {
    registry.ENCODERS[list]: _columns_of_lists,
    registry.ENCODERS[dict]: _columns_of_dicts,
    registry.ENCODERS[set]: _columns_of_sets,
    registry.ENCODERS[bytearray]: _columns_of_bytearrays,
}
"""Encoder to what makes the rows of many objects of one type at once."""


# -- reading


def _lists(run: Run, decoder: Decoder) -> list[Any] | None:
    return list(map(list, run.each())) if run.has_only(1) else None


def _tuples(run: Run, decoder: Decoder) -> list[Any] | None:
    return list(run.each()) if run.has_only(1) else None


def _sets(kind: type) -> ReadRun:
    def read(run: Run, decoder: Decoder) -> list[Any] | None:
        if not run.has_only(1):
            return None
        members = list(run.each())
        decoder.check_each(members)
        result = list(map(kind, members))
        if {len(run.columns)} != set(map(len, result)):
            raise ValueError("a member twice")
        return result

    return read


def _dicts(run: Run, decoder: Decoder) -> list[Any] | None:
    names = run.constants[1:]
    size = len(run.columns)
    if names:
        if len(names) != size or list(run.places) != [0, *range(1, 2 * size, 2)]:
            return None
        if not _TEXT.issuperset(map(type, names)):
            return None
        every: Iterable[Any] = repeat(names)
        values: Iterable[Any] = run.each()
    else:
        size, rest = divmod(size, 2)
        if rest or not run.has_only(1):
            return None
        every = list(zip(*run.columns[::2], strict=True))
        decoder.check_each(every)
        values = zip(*run.columns[1::2], strict=True)
    result = list(map(dict, map(zip, every, values)))
    if {size} != set(map(len, result)):
        raise ValueError("a key twice")
    return result


def _bytearrays(run: Run, decoder: Decoder) -> list[Any] | None:
    if not _is_inline(run):
        return None
    return list(map(bytearray, decoder.each_copied(run.columns[0])))


def _ints(run: Run, decoder: Decoder) -> list[Any] | None:
    if not _is_inline(run):
        return None
    from_bytes = int.from_bytes
    return [from_bytes(data, "little", signed=True) for data in decoder.each_copied(run.columns[0])]


def _is_inline(run: Run) -> bool:
    return run.has_only(2) and len(run.columns) == 1 and run.constants[1] is None


RUNS: dict[int, ReadRun] = {
    tags.LIST: _lists,
    tags.TUPLE: _tuples,
    tags.DICT: _dicts,
    tags.SET: _sets(set),
    tags.FROZENSET: _sets(frozenset),
    tags.BYTEARRAY: _bytearrays,
    tags.INT: _ints,
}
"""Tag to what rebuilds the values of a run at once; it gives None for one to be read row by row."""
