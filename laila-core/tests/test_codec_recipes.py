"""Objects that are made again from plain parts: they need no key, and forged parts make nothing else."""

from __future__ import annotations

import collections
import random
import re
from typing import Any

import msgpack
import numpy as np
import pytest

import laila
from laila.blob.blob import Blob
from laila.codec import decode, encode, registry, tags
from laila.codec.recipes import RECIPES, Recipe, add_recipe
from laila.errors import CorruptEntryError, MissingPluginError, PayloadError

KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"


def back(payload: Any) -> Any:
    return decode(Blob.from_bytes(bytes(encode(payload, key=KEY, pickle=False))))


def forged(*row: object) -> Any:
    data = b"\xc1" + bytes(msgpack.packb([tags.REBUILT, *row]))
    return decode(Blob(KEY, data, (), None, (0.0, "x", 1, "rows", None)))


# -- regular expressions

_PATTERNS = [
    re.compile(r"a(?P<name>b)+", re.IGNORECASE | re.MULTILINE),
    re.compile(b"x[\x00-\xff]"),
    re.compile("(?i)ä"),
    re.compile(r"(?i)\d+[.,]\d+"),
    re.compile(""),
]


@pytest.mark.parametrize("pattern", _PATTERNS, ids=str)
def test_patterns(pattern: re.Pattern[Any]) -> None:
    found = back([pattern, {pattern: 1}])
    assert found == [pattern, {pattern: 1}]
    assert (found[0].pattern, found[0].flags, found[0].groups) == (
        pattern.pattern,
        pattern.flags,
        pattern.groups,
    )


def test_patterns_that_take_long_need_a_signature() -> None:
    slow = "[\\0-\\uffff]"
    assert back([re.compile(slow * 100), re.compile(slow * 20, re.IGNORECASE)])[0].pattern == slow * 100
    for patterns in (
        [re.compile(slow * 100, re.IGNORECASE)],
        [re.compile("(?i)" + slow * 100)],
        [re.compile(slow * 90 + "x" * number) for number in range(4)],
        [re.compile("x" * 10_000)],
    ):
        with pytest.raises(PayloadError, match="signature"):
            back(patterns)
    for parts in (
        (slow * 300, 32),
        (slow * 100, 34),
        ("(?i)" + slow * 100, 32),
        *(("a", 128 | 32), ("(", 32), ("a", 1 << 20), ("a" * 9000, 32)),
    ):
        with pytest.raises(CorruptEntryError):
            forged("re.Pattern", *parts)


# -- random generators


def test_generators_of_the_standard_library() -> None:
    generator = random.Random(7)
    generator.gauss(0, 1)
    found = back([generator, {"same": generator}])
    assert found[0] is found[1]["same"]
    assert found[0].getstate() == generator.getstate()
    assert [found[0].random() for _ in range(700)] == [generator.random() for _ in range(700)]


def test_a_generator_with_attributes_is_more_than_its_state() -> None:
    generator = random.Random(7)
    generator.note = 1  # type: ignore[attr-defined]
    with pytest.raises(PayloadError, match="signature"):
        back(generator)


@pytest.mark.parametrize("change", [{0: -1}, {0: 1 << 32}, {624: 625}, {624: -1}, {3: 0.5}, {3: True}])
def test_states_that_cannot_be(change: dict[int, Any]) -> None:
    words = list(random.Random(1).getstate()[1])
    for place, word in change.items():
        words[place] = word
    with pytest.raises((ValueError, TypeError)):
        RECIPES[random.Random].build(None, 3, tuple(words), None)


# -- numpy


def test_polynomials() -> None:
    series = np.polynomial
    for kind in ("Polynomial", "Chebyshev", "Legendre", "Laguerre", "Hermite", "HermiteE"):
        value = getattr(series, kind)([1, 2.5, 3], domain=[0, 1], symbol="z")
        found = back([value, value.coef, getattr(series, kind)([1j])])
        assert found[0] == value
        assert (found[0].symbol, found[0](0.3), found[2]) == ("z", value(0.3), getattr(series, kind)([1j]))
        assert found[0].coef is found[1]
        assert vars(found[0]).keys() == vars(value).keys()
    old = np.poly1d([1, 2, 3], variable="q")
    assert back(old) == old
    assert str(back(old)) == str(old)
    assert back(old).coeffs.dtype == old.coeffs.dtype


