"""Objects that are not arrays beside pickle: encoded and decoded, where pickle dumps and loads.

A pickle names a class once and runs what the file says; ours has columns of fields, reads rows of classes
once more before they are stored, and checks each when it reads. No kind may cost more than 20 times as much,
both ways.
"""

from __future__ import annotations

import collections
import datetime as dt
import enum
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.bench import Bench, Figure

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"
COUNT = 4000


class Text(str):
    __slots__ = ()


class Settings(dict[str, Any]):
    pass


class Items(list[int]):
    pass


class Ordered(collections.OrderedDict[str, int]):
    pass


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclass
class Point:
    x: Any
    y: str = "a"


SHARED = [1]
Pair = collections.namedtuple("Pair", "a b")  # noqa: PYI024 - as old code has it

KINDS: dict[str, Callable[[int], object]] = {
    "ints beyond 64 bits": lambda count: [2**64 + number for number in range(count)],
    "subclass of str": lambda count: [Text(number) for number in range(count)],
    "subclass of dict": lambda count: [Settings(a=number) for number in range(count)],
    "subclass of list": lambda count: [Items([number]) for number in range(count)],
    "subclass of OrderedDict": lambda count: [Ordered(a=number) for number in range(count)],
    "instances that share a list": lambda count: [Settings(a=SHARED) for _ in range(count)],
    "ip addresses": lambda count: [ipaddress.IPv4Address(number) for number in range(count)],
    "enum members": lambda count: [list(Colour)[number % 2] for number in range(count)],
    "dicts with a member": lambda count: [{"c": Colour.RED, "n": number} for number in range(count)],
    "dicts by member": lambda count: [{Colour.RED: number} for number in range(count)],
    "a set of tuples": lambda count: {(number, str(number)) for number in range(count)},
    "sets of tuples": lambda count: [{(number, 1), (number, 2)} for number in range(count)],
    "frozensets in a set": lambda count: {frozenset({number, -number - 1}) for number in range(count)},
    "small sets": lambda count: [{number, number + 1} for number in range(count)],
    "tuples of tuples": lambda count: [((number, 1), (number, 2)) for number in range(count)],
    "dataclass": lambda count: [Point(number) for number in range(count)],
    "dataclasses of dataclasses": lambda count: [Point(Point(number)) for number in range(count)],
    "named tuple": lambda count: [Pair(number, "x") for number in range(count)],
    "exceptions": lambda count: [ValueError(number) for number in range(count)],
    "errors of the system": lambda count: [OSError(2, "x", str(number)) for number in range(count)],
    "one object many times": lambda count: [Point(1)] * count,
    "one object in a dict": lambda count: dict.fromkeys(range(count), Point(1)),
    "dict by members and numbers": lambda count: {(Colour.RED, number): number for number in range(count)},
    "bytearrays": lambda count: [bytearray(str(number).encode()) for number in range(count)],
    "moments": lambda count: [dt.datetime(2020, 1, 1, number % 24, tzinfo=dt.UTC) for number in range(count)],
}
_BYTES = "pickle copies the bytes of each in C; ours makes bytes of each in Python first, and values of them"
KNOWN = {
    "one object many times": (30, "pickle takes two bytes in C for each; ours passes over all places"),
    "one object in a dict": (30, "pickle takes two bytes in C for each; ours passes over all places"),
    "ints beyond 64 bits": (25, _BYTES),
    "bytearrays": (25, _BYTES),
}
FIGURES = [
    Figure(kind, ratio=20, known=KNOWN.get(kind, (None,))[0], why=KNOWN.get(kind, ("", ""))[1], per="object")
    for kind in KINDS
]


def ours(bench: Bench) -> None:
    import laila
    from laila.codec import decode, encode

    for cls in (Text, Settings, Items, Ordered, Colour, Point, Pair):
        laila.register_type(cls)
    for kind, make in KINDS.items():
        payload = make(bench.size(COUNT))

        def work(payload: Any = payload) -> object:
            return decode(encode(payload, key=KEY, pickle=False))

        bench.time(kind, work, per=bench.size(COUNT))


def raw(bench: Bench) -> None:
    import pickle

    for kind, make in KINDS.items():
        payload = make(bench.size(COUNT))

        def work(payload: Any = payload) -> object:
            return pickle.loads(pickle.dumps(payload, protocol=5))

        bench.time(kind, work, per=bench.size(COUNT))
