"""Keys as object names: one-to-one, legal everywhere, readable where keys are usual."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from laila.pool.s3.names import evolutions_folder, name_of, parse_name

ID = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"
KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=512).filter(
    lambda key: len(key.encode()) <= 512
)
NUMBERED = st.builds(
    lambda stem, number: f"{stem}-{number}", KEYS.filter(lambda key: len(key.encode()) < 440), st.integers(0)
).filter(lambda key: len(key.encode()) <= 512)


def test_usual_keys_stay_readable() -> None:
    """A person, or another program, finds an entry by its id."""
    assert name_of(ID) == f"laila/{ID}.blob"
    assert name_of(f"{ID}-12") == f"laila/{ID}.evolutions/12.blob"
    digits = f"{ID[:-12]}123456789012"  # as one uuid of three hundred ends
    assert name_of(digits) == f"laila/{digits}.blob"
    assert name_of(f"{digits}-0") == f"laila/{digits}.evolutions/0.blob"


@given(KEYS | NUMBERED)
@example("ü" * 256)
@example("-5")
@example("~")
@example("a/b")
@example(f"x-{'9' * 32}")
@example(f"x-{'9' * 33}")
@example("\x00-0")
@example(f"{ID[:-12]}123456789012")
def test_a_name_is_legal_and_leads_back(key: str) -> None:
    """No character needs care, no segment is longer than 255 bytes, all of it leaves room for a prefix."""
    name = name_of(key)
    assert re.fullmatch(r"laila/[\w.:%~-]{1,249}(/\d{1,32}\.blob)?", name, re.ASCII)
    assert not {".", ".."} & set(name.split("/"))
    named = parse_name(name)
    assert named is not None
    assert named.key == key or (named.key is None and "~" in name)


@given(st.lists(KEYS | NUMBERED, min_size=2, max_size=2, unique=True))
@example(["a", "A"])
@example(["a/b", "a%2Fb"])
@example(["a.blob", "a"])
@example(["a-1", "a.evolutions/1"])
@example(["a-01", "a-1"])
@example(["ü" * 200, "ü" * 201])
def test_two_keys_are_two_objects(keys: list[str]) -> None:
    """And no object has the name of another's folder, which some services cannot have."""
    first, second = map(name_of, keys)
    assert first != second
    assert not second.startswith(f"{first}/")


@given(st.text(), st.integers(0, 10**31))
def test_evolutions_are_in_the_folder_of_their_stem(stem: str, number: int) -> None:
    """So that they are found without a look at anything else."""
    try:
        folder = evolutions_folder(stem)
    except UnicodeEncodeError:
        return  # lone surrogates are in no key
    name = name_of(f"{stem}-{number}")
    assert name == f"{folder}/{number}.blob"
    named = parse_name(name)
    assert named is None or named.number == number  # None where stem and number are too long for a key


@pytest.mark.parametrize(
    "name",
    [
        "readme.txt",
        "other/a.blob",
        "laila/",
        "laila/.blob",
        "laila/a",
        "laila/a.txt",
        "laila/sub/a.blob",
        "laila/a b.blob",
        "laila/ü.blob",
        "laila/%c3%bc.blob",
        "laila/%FF.blob",
        "laila/%41.blob",
        "laila/a.evolutions/x.blob",
        "laila/a.evolutions/01.blob",
        "laila/a.evolutions/1",
        "laila/a.evolutions/1/2.blob",
        "laila/a-1.blob",
        "laila/~short.blob",
        f"laila/~{'A' * 64}.blob",
        f"laila/{'a' * 513}.blob",
        "laila/laila/a.blob",
    ],
)
def test_what_is_written_otherwise_is_somebody_elses(name: str) -> None:
    """A stranger's object is neither listed nor deleted, whatever it looks like."""
    assert parse_name(name) is None
