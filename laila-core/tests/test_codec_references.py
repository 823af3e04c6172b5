"""Rows with many references, which are one run of numbers, and what may stand in such a row."""

from __future__ import annotations

import enum
import random
from array import array
from collections import Counter
from typing import Any

import msgpack
import pytest

from laila.blob.blob import Blob
from laila.codec import decode, encode, register_type, registry, tags
from laila.codec.references import MANY, compact, expand, split
from laila.codec.rows import reference
from laila.errors import CorruptEntryError

KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for table in ("_names", "_types", "_changes"):
        monkeypatch.setattr(registry, table, dict(getattr(registry, table)))
    register_type(Colour)


def again(payload: Any) -> Any:
    return decode(Blob.from_bytes(bytes(encode(payload, key=KEY, pickle=False)), key=KEY))


def test_rows_with_many_references_come_back() -> None:
    colours = [list(Colour)[number % 2] for number in range(500)]
    payloads: list[Any] = [
        colours,
        [*colours, 1, None],
        [1, *colours],
        dict(enumerate(colours)),
        {(number, "x"): (number,) for number in range(100)},
        {(number,) for number in range(100)} | set(range(100)) | {b"x"},
        frozenset((number, (number,)) for number in range(100)),
        [2**70 + number for number in range(100)],
        [2**70, 2**700_000, *range(100), -(2**64)] * 20,
        Counter((number,) for number in range(100)),
    ]
    for payload in payloads:
        for value in (payload, [payload, payload], {"a": payload}):
            assert again(value) == value
    found = again(colours)
    assert all(one is other for one, other in zip(found, colours, strict=True))


def test_any_row_is_split_and_put_together_again() -> None:
    dice = random.Random(7)
    for _ in range(300):
        size = dice.randrange(1, 200)
        row: list[Any] = [
            1,
            *(reference(dice.randrange(10**6)) if dice.random() < 0.5 else "x" for _ in range(size)),
        ]
        short = compact(row)
        many = sum(type(field) is msgpack.ExtType for field in row) >= MANY
        assert (short is not None) is many
        if short is not None:
            indexes, positions, fields = split(short)
            assert expand(positions, list(map(reference, indexes)), fields) == row


def test_equal_payloads_have_equal_trees() -> None:
    """However many of their immutable parts are one object."""
    parts = [1, "a"]
    one = tuple(parts)
    for make in (
        lambda: [tuple(parts) for _ in range(100)],
        lambda: [2**80 + number % 3 for number in range(100)],
        lambda: {(number, *parts) for number in range(100)},
    ):
        assert encode(make(), key=KEY).digest == encode(make(), key=KEY).digest
    assert encode([one] * 100, key=KEY).digest == encode([tuple(parts) for _ in range(100)], key=KEY).digest
    members = [(number, str(number)) for number in range(300)]
    backward = list(reversed(members))
    forward, backward_set = set(members), set(backward)
    assert encode(forward, key=KEY).digest == encode(backward_set, key=KEY).digest
    # The order of a set's tuples is the same whether it is known at once or only at the end.
    deep = [forward, frozenset({(1, (2,)), (3, (4,))})]
    tail = decode(encode(deep, key=KEY))
    assert tail == deep


def test_a_users_extension_types_are_no_references() -> None:
    """Wherever they stand in an object whose row was begun without a frame."""
    extension = msgpack.ExtType(0, b"\0")
    for error in (ValueError(extension), ValueError([{}, object], extension)):
        error.__cause__ = KeyError(extension)
        error.first, error.second, error.third = extension, [{1: {2: {3: ()}}}], extension  # type: ignore[attr-defined]
        found = decode(encode([error, extension], key=KEY))
        assert found[0].args == error.args  # type: ignore[index]
        assert vars(found[0]) == vars(error)  # type: ignore[index]
        assert found[0].__cause__.args == (extension,)  # type: ignore[index]


def rows(*given: Any) -> Blob:
    return Blob(KEY, tags.ROWS_MARK + b"".join(map(msgpack.packb, given)))


def numbers(*given: int) -> bytes:
    return array("I", given).tobytes()


def test_forged_runs_of_references() -> None:
    many = numbers(*[0] * MANY)
    first = [tags.TUPLE, 1]
    assert decode(rows(first, [tags.REFERENCES, many, None, tags.LIST])) == [(1,)] * MANY
    places = range(1, MANY + 1)
    bad: list[list[Any]] = [
        [tags.REFERENCES],
        [tags.REFERENCES, many],
        [tags.REFERENCES, many, None],
        [tags.REFERENCES, many, None, "list"],
        [tags.REFERENCES, many, None, tags.REFERENCES],
        [tags.REFERENCES, many[:-1], None, tags.LIST],
        [tags.REFERENCES, many[:-4], None, tags.LIST],
        [tags.REFERENCES, "text", None, tags.LIST],
        [tags.REFERENCES, numbers(*[0] * MANY, 1), None, tags.LIST],
        [tags.REFERENCES, numbers(*[0] * MANY, 2**32 - 1), None, tags.LIST],
        [tags.REFERENCES, many, numbers(*places)[:-4], tags.LIST],
        [tags.REFERENCES, many, numbers(*places[:-1], 2**31), tags.LIST],
        [tags.REFERENCES, many, numbers(0, *places[:-1]), tags.LIST],
        [tags.REFERENCES, many, numbers(*reversed(places)), tags.LIST],
        [tags.REFERENCES, many, numbers(*[1] * MANY), tags.LIST],
        [tags.REFERENCES, many, None, tags.COMPLEX],
    ]
    for row in bad:
        with pytest.raises(CorruptEntryError):
            decode(rows(first, row))


def test_depth_counts_through_runs_of_references() -> None:
    deep: list[Any] = [[tags.SLICE, None, None, None]]
    for index in range(600):
        deep.append([tags.DEQUE, None, msgpack.ExtType(0, index.to_bytes(2, "little"))])
        if index % 100 == 99:
            deep[-1] = [tags.REFERENCES, numbers(*[index] * MANY), None, tags.DEQUE, None]
    with pytest.raises(CorruptEntryError, match="nested"):
        decode(rows(*deep))


def operations(payload: Any) -> int:
    """How many calls encoding and decoding make."""
    import sys

    count = 0

    def trace(*_: object) -> None:
        nonlocal count
        count += 1

    encode(payload, key=KEY, pickle=False)
    sys.setprofile(trace)
    try:
        decode(encode(payload, key=KEY, pickle=False))
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("kind", ["ints", "members", "tuples", "sets", "addresses", "exceptions", "rows"])
def test_cost_grows_with_the_payload(kind: str) -> None:
    import ipaddress

    make: dict[str, Any] = {
        "ints": lambda n: [2**70 + number for number in range(n)],
        "members": lambda n: [list(Colour)[number % 2] for number in range(n)],
        "tuples": lambda n: {(number, str(number)) for number in range(n)},
        "sets": lambda n: [frozenset({(number, 1), (number, 2)}) for number in range(n)],
        "addresses": lambda n: [ipaddress.IPv4Address(number) for number in range(n)],
        "exceptions": lambda n: [ValueError(number) for number in range(n)],
        "rows": lambda n: [{"c": Colour.RED, "n": number} for number in range(n)],
    }
    small, large = operations(make[kind](250)), operations(make[kind](1000))
    assert large < 6 * small  # 4 and a little; quadratic would be 16
