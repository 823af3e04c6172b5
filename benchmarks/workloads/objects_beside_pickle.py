"""Objects that are not arrays beside pickle: encoded and decoded, where pickle dumps and loads.

A pickle names a class once and runs what the file says; ours has a row for each object, reads rows of classes
once more before they are stored, and checks each when it reads. No kind may cost more than 20 times as much,
both ways.
"""

from __future__ import annotations

import collections
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


class Settings(dict[str, int]):
    pass


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclass
class Point:
    x: int
    y: str = "a"


Pair = collections.namedtuple("Pair", "a b")  # noqa: PYI024 - as old code has it

_ROWS = "pickle takes a few bytes in C for each; ours takes a row each, made and read in Python"
KINDS: dict[str, Callable[[int], object]] = {
    "ints beyond 64 bits": lambda count: [2**64 + number for number in range(count)],
    "subclass of str": lambda count: [Text(number) for number in range(count)],
    "subclass of dict": lambda count: [Settings(a=number) for number in range(count)],
    "ip addresses": lambda count: [ipaddress.IPv4Address(number) for number in range(count)],
    "enum members": lambda count: [list(Colour)[number % 2] for number in range(count)],
    "a set of tuples": lambda count: {(number, str(number)) for number in range(count)},
    "dataclass": lambda count: [Point(number) for number in range(count)],
    "named tuple": lambda count: [Pair(number, "x") for number in range(count)],
    "exceptions": lambda count: [ValueError(number) for number in range(count)],
    "dicts with a member": lambda count: [{"c": Colour.RED, "n": number} for number in range(count)],
    "one object many times": lambda count: [Point(1)] * count,
    "sets of tuples": lambda count: [{(number, 1), (number, 2)} for number in range(count)],
    "frozensets in a set": lambda count: {frozenset({number, -number - 1}) for number in range(count)},
    "bytearrays": lambda count: [bytearray(str(number).encode()) for number in range(count)],
}
KNOWN = {
    "ints beyond 64 bits": 45,
    "subclass of dict": 45,
    "enum members": 60,
    "exceptions": 50,
    "dicts with a member": 70,
    "one object many times": 60,
    "sets of tuples": 65,
    "frozensets in a set": 95,
    "bytearrays": 60,
}
FIGURES = [
    Figure(kind, ratio=20, known=KNOWN.get(kind), why=_ROWS if kind in KNOWN else "", per="object")
    for kind in KINDS
]


def ours(bench: Bench) -> None:
    import laila
    from laila.codec import decode, encode

    for cls in (Text, Settings, Colour, Point, Pair):
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
