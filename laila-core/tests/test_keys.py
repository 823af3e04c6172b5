"""How keys are read: the quick functions say what the strict parser says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laila.identity import make_global_id, new_uuid, parse_global_id, stem
from laila.keys import (
    counts_evolution,
    is_evolution,
    is_manifest,
    may_evolve,
    number_of,
    split_evolution,
    stem_of,
)

ids = st.builds(
    lambda scope, number: make_global_id((scope,), new_uuid(), number),
    st.sampled_from(["ENTRY", "MANIFEST", "POOL"]),
    st.none() | st.integers(0, 10**18 - 1),
)


@given(ids)
def test_the_quick_functions_agree_with_the_parser(key: str) -> None:
    scopes, _, number = parse_global_id(key)
    assert is_evolution(key) is (number is not None)
    assert is_manifest(key) is (scopes[-1] == "MANIFEST")
    assert may_evolve(key) is (number is None and scopes[-1] != "MANIFEST")
    assert stem_of(key) == stem(key)
    if number is not None:
        assert number_of(key) == number
        assert split_evolution(key) == (stem(key), str(number))


@given(st.text(max_size=8), st.text("0123456789-²٣a", max_size=6))
def test_any_key_splits_as_it_was_joined(start: str, end: str) -> None:
    key = f"{start}-{end}"
    match = re.fullmatch(r"(.*)-(0|[1-9][0-9]*)", key, re.DOTALL | re.ASCII)
    assert split_evolution(key) == (match and (match[1], match[2]))


@pytest.mark.parametrize("key", ["", "7", "text", "a-", "a-07", "a-1.5", "a--", "a-²"])
def test_other_keys_have_no_number(key: str) -> None:
    assert split_evolution(key) is None


def test_numbers_are_decimal_without_leading_zeros() -> None:
    texts = ["0", "7", "10", "", "00", "07", "+1", "²"]
    assert [text for text in texts if counts_evolution(text)] == ["0", "7", "10"]


def test_no_other_module_takes_keys_apart() -> None:
    """Which ends of a key mean what is said in one place, and for the pool in memory its quick first look."""
    source = Path(__file__).parents[1] / "src" / "laila"
    pattern = re.compile(r"""key\[-37|\brpartition\(["']-|":MANIFEST:\"""")
    readers = {
        path.name
        for path in source.rglob("*.py")
        if path.parts[-3] != "testing" and pattern.search(path.read_text())
    }
    assert readers == {"keys.py", "memory.py"}
