"""A comparison by levels never takes two graphs for alike in which the walk finds a difference."""

from __future__ import annotations

import collections
import copy
import dataclasses
import enum
from typing import Any

import pytest

from laila.codec.graphs import difference
from laila.codec.levels import alike


class Text(str):
    __slots__ = ("note",)
    note: Any


class Number(int):
    pass


class Settings(dict[Any, Any]):
    pass


class Ordered(collections.OrderedDict[Any, Any]):
    pass


class Items(list[Any]):
    pass


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclasses.dataclass
class Point:
    x: Any
    y: Any = None


@dataclasses.dataclass
class Slotted:
    __slots__ = ("x", "y")
    x: Any
    y: Any


Pair = collections.namedtuple("Pair", "a b")  # noqa: PYI024 - as old code has it


def text(value: str, note: Any) -> Text:
    made = Text(value)
    made.note = note
    return made


def error(number: Any) -> ValueError:
    made = ValueError(number)
    made.__cause__ = KeyError(number)
    made.add_note(str(number))
    return made


# Per kind: an object of three numbers, all of which are part of it.
MAKE: dict[str, Any] = {
    "dict": lambda a, b, c: {"a": a, b: [c]},
    "list": lambda a, b, c: [a, (b,), [c]],
    "tuple": lambda a, b, c: (a, (b, {"c": c})),
    "text": lambda a, b, c: text(f"{a} {b}", [c]),
    "number": lambda a, b, c: [Number(a), Number(b), Number(c)],
    "settings": lambda a, b, c: Settings(a=a, b=[b], **{str(c): None}),
    "ordered": lambda a, b, c: Ordered(a=a, b=(b, [c])),
    "items": lambda a, b, c: Items([a, Items([b]), c]),
    "point": lambda a, b, c: Point(a, Point(b, {"c": c})),
    "slotted": lambda a, b, c: Slotted(a, Slotted(b, [c])),
    "pair": lambda a, b, c: Pair(a, Pair([b], c)),
    "error": lambda a, b, c: [error(a), Point(error(b), c)],
    "member": lambda a, b, c: {"colour": list(Colour)[a % 2], "more": [list(Colour)[b % 2], c]},
    "set": lambda a, b, c: [{a, b + 1000}, frozenset({(c,)})],
    "float": lambda a, b, c: [float(a), {"b": float(b)}, Point(float(c))],
    "default": lambda a, b, c: collections.defaultdict(list, {a: [b, c]}),
}
COUNT = 12


@pytest.mark.parametrize("kind", MAKE)
def test_one_value_that_differs_is_found_wherever_it_is(kind: str) -> None:
    def several() -> list[Any]:
        return [MAKE[kind](3 * number, 3 * number + 1, 3 * number + 2) for number in range(COUNT)]

    given = several()
    assert alike(given, several())
    assert difference(given, several()) is None
    for place in range(3):
        changed = [3 * 7, 3 * 7 + 1, 3 * 7 + 2]
        changed[place] += 1
        read = several()
        read[7] = MAKE[kind](*changed)
        found = difference(given, read)
        assert alike(given, read) is (found is None), (kind, place)
    assert not alike(given, several()[:-1])
    assert not alike(given, [*several(), given[0]])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (0.0, -0.0),
        (1, 1.0),
        ("a", Text("a")),
        ([1], (1,)),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (Settings(a=1), {"a": 1}),
        (Point(1), Point(1.0)),
        (float("nan"), 1.0),
        (b"a", bytearray(b"a")),
    ],
    ids=repr,
)
def test_values_that_are_equal_and_not_the_same_differ(one: Any, other: Any) -> None:
    for wrap in (lambda value: value, Point, lambda value: Settings(a=value), lambda value: [value]):
        given = [wrap(copy.copy(one)) for _ in range(COUNT)]
        read = [wrap(copy.copy(one)) for _ in range(COUNT)]
        read[5] = wrap(other)
        assert not alike(given, read)


def test_a_nan_is_a_nan() -> None:
    assert alike([Point(float("nan"))] * COUNT, [Point(float("nan"))] * COUNT)
    assert alike([Point(float("nan")) for _ in range(COUNT)], [Point(float("nan")) for _ in range(COUNT)])


@pytest.mark.parametrize("make", [list, dict, set, Point, Settings], ids=lambda make: make.__name__)
def test_sharing_that_differs_is_found(make: Any) -> None:
    def new() -> Any:
        return make(1) if make is Point else make()

    one = new()
    shared, apart = [Point(one) for _ in range(COUNT)], [Point(new()) for _ in range(COUNT)]
    assert alike(shared, copy.deepcopy(shared))
    assert alike(apart, copy.deepcopy(apart))
    assert not alike(shared, apart)
    assert alike(apart, shared) is (difference(apart, shared) is None)
    # On two levels: below an object, and beside it.
    assert alike([one, shared], copy.deepcopy([one, shared]))
    assert not alike([one, shared], [new(), copy.deepcopy(shared)])
    assert not alike([shared, one], [copy.deepcopy(shared), new()])


def test_attributes_that_came_back_otherwise_are_found() -> None:
    given = [Settings(a=number) for number in range(COUNT)]
    for thing in given:
        thing.__dict__["extra"] = [1]
    assert alike(given, copy.deepcopy(given))
    for change in ({"extra": [2]}, {"extra": [1], "more": 1}, {"other": [1]}, {}):
        read = copy.deepcopy(given)
        read[3].__dict__.clear()
        read[3].__dict__.update(change)
        assert not alike(given, read)


def test_a_structure_that_doubles_with_each_level_is_compared_once() -> None:
    def doubled(depth: int) -> Any:
        found: Any = ([1], Point(1))
        for _ in range(depth):
            found = (found, found, Point(2))
        return found

    one, other = doubled(60), doubled(60)
    assert alike(one, other)
    deep: Any = None
    for _ in range(5000):
        deep = Point(deep)
    twin: Any = None
    for _ in range(5000):
        twin = Point(twin)
    assert alike(deep, twin)
