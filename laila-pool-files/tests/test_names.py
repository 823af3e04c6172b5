"""Keys and the names of their files: one-to-one, legal everywhere, found back."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from laila.pool.files.names import (
    LONGEST,
    evolution_prefix,
    file_name,
    folder_name,
    is_folder_name,
    is_long,
    key_of,
)

UUID = "3c78a603-2d6f-58e2-a9f1-3c235d037ee7"
LONG_SCOPES = ":".join(["S" * 60] * 4)

READABLE = {
    f"LAILA:ENTRY:GLOBAL_ID:{UUID}": f"ENTRY-{UUID}.laila",
    f"LAILA:ENTRY:GLOBAL_ID:{UUID}-12": f"ENTRY-{UUID}-12.laila",
    f"LAILA:MANIFEST:GLOBAL_ID:{UUID}": f"MANIFEST-{UUID}.laila",
    f"LAILA:MY_OWN:GLOBAL_ID:GLOBAL_ID:{UUID}": f"MY_OWN+GLOBAL_ID-{UUID}.laila",
    f"laila:entry:global_id:{UUID}": f"key.laila%3aentry%3aglobal_id%3a{UUID}.laila",
    "run-7.5_a": "key.run-7.5_a.laila",
    "A": "key.%41.laila",
    "a": "key.a.laila",
    "a/b": "key.a%2fb.laila",
    "..": "key....laila",
    "con": "key.con.laila",
    "a\0\n": "key.a%00%0a.laila",
    "%2F": "key.%252%46.laila",
    "ü ": "key.%c3%bc%20.laila",
    "end.": "key.end..laila",
}

keys = (
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=128),
        st.text("aA-0.%/ID:", min_size=1, max_size=512),
        st.from_regex(r"LAILA:[A-Z][A-Z0-9_]{0,70}(:[A-Z]{1,70}){0,3}:GLOBAL_ID:", fullmatch=True).map(
            lambda start: f"{start}{UUID}-7"
        ),
    )
).filter(lambda key: len(key.encode()) <= 512)


@pytest.mark.parametrize("key", READABLE)
def test_names_that_people_read(key: str) -> None:
    assert file_name(key) == READABLE[key]
    assert key_of(READABLE[key]) == key


@given(keys)
@example("x" * 512)
@example("X" * 512)
@example("x" * (LONGEST - len("key..laila")))
@example("x" * (LONGEST - len("key..laila") + 1))
@example(f"LAILA:{LONG_SCOPES}:GLOBAL_ID:{UUID}")
def test_a_name_is_legal_and_leads_back(key: str) -> None:
    name = file_name(key)
    assert re.fullmatch(r"[A-Za-z0-9%+._-]+\.laila", name)
    assert len(name) <= LONGEST
    # None that Windows keeps for devices, whatever follows the first dot.
    assert name.split(".")[0].upper() not in {"CON", "PRN", "AUX", "NUL", "COM1", "LPT1"}
    assert name[0] not in ".-"
    assert key_of(name) == (None if is_long(name) else key)
    assert is_folder_name(folder_name(key))


@given(keys, keys)
@example("A", "a")
@example("key", "KEY")
@example(UUID, f"LAILA:KEY:GLOBAL_ID:{UUID}")
@example("straße", "strasse")
@example("\N{ANGSTROM SIGN}", "\N{LATIN CAPITAL LETTER A WITH RING ABOVE}")
def test_no_two_names_are_equal_where_case_does_not_count(one: str, other: str) -> None:
    assert (file_name(one).casefold() == file_name(other).casefold()) == (one == other)


@given(st.text(max_size=40) | st.from_regex(r"key\.[%a-f0-9A-Z]{0,9}\.laila"))
@example("key..laila")
@example("key.A.laila")
@example("key.%41.laila")
@example("key.%61.laila")
@example("key.%C3%BC.laila")
@example("key.%ff.laila")
@example("key.%.laila")
@example(f"key.{'x' * LONGEST}.laila")
@example(f"entry-{UUID}.laila")
@example(f"ENTRY-{UUID}.laila~")
@example(f"._ENTRY-{UUID}.laila")
@example(f".ENTRY-{UUID}.laila.Ab3dEf")
@example(f"{'+'.join(['S' * 60] * 4)}-{UUID}.laila")
def test_a_name_of_others_leads_to_no_key(name: str) -> None:
    key = key_of(name)
    assert key is None or file_name(key) == name


@given(keys, st.integers(0, 10**17))
def test_evolutions_are_found_by_their_stem(stem: str, number: int) -> None:
    key = f"{stem}-{number}"
    assert folder_name(key) == folder_name(f"{stem}-0")
    name = file_name(key)
    assert is_long(name) or name == f"{evolution_prefix(stem)}{number}.laila"


def test_keys_spread_evenly() -> None:
    counts: dict[str, int] = {}
    for number in range(25_600):
        folder = folder_name(f"LAILA:ENTRY:GLOBAL_ID:00000000-0000-4000-8000-{number:012x}")
        counts[folder] = counts.get(folder, 0) + 1
    assert len(counts) == 256
    assert max(counts.values()) < 200
