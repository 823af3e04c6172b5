"""Runs: many rows that are written as one, and what may stand in such a row."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import gc
import ipaddress
import pathlib
import random
import uuid
import weakref
from array import array
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgpack
import numpy as np
import pytest

from laila.blob.blob import Blob
from laila.codec import decode, encode, register_type, tags
from laila.codec.graphs import difference
from laila.codec.rows import reference, unpack_row
from laila.codec.runs import packed_column, rows_of_run, run_row
from laila.errors import CorruptEntryError, PayloadError, UntrustedPayloadError

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"
COUNT = 60
NAN = float("nan")


@register_type
class Shade(enum.Enum):
    DARK = 1
    LIGHT = "l"


@register_type
class Level(enum.Flag):
    LOW = 1
    HIGH = 2


@register_type
@dataclasses.dataclass
class Spot:
    x: Any
    y: Any = None


@register_type
@dataclasses.dataclass(frozen=True)
class Fixed:
    x: Any


@register_type
@dataclasses.dataclass(slots=True)
class Slotted:
    x: Any
    y: Any = 1


@register_type
class Loose:
    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


@register_type
class Both(list[Any]):
    __slots__ = ("__dict__", "extra")
    extra: Any


@register_type
class Frozen(frozenset[Any]):
    pass


@register_type
class Sorted(collections.OrderedDict[Any, Any]):
    pass


@register_type
class Failure(Exception):
    pass


Pair: Any = register_type(collections.namedtuple("Pair", "a b"))  # noqa: PYI024 - as old code has it


def both(number: int) -> Both:
    found = Both([number])
    found.extra = (number,)
    found.name = str(number)  # type: ignore[attr-defined]
    return found


def failure(number: int) -> Failure:
    found = Failure(number, "a")
    found.detail = {"n": number}  # type: ignore[attr-defined]
    return found


MAKERS: dict[str, Callable[[int], Any]] = {
    "list": lambda n: [n, None, str(n)],
    "lists of several sizes": lambda n: [n] * (n % 4),
    "dict": lambda n: {"a": n, "b": [n]},
    "dicts of other keys": lambda n: {str(n): n, n: (n,)},
    "dicts of keys that are equal": lambda n: {(1, True, 1.0)[n % 3]: n},
    "dict by member": lambda n: {Shade.DARK: n, Shade.LIGHT: Shade.DARK},
    "set": lambda n: {n, -n, "a"},
    "set of tuples": lambda n: {(n, 1), (n, 2), ("a", (n,))},
    "set of frozen sets": lambda n: {frozenset({n}), frozenset({(n, "b"), (1,)})},
    "set of members": lambda n: {Shade.DARK, (Shade.LIGHT, n), n},
    "set of what has fields": lambda n: {Fixed(n), Fixed((n, 1))},
    "frozenset": lambda n: frozenset({n, (n, Shade.DARK)}),
    "bytearray": lambda n: bytearray(str(n).encode() * (n + 1)),
    "large bytearray": lambda n: bytearray(b"x" * (65_536 + n)) if n % 20 == 0 else bytearray(),
    "wide int": lambda n: 2**64 + n // 2,
    "int": lambda n: (-(2 ** (60 + n)), 2 ** (60 + n)),
    "very wide int": lambda n: (2**600_000 + n % 2) if n % 30 == 0 else 2**70,
    "tuple": lambda n: (n // 3, "a"),
    "tuple of tuples": lambda n: ((n, (Shade.DARK, n)), [n], (n // 2,)),
    "tuple with NaN": lambda n: (NAN, n // 3),
    "spot": lambda n: Spot(n, Spot([n], (n,))),
    "spots of several kinds": lambda n: (Spot, Fixed, Slotted)[n % 3](n),
    "field that is another": lambda n: Spot(None if n % 2 else Spot(n)),
    "spot of a long text": lambda n: Spot(b"x" * 70_000 if n % 20 == 0 else b"x"),
    "slots": lambda n: Slotted(n, 2**70),
    "loose": lambda n: Loose(**{f"a{k}": n for k in range(n % 5)}),
    "slots and attributes": both,
    "frozen": lambda n: Frozen({n, "a"}),
    "sorted": lambda n: Sorted(b=n, a=Shade.DARK),
    "pair": lambda n: Pair(n, (n,)),
    "error": failure,
    "error of the system": lambda n: FileNotFoundError(n, "x", str(n)),
    "error of a key": lambda n: KeyError((n,)),
    "error of text": lambda n: UnicodeDecodeError("utf-8", bytes([n]), 0, 1, "bad"),
    "error with a cause": lambda n: ExceptionGroup(str(n), [ValueError(n)]),
    "member": lambda n: list(Shade)[n % 2],
    "flags": lambda n: Level(n % 4),
    "moment": lambda n: dt.datetime(2020, 1, 1 + n % 28, tzinfo=dt.UTC),
    "day": lambda n: dt.date(2020, 1, 1 + n % 28),
    "number": lambda n: decimal.Decimal(n) / 7 if n % 5 else decimal.Decimal("nan"),
    "fraction": lambda n: fractions.Fraction(n, 7),
    "uuid": lambda n: uuid.UUID(int=n),
    "path": lambda n: pathlib.PurePosixPath(f"/a/{n}"),
    "address": lambda n: ipaddress.IPv6Address(n),
    "range": lambda n: range(n),
    "complex": lambda n: complex(n, NAN if n % 2 else 1.0),
    "ordered": lambda n: collections.OrderedDict(a=n),
    "counter": lambda n: collections.Counter({(n,): 1}),
    "default": lambda n: collections.defaultdict(list, {n: [n]}),
    "array": lambda n: Spot(np.arange(n % 3)),
    "text": lambda n: {"\ud800": n},
}


def again(payload: Any) -> Any:
    return decode(Blob.from_bytes(bytes(encode(payload, key=KEY, pickle=False)), key=KEY))


@pytest.mark.parametrize("kind", MAKERS)
def test_many_values_of_one_kind_come_back(kind: str) -> None:
    make = MAKERS[kind]
    one = [make(number) for number in range(COUNT)]
    for payload in (
        one,
        [*one, *one],
        {number: make(number) for number in range(COUNT)},
        [[make(number), number] for number in range(COUNT)],
        [Spot(make(number), number) for number in range(COUNT)],
        [{"a": value, "b": one} for value in one],
        (make(0), *one, [one[3]], 2**80),
        collections.deque(one),
    ):
        found = again(payload)
        assert difference(payload, found, deep=True) is None
        if "NaN" not in kind and kind not in ("number", "complex"):
            assert encode(found, key=KEY).tree == encode(payload, key=KEY).tree


def test_equal_payloads_have_equal_trees() -> None:
    """However many of their immutable parts are one object, and however large they are."""
    for size in (3, 20, 200):
        parts = [(number % 7, (Shade.DARK, str(number % 5))) for number in range(size)]
        copies = [(number, (member, str(text))) for number, (member, text) in parts]
        one = {part: part for part in parts}
        same = [one[part] for part in parts]
        for make in (
            lambda values: values,
            lambda values: [[value, 1] for value in values],
            lambda values: [Spot(value, {value}) for value in values],
            lambda values: {number: {value: [value]} for number, value in enumerate(values)},
            lambda values: [frozenset({value, (value,)}) for value in values],
        ):
            trees = {encode(make(values), key=KEY).tree for values in (parts, copies, same)}
            assert len(trees) == 1


def test_mixtures() -> None:
    dice = random.Random(5)
    names = [name for name in MAKERS if name not in ("very wide int", "large bytearray")]
    for _ in range(25):
        chosen = dice.sample(names, 4)
        shared = [MAKERS[name](dice.randrange(COUNT)) for name in chosen]
        values: list[Any] = []
        for number in range(COUNT):
            value = dice.choice([*shared, MAKERS[dice.choice(chosen)](number), number, "a", None])
            values.append(dice.choice([value, [value], (value, number), {"k": value}, Spot(value, shared)]))
        assert difference(values, again(values), deep=True) is None


def test_rows_that_hold_each_other() -> None:
    spots: list[Any] = [Spot(number) for number in range(COUNT)]
    for one, other in pairwise(spots):
        one.y = other
    found = again(spots)
    assert all(one.y is other for one, other in pairwise(found))
    spots[-1].y = spots[0]
    cyclic: Any = decode(encode(spots, key=KEY))
    assert cyclic[-1].y is cyclic[0]
    own: list[Any] = [[number] for number in range(COUNT)]
    own[40].append(own)
    with pytest.raises(PayloadError, match=r"payload\[40\]\[1\]"):
        encode(own, key=KEY)


def test_extension_types_of_a_user_are_no_references() -> None:
    extension = msgpack.ExtType(0, b"\0")
    payload = [Spot(extension, (number, extension)) for number in range(COUNT)]
    assert decode(encode(payload, key=KEY)) == payload


def test_runs_beside_arrays_that_share_memory() -> None:
    """Whose rows are numbered anew when all are known."""
    base = np.arange(100)
    payload = [[(number, "a"), Spot(number, base[number : number + 2])] for number in range(COUNT)]
    found = again(payload)
    found[3][1].y[1] = -5
    assert found[4][1].y[0] == -5
    assert found[7][0] == (7, "a")


def test_what_cannot_be_read_again_is_told_with_its_place() -> None:
    class Odd(Exception):
        @property  # type: ignore[misc]
        def __class__(self) -> type:
            raise ValueError("none")

    payload: list[Any] = [Spot(number) for number in range(COUNT)]
    payload[33] = Spot(object())
    payload[34].x = memoryview(b"a")
    with pytest.raises(PayloadError) as caught:
        encode(payload, key=KEY)
    assert caught.value.path == "payload[34].x"


def test_a_run_is_the_rows_that_it_stands_for() -> None:
    dice = random.Random(3)
    for _ in range(100):
        width, count = dice.randrange(1, 6), dice.randrange(8, 20)
        size = dice.randrange(1, 5) + width
        places = [0, *sorted(dice.sample(range(1, size), size - width - 1))]
        constants: list[Any] = [tags.LIST, *range(size - width - 1)]
        columns: list[list[Any]] = [
            [reference(dice.randrange(10**6)) if dice.random() < 0.5 else "x" for _ in range(count)]
            for _ in range(width)
        ]
        known = {
            id(field): field.code << 24 | int.from_bytes(field.data, "little")
            for column in columns
            for field in column
            if type(field) is msgpack.ExtType
        }
        packed = msgpack.packb(
            run_row(places, constants, [packed_column(column, known) for column in columns])
        )
        rows = rows_of_run(unpack_row(packed), reference)
        holes = sorted({*range(size)}.difference(places))
        assert [row[0] for row in rows] == [tags.LIST] * count
        assert [[row[hole] for hole in holes] for row in rows] == [
            list(fields) for fields in zip(*columns, strict=True)
        ]


# -- hostile


def numbers(*given: int) -> bytes:
    return array("I", given).tobytes()


def refused(*rows: Any, packed: bytes = b"") -> None:
    blob = Blob(KEY, tags.ROWS_MARK + b"".join(map(msgpack.packb, rows)) + packed)
    with pytest.raises(CorruptEntryError):
        decode(Blob.from_bytes(bytes(blob)))


EIGHT = list(range(8))
FIRST = [tags.TUPLE, 1]
SPOT = f"{__name__}:Spot"
FAILURE = f"{__name__}:Failure"
FORGED: dict[str, list[Any]] = {
    "no columns": [tags.RUN, 1, tags.LIST],
    "nothing": [tags.RUN],
    "no places": [tags.RUN, 0, EIGHT],
    "places that are none": [tags.RUN, None, tags.LIST, EIGHT],
    "places below": [tags.RUN, -1, tags.LIST, EIGHT],
    "more in common than there is": [tags.RUN, 100, tags.LIST, EIGHT],
    "too much in common": [tags.RUN, 10, tags.LIST, *range(9), EIGHT],
    "the first places": [tags.RUN, numbers(0, 1), tags.LIST, 1, EIGHT],
    "no tag": [tags.RUN, numbers(1, 2), tags.LIST, 1, EIGHT],
    "a place twice": [tags.RUN, numbers(0, 2, 2), tags.LIST, 1, 1, EIGHT, EIGHT],
    "places in another order": [tags.RUN, numbers(0, 3, 2), tags.LIST, 1, 1, EIGHT, EIGHT],
    "a place beyond": [tags.RUN, numbers(0, 9), tags.LIST, 1, EIGHT],
    "half a place": [tags.RUN, b"\0\0\0", tags.LIST, EIGHT],
    "no place": [tags.RUN, b"", EIGHT],
    "few": [tags.RUN, 1, tags.LIST, [1, 2, 3]],
    "columns of two lengths": [tags.RUN, 1, tags.LIST, EIGHT, [*EIGHT, 9]],
    "a column that is none": [tags.RUN, 1, tags.LIST, 8],
    "a text for a column": [tags.RUN, 1, tags.LIST, "x" * 8],
    "a reference beyond": [tags.RUN, 1, tags.LIST, numbers(*[5] * 8)],
    "a reference to itself": [tags.RUN, 1, tags.LIST, numbers(*[1] * 8)],
    "half a reference": [tags.RUN, 1, tags.LIST, b"\0" * 33],
    "a map of nothing": [tags.RUN, 1, tags.LIST, {}],
    "a map of two": [tags.RUN, 1, tags.LIST, {numbers(0): [numbers(0)], numbers(1): [numbers(0), *EIGHT]}],
    "a map of references alone": [tags.RUN, 1, tags.LIST, {numbers(*EIGHT): [numbers(*[0] * 8)]}],
    "a map of atoms alone": [tags.RUN, 1, tags.LIST, {b"": [b"", *EIGHT]}],
    "a place in a map twice": [tags.RUN, 1, tags.LIST, {numbers(1, 1): [numbers(0, 0), *range(6)]}],
    "a place beyond a map": [tags.RUN, 1, tags.LIST, {numbers(9): [numbers(0), *range(7)]}],
    "no places in a map": [tags.RUN, 1, tags.LIST, {None: [numbers(0), *range(7)]}],
    "more references than places": [tags.RUN, 1, tags.LIST, {numbers(1): [numbers(0, 0), *range(7)]}],
    "no list in a map": [tags.RUN, 1, tags.LIST, {numbers(1): 7}],
    "a run of runs": [tags.RUN, 1, tags.RUN, EIGHT],
    "a run of references": [tags.RUN, 1, tags.REFERENCES, EIGHT],
    "a run of arrays": [tags.RUN, 1, tags.NDARRAY, [0] * 8],
    "a run of no tag": [tags.RUN, 1, "a", EIGHT],
    "a run of an unknown tag": [tags.RUN, 1, 125, EIGHT],
    "a tag that is a list": [tags.RUN, 1, [1], EIGHT],
    "a key twice": [tags.RUN, 1, tags.DICT, EIGHT, EIGHT, EIGHT, EIGHT],
    "a text twice": [tags.RUN, numbers(0, 1, 3), tags.DICT, "a", "a", EIGHT, EIGHT],
    "a key without a value": [tags.RUN, 1, tags.DICT, EIGHT, EIGHT, EIGHT],
    "keys alone": [tags.RUN, 2, tags.DICT, "a", EIGHT, EIGHT],
    "a member twice": [tags.RUN, 1, tags.SET, EIGHT, EIGHT],
    "members that are equal": [tags.RUN, 1, tags.FROZENSET, [1] * 8, [True] * 8],
    "bytes that are none": [tags.RUN, 2, tags.BYTEARRAY, None, [*range(7), b""]],
    "buffers that are none": [tags.RUN, 1, tags.BYTEARRAY, [0] * 8, [None] * 8],
    "ints that are none": [tags.RUN, 2, tags.INT, None, ["a"] * 8],
    "a class that is none": [tags.RUN, 3, tags.OBJECT, 7, "x", EIGHT],
    "a field twice": [tags.RUN, numbers(0, 1, 2, 4), tags.OBJECT, SPOT, "x", "x", EIGHT, EIGHT],
    "a name that is none": [tags.RUN, numbers(0, 1, 2, 4), tags.OBJECT, SPOT, "x", 5, EIGHT, EIGHT],
    "no value of a base": [tags.RUN, 3, tags.SUBCLASS, f"{__name__}:Both", None, EIGHT],
    "no arguments": [
        tags.RUN,
        numbers(0, 1, 2, 4, 5, 6, 7),
        tags.EXCEPTION,
        FAILURE,
        *[None] * 4,
        False,
        EIGHT,
    ],
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_runs(name: str) -> None:
    refused(FIRST, FORGED[name])


def test_a_run_of_a_class_that_nobody_registered() -> None:
    row = [tags.RUN, 3, tags.OBJECT, "os:system", "x", EIGHT]
    with pytest.raises(UntrustedPayloadError, match="os:system"):
        decode(Blob(KEY, tags.ROWS_MARK + msgpack.packb(row)))


CHANGED = {
    "a dunder": [tags.RUN, numbers(0, 1, 2, 4), tags.OBJECT, SPOT, "x", "__class__", EIGHT, EIGHT],
    "no fields": [tags.RUN, 1, tags.OBJECT, [SPOT] * 8],
    "a field less": [tags.RUN, 3, tags.OBJECT, SPOT, "y", EIGHT],
    "a field more": [tags.RUN, numbers(0, 1, 2, 4), tags.OBJECT, SPOT, "x", "z", EIGHT, EIGHT],
}


@pytest.mark.parametrize("name", CHANGED)
def test_runs_of_a_class_that_has_changed(name: str) -> None:
    """It is told as it is of single rows."""
    with pytest.raises(PayloadError, match="field"):
        decode(Blob(KEY, tags.ROWS_MARK + msgpack.packb(CHANGED[name])))


def test_a_run_costs_no_more_than_its_rows_would() -> None:
    """A few bytes that stand for much are refused, as they are row by row."""
    big = [tags.DICT, *(part for number in range(20_000) for part in (f"a{number}", 0))]
    refused(big, [tags.RUN, 3, tags.SUBCLASS, f"{__name__}:Sorted", None, numbers(*[0] * 20_000)])
    ordered = [tags.ORDERED_DICT, None, *big[1:]]
    refused(ordered, [tags.RUN, 3, tags.SUBCLASS, f"{__name__}:Sorted", None, numbers(*[0] * 20_000)])
    text = [tags.BYTES, None, b"x" * 60_000]
    refused(text, [tags.RUN, 2, tags.BYTEARRAY, None, numbers(*[0] * 20_000)])
    refused(text, [tags.RUN, 2, tags.INT, None, numbers(*[0] * 20_000)])
    web: list[Any] = [[tags.TUPLE, 1], *([tags.TUPLE, reference(row), reference(row)] for row in range(40))]
    refused(*web, [tags.RUN, 1, tags.SET, numbers(*[40] * 8)])
    refused(*web, [tags.RUN, 1, tags.DICT, numbers(*[40] * 8), EIGHT])
    deep: list[Any] = [[tags.DEQUE, None]]
    for row in range(60):
        deep.append([tags.RUN, 2, tags.DEQUE, None, numbers(*[8 * row] * 8)])
    assert len(decode(Blob(KEY, tags.ROWS_MARK + b"".join(map(msgpack.packb, deep))))) == 1  # type: ignore[arg-type]
    for row in range(60, 600):
        deep.append([tags.RUN, 2, tags.DEQUE, None, numbers(*[8 * row] * 8)])
    refused(*deep)


def test_sets_of_what_is_no_atom() -> None:
    """Whose order is known at once, or only when all rows are written."""
    wide = 2**70
    for members in (
        {..., (-wide,)},
        {(wide, 1), (wide, 2)},
        {frozenset({wide}), (1, wide), "a"},
        {(1, b"x" * 70_000), (2,)},
        {("a", frozenset({(wide, 1), 5}))},
        {int, Shade, (Shade.DARK, int)},
    ):
        for payload in (members, frozenset(members), [set(members) for _ in range(COUNT)]):
            assert again(payload) == payload
            assert encode(again(payload), key=KEY).tree == encode(payload, key=KEY).tree


def test_nothing_of_a_payload_is_held_once_it_is_encoded() -> None:
    payload = [Loose(a=number) for number in range(COUNT)]
    watched = weakref.ref(payload[3])
    gc.disable()
    try:
        blob = encode(payload, key=KEY)
        del payload
        assert watched() is None
    finally:
        gc.enable()
    assert len(decode(blob)) == COUNT  # type: ignore[arg-type]


def test_rows_after_a_run_go_on_counting() -> None:
    rows = [[tags.RUN, 1, tags.LIST, EIGHT], [tags.TUPLE, reference(0), reference(7), reference(3)]]
    found: Any = decode(Blob(KEY, tags.ROWS_MARK + b"".join(map(msgpack.packb, rows))))
    assert found == ([0], [7], [3])
