"""`laila.ls`, `laila.find`, `len(pool)` and the command `laila ls`: what a pool holds, payloads unread."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import laila
from kinds import KINDS, TRANSFORMED, Place
from laila.errors import SettingsError
from test_damage import damage

pytestmark = pytest.mark.usefixtures("policy")


def fill(pool: laila.Pool) -> None:
    """Store entries with names, metadata and sizes of their own."""
    entries = [
        laila.constant(np.zeros(1000), nickname="run-1", metadata={"lr": 0.1, "optimizer": {"name": "adam"}}),
        laila.constant([1, 2], nickname="run-2", metadata={"lr": 0.3, "optimizer": {"name": "sgd"}}),
        laila.variable({"a": 1}, nickname="counter", metadata={"lr": "fast"}),
        laila.constant("nameless"),
    ]
    for entry in entries:
        pool[entry.global_id] = entry


@pytest.mark.parametrize("kind", KINDS)
def test_a_pool_is_listed_names_first(kind: str, place: Place) -> None:
    pool = place.open(kind, "d")
    fill(pool)
    listed = laila.ls(pool)
    assert [entry.nickname for entry in listed] == ["counter", "run-1", "run-2", None]
    assert [entry.kind for entry in listed] == ["variable", "constant", "constant", "constant"]
    assert [entry.type for entry in listed] == ["dict", "numpy.ndarray", "list", "str"]
    assert all(entry.created and entry.nbytes >= entry.size > 0 for entry in listed)
    assert laila.ls(pool, sort="bytes")[0].nickname == "run-1"
    assert len(laila.ls(pool, named=True)) == 3
    assert len(pool) == 4


CONDITIONS: dict[str, list[str]] = {
    "lr>0.1": ["run-2"],
    "lr>=0.1": ["run-1", "run-2"],
    "lr=fast": ["counter"],
    "lr!=0.1": ["counter", "run-2"],
    " lr < 1 ": ["run-1", "run-2"],
    "optimizer.name=sgd": ["run-2"],
    "optimizer.name.first=s": [],
    'optimizer={"name": "adam"}': ["run-1"],
    "nothing=1": [],
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_conditions_find_by_metadata(condition: str, place: Place) -> None:
    pool = place.open("memory", "d")
    fill(pool)
    assert [entry.nickname for entry in laila.ls(pool, where=condition)] == CONDITIONS[condition]
    assert laila.ls(pool, where=[condition, "lr=7"]) == []


def test_patterns_find_by_name_and_key(place: Place) -> None:
    pool = place.open("memory", "d")
    fill(pool)
    assert [entry.nickname for entry in laila.ls(pool, "run-*")] == ["run-1", "run-2"]
    key = laila.ls(pool, "counter")[0].key
    assert [entry.nickname for entry in laila.ls(pool, f"*{key[-20:]}")] == ["counter"]
    assert laila.ls(pool, "RUN-*") == []


@pytest.mark.parametrize("wrong", ["lr", "", ">1", "=1", 7, None])
def test_what_is_no_condition_is_refused(wrong: Any, place: Place) -> None:
    with pytest.raises(SettingsError, match="no condition"):
        laila.ls(place.open("memory", "d"), where=[wrong])
    with pytest.raises(SettingsError, match="no sort"):
        laila.ls(place.open("memory", "e"), sort="size")


def test_values_that_do_not_compare_do_not_match(place: Place) -> None:
    pool = place.open("memory", "d")
    entry = laila.constant(1, nickname="odd", metadata={"lr": [1, 2], "n": None})
    pool[entry.global_id] = entry
    for condition in ("lr>1", "n<2", "n>=null", "lr<x"):
        assert laila.ls(pool, where=condition) == []


def test_what_a_transformation_hides_is_not_guessed(place: Place) -> None:
    pool = place.open("files", "d", transformations=TRANSFORMED["zlib, aes b"])
    fill(pool)
    listed = laila.ls(pool)
    assert {entry.nickname for entry in listed} == {None}
    assert {entry.transformations for entry in listed} == {("zlib", "aes-gcm")}


def test_damage_is_listed_as_damage(place: Place) -> None:
    pool = place.open("files", "d")
    fill(pool)
    key = laila.ls(pool, "run-1")[0].key
    with open(pool.file_of(key), "r+b") as file:  # type: ignore[attr-defined]
        file.truncate(100)
    assert [entry.key for entry in laila.ls(pool) if entry.error is not None] == [key]
    assert [entry.nickname for entry in laila.ls(pool, "run-*")] == ["run-2"]


def test_entries_are_found_in_all_pools(place: Place) -> None:
    first, second = place.open("memory", "a"), place.open("files", "b")
    laila.memory.extend(first, pool_nickname="first")
    laila.memory.extend(second, pool_nickname="second")
    fill(first)
    fill(second)
    found = laila.find("run-1")
    assert {entry.pool for entry in found} == {first.label, second.label}
    assert len(laila.find(where="lr=0.3")) == 2


def test_a_store_of_tiers_is_listed_by_its_last_tier(place: Place) -> None:
    cache, store = place.open("memory", "a"), place.open("files", "b")
    laila.alpha_pool = laila.tiers(cache, store)
    fill(store)
    assert len(laila.ls()) == 4


def test_an_empty_pool_is_a_pool(place: Place) -> None:
    pool = place.open("memory", "d")
    assert len(pool) == 0
    assert pool


# -- the command ---------------------------------------------------------------------------------------------


def command(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "laila", "ls", *words],
        env={**os.environ, **variables}, capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip


def test_the_command(place: Place) -> None:
    pool = place.open("files", "d")
    fill(pool)
    url = f"file:{place.folder}/d"
    done = command("--pool", url)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["NAME", "KIND", "TYPE", "SIZE", "CREATED"]
    assert [line.split()[0] for line in lines[1:4]] == ["counter", "run-1", "run-2"]
    assert lines[-1].startswith("4 entries, ")
    done = command("run-*", "--where", "lr>0.2", "--json", LAILA_POOL=url)
    (entry,) = map(json.loads, done.stdout.splitlines())
    assert (entry["nickname"], entry["metadata"]["lr"]) == ("run-2", 0.3)
    done = command(LAILA_POOL="")
    assert done.returncode == 2
    assert "--pool" in done.stderr
    done = command("--where", "lr", "--pool", url)
    assert done.returncode == 1
    assert "no condition" in done.stderr
    damage(pool, laila.ls(pool, "run-1")[0].key)
    assert command("--pool", url).returncode == 0  # a payload is not read
