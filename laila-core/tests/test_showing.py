"""Values and errors in messages: short, cheap, and harmless to a terminal."""

from __future__ import annotations

import enum
import logging
import pickle
from decimal import Decimal
from pathlib import Path
from time import process_time
from typing import Any

import pytest

from laila import errors
from laila.contract.wire import pack, pack_error, unpack, unpack_error
from laila.showing import escaped, logger, said, shown


class Bomb:
    """Whoever asks it how it looks pays for that."""

    def __repr__(self) -> str:
        raise AssertionError("it was written out")

    __str__ = __repr__
    __format__ = None  # type: ignore[assignment]


class Colour(enum.Enum):
    RED = Bomb()


def web(kind: type = tuple, depth: int = 60) -> Any:
    """A few objects, which written out would be 2**depth."""
    value: Any = kind()
    for _ in range(depth):
        value = {"a": value, "b": value} if kind is dict else kind((value, value))
    return value


HOSTILE = {
    "a web of tuples": web(),
    "a web of lists": web(list),
    "a web of dicts": web(dict),
    "a web of frozen sets": frozenset({web(depth=12), 1}),
    "a large int": 10**100_000,
    "a long text": "x" * 10_000_000,
    "long bytes": b"x" * 10_000_000,
    "a long list": list(range(1_000_000)),
    "a range of large ints": range(10**5000),
    "its own repr": Bomb(),
    "a key of a web": {web(depth=12): Bomb()},
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_any_value_is_shown_shortly_and_at_once(value: object) -> None:
    began = process_time()
    assert 0 < len(shown(value)) < 400
    assert len(shown(value, 40)) < 100
    for kind in (KeyError, ValueError, RuntimeError):
        assert len(said(kind(value))) < 1200
        assert len(said(kind(value, value))) < 1200
        assert pack_error(kind(value))["type"] == kind.__name__
    error = errors.IdentityError("no id", value=value)
    assert pack_error(error)["message"] == "no id"
    assert process_time() - began < 10


@pytest.mark.parametrize("value", [web(list), web(dict)], ids=["lists", "dicts"])
def test_a_web_is_packed_without_a_walk_through_all_of_its_paths(value: object) -> None:
    tree, blobs = pack(value)
    assert tree == {"$value": 0}
    again = unpack(tree, blobs)
    assert type(again) is type(value)


def test_what_is_short_is_shown_as_it_looks() -> None:
    values: list[object] = [
        None,
        True,
        1,
        -2.5,
        1j,
        "a",
        b"a",
        [1, "a"],
        (1,),
        (),
        {},
        {"a": 1},
        {1},
        set(),
        2**200,
    ]
    assert [shown(value) for value in values] == [repr(value) for value in values]
    assert shown(frozenset({1})) == "frozenset({1})"
    assert shown(Path("a/b")) == "'a/b'"
    assert shown(Decimal(1)) == "Decimal('1')"
    assert shown(int) == "<class int>"
    assert shown(web) == "<function web>"
    assert shown(Colour.RED).endswith("Colour.RED")
    assert shown([[1, 2], (3,)]) == "[<list of 2>, <tuple of 1>]"


def test_nothing_in_an_error_ends_a_line_or_moves_the_cursor() -> None:
    hostile = "a\nb\r\x1b[31m\u202e\ud800"
    assert escaped(hostile) == r"a\nb\r\x1b[31m\u202e\ud800"
    assert escaped(escaped(hostile)) == escaped(hostile)
    error = errors.PoolError(f"the server said {hostile}", pool="p")
    assert str(error).isprintable()
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert shown(hostile).isprintable()
    assert said(ValueError(hostile)).isprintable()


@pytest.mark.parametrize("name", ["ValueError", "PoolError", "of.somebody", "KeyError"])
def test_an_error_of_a_peer_is_one_line(name: str) -> None:
    assert str(unpack_error({"type": name, "message": "no\n2030-01-01 CRITICAL \x1b[31m"})).isprintable()


def test_a_log_has_one_line_for_each_record(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        logger("laila.test").warning("it said %s", "a\n\x1b[31mb")
        logger("laila.test").warning("it said nothing")
    assert caplog.messages == [r"it said a\n\x1b[31mb", "it said nothing"]