def test_names_of_numpy() -> None:
    found = back([np.add, np.sin, np.float64, {"f": np.maximum}])
    assert found[0] is np.add
    assert found[3]["f"] is np.maximum
    assert back(np.iinfo("u2")).max == 65535
    assert back(np.finfo("f4")).eps == np.finfo("f4").eps
    for name in ("load", "ndarray", "_add", "add.reduce", "", 3):
        with pytest.raises(CorruptEntryError):
            forged("numpy.ufunc", name)


# -- subclasses of what the standard library makes for that


def test_user_classes() -> None:
    @laila.codec.register_type
    class Words(collections.UserString):
        pass

    Words.__qualname__ = "Words"
    found = back({"a": Words("x"), "b": collections.UserString("y")})
    assert (type(found["a"]), found["a"], found["b"]) == (Words, "x", "y")


# -- the table


def test_what_no_recipe_makes() -> None:
    for row in (
        (),
        (3,),
        ("os.system", "x"),
        ("re.Pattern",),
        ("re.Pattern", "a"),
        ("re.Pattern", "a", 32, 1),
        ("re.Pattern", 1, 32),
        ("random.Random", 3, None, None),
        ("numpy.poly1d", [1], "x"),
        ("numpy.iinfo", "Q" * 2),
    ):
        with pytest.raises(CorruptEntryError):
            forged(*row)


def test_a_library_that_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "polars", None)
    monkeypatch.delitem(sys.modules, "laila.codec.recipes.frames", raising=False)
    with pytest.raises(MissingPluginError, match="pip install 'polars'"):
        forged("polars.Nothing")


class Odd:
    """What its recipe cannot make again is pickled, as if there were none."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __reduce__(self) -> Any:
        return Odd, (self.value,)


def test_what_would_come_back_changed_is_pickled(monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setenv("LAILA_SECRET_KEY", "a key for the tests of this module only")
    recipe = Recipe(
        "tests.Odd", Odd, lambda odd: (odd.value,), lambda decoder, value: Odd(min(value, 9)), value=(int,)
    )
    add_recipe(recipe)
    try:
        assert encode(Odd(3), key=KEY).signature is None
        blob = encode([Odd(10), {"k": re.compile("x")}], key=KEY)
        assert blob.signature is not None
        found = decode(blob)
        assert isinstance(found, list)
        assert found[0].value == 10
        with pytest.raises(PayloadError, match="changed"):
            encode(Odd(10), key=KEY, pickle=False)
    finally:
        for table in (registry.ENCODERS, registry.PARTS, RECIPES):
            table.pop(Odd)


class Rounded:
    """What its recipe makes again of its numbers are other ones."""

    def __init__(self, numbers: Any) -> None:
        self.numbers = numbers


def test_numbers_that_a_library_computes_anew_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAILA_SECRET_KEY", "a key for the tests of this module only")

    def build(decoder: object, numbers: Any) -> Rounded:
        return Rounded(numbers.round(1))

    monkeypatch.setattr(Rounded, "__module__", __name__)
    add_recipe(Recipe("test.Rounded", Rounded, lambda value: (value.numbers,), build, numbers=(np.ndarray,)))
    try:
        assert encode([Rounded(np.array([1.5]))], key=KEY).signature is None
        blob = encode([Rounded(np.array([1.55]))], key=KEY)
        found: Any = decode(blob)
        assert blob.signature is not None
        assert found[0].numbers.tolist() == [1.55]
    finally:
        for table in (registry.ENCODERS, registry.PARTS, RECIPES):
            table.pop(Rounded)


def test_places_of_parts() -> None:
    series = np.polynomial.Polynomial([1.0])
    series.coef = np.array([open, 1], dtype=object)
    with pytest.raises(PayloadError, match=r"payload\['p'\]\.coef\.flat\[0\]"):
        back({"p": series})
