"""Many small objects in one payload: what they share, and operations that grow with their number."""

from __future__ import annotations

import collections
import dataclasses
import enum
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from laila.blob.blob import Blob
from laila.codec import decode, encode, register_type
from laila.codec.graphs import difference
from laila.errors import PayloadError

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"
COUNT = 100


@register_type
class Text(str):
    __slots__ = ()


@register_type
class Settings(dict[Any, Any]):
    pass


@register_type
class Ordered(collections.OrderedDict[Any, Any]):
    pass


@register_type
class Items(list[Any]):
    pass


@register_type
class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@register_type
@dataclasses.dataclass
class Point:
    x: Any
    y: Any = None


def again(payload: Any) -> Any:
    return decode(Blob.from_bytes(bytes(encode(payload, key=KEY, pickle=False)), key=KEY))


# -- what is shared


MAKE: dict[str, Callable[[Any], Any]] = {
    "point": Point,
    "settings": lambda held: Settings(a=held),
    "items": lambda held: Items([held]),
    "list": lambda held: [held],
}
INNER = [Point(1), Settings(a=1), Items([1]), [1], {"a": 1}, {1, 2}, bytearray(b"a")]


@pytest.mark.parametrize("maker", MAKE)
@pytest.mark.parametrize("inner", INNER, ids=lambda inner: type(inner).__name__)
def test_objects_of_one_list_that_hold_each_other_stay_one(maker: str, inner: Any) -> None:
    make = MAKE[maker]
    payload: list[Any] = []
    for _ in range(COUNT):
        part = type(inner)(inner) if not isinstance(inner, Point) else Point(1)
        payload += [part, make(part), make([part]), make(make(part))]
    found = again(payload)
    for at in range(0, len(payload), 4):
        part, *holders = found[at : at + 4]
        assert part == payload[at]
        for holder in holders:
            held = holder
            while held is not part:
                held = held.x if isinstance(held, Point) else held["a"] if isinstance(held, dict) else held[0]
    assert len({id(part) for part in found}) == len(payload)


def test_one_object_many_times_is_one_object() -> None:
    for one in (Point(1), [1], (1, [2]), Settings(a=1), {"a": (1,)}, {1}, np.arange(3)):
        for payload in ([one] * COUNT, dict.fromkeys(range(COUNT), one), [[one]] * COUNT, (one, 1) * COUNT):
            found = again(payload)
            values = list(found.values()) if isinstance(found, dict) else list(found)
            parts = [value for value in values if type(value) is not int]
            assert len({id(part) for part in parts}) == 1
            assert len(values) == len(payload)


def test_rows_of_every_kind_stand_side_by_side() -> None:
    payload: list[Any] = []
    for number in range(COUNT):
        payload += [
            number,
            2**70 + number,
            -(2**90),
            (number, "a"),
            (number, 2**80),
            Point(2**65),
            Text(number),
        ]
        payload += [
            {number},
            {number, 2**66},
            frozenset({(number,), (1, 2)}),
            bytearray(b"a"),
            None,
            0.5,
            b"x",
        ]
        payload += [
            {Colour.RED: number},
            {"c": Colour.BLUE},
            Ordered(a=number),
            complex(number),
            range(number),
        ]
        payload += [float("nan"), (float("nan"),), Point(float("nan")), b"y" * 70_000, Point(b"z" * 70_000)]
    found = again(payload)
    assert difference(payload, found) is None
    assert [type(part) for part in found] == [type(part) for part in payload]
    assert encode(found, key=KEY).tree == encode(payload, key=KEY).tree


def test_a_fault_among_many_is_told_with_its_place() -> None:
    class Refused:
        __slots__ = ()

        def __reduce__(self) -> Any:
            raise ValueError("never")

    for wrap, step in ((Point, ".x"), (lambda held: Settings(a=held), "['a']"), (lambda held: [held], "[0]")):
        payload: list[Any] = [wrap(number) for number in range(COUNT)]
        payload[70] = wrap(wrap(Refused()))
        with pytest.raises(PayloadError) as caught:
            encode(payload, key=KEY)
        assert caught.value.path == f"payload[70]{step}{step}"


# -- what it costs


def _operations(run: Callable[[], object]) -> int:
    count = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
    return count


_SHARED = [1]
KINDS: dict[str, tuple[Callable[[int], Any], int]] = {
    "wide ints": (lambda n: [2**64 + number for number in range(n)], 45),
    "subclass of str": (lambda n: [Text(number) for number in range(n)], 110),
    "subclass of dict": (lambda n: [Settings(a=number) for number in range(n)], 240),
    "subclass of list": (lambda n: [Items([number]) for number in range(n)], 220),
    "subclass of OrderedDict": (lambda n: [Ordered(a=number) for number in range(n)], 260),
    "dict subclasses that share a list": (lambda n: [Settings(a=_SHARED) for _ in range(n)], 240),
    "one member many times": (lambda n: [Colour.RED] * n, 30),
    "members as values": (lambda n: [{"c": Colour.RED, "n": number} for number in range(n)], 100),
    "members as keys": (lambda n: [{Colour.RED: number} for number in range(n)], 150),
    "dataclasses": (lambda n: [Point(number) for number in range(n)], 140),
    "dataclasses of dataclasses": (
        lambda n: {str(number): Point([Point(number)]) for number in range(n)},
        400,
    ),
    "one dataclass many times": (lambda n: [Point(1)] * n, 30),
    "exceptions": (lambda n: [ValueError(number) for number in range(n)], 260),
    "a set of tuples": (lambda n: {(number, str(number)) for number in range(n)}, 60),
    "sets of tuples": (lambda n: [{(number, 1), (number, 2)} for number in range(n)], 220),
    "frozensets in a set": (lambda n: {frozenset({number, -number - 1}) for number in range(n)}, 300),
    "small sets": (lambda n: [{number, number + 1} for number in range(n)], 80),
    "bytearrays": (lambda n: [bytearray(str(number).encode()) for number in range(n)], 60),
    "arrays": (lambda n: [np.arange(3) + number for number in range(n)], 400),
    "array of tuples": (lambda n: np.fromiter(((number,) for number in range(n)), object, n), 60),
    "slices of one list": (lambda n: [_SHARED] * n, 30),
}


@pytest.mark.parametrize("kind", KINDS)
def test_operations_grow_with_the_number_of_objects(kind: str) -> None:
    make, most = KINDS[kind]
    few, many = make(100), make(400)
    encode(make(3), key=KEY)  # imports and caches
    one, two = encode(few, key=KEY), encode(many, key=KEY)
    writing = [_operations(partial(encode, payload, key=KEY)) for payload in (few, many)]
    reading = [_operations(partial(decode, blob)) for blob in (one, two)]
    assert writing[1] < 4.5 * writing[0] + 200
    assert reading[1] < 4.5 * reading[0] + 200
    assert (writing[1] + reading[1]) / 400 < most
