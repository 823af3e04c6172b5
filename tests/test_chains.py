"""Chains of real pools: what each verb does to them, and what a full, dead or damaged cache does not."""

from __future__ import annotations

import logging
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import laila
from kinds import KINDS, TRANSFORMED, Place
from laila.codec import decode, encode
from laila.entry import to_blob
from laila.errors import EntryNotFoundError

NEEDLE = b"the treasure is under the palm tree"
# What keeps what it has in files below the folder of the test, so that a test can damage it.
IN_FILES = ["files", "hdf5"]


pytestmark = pytest.mark.usefixtures("policy")


def one_store(*tiers: laila.Pool) -> Sequence[laila.Pool]:
    laila.alpha_pool = laila.tiers(*tiers)
    return tiers


def read_cache(*tiers: laila.Pool) -> Sequence[laila.Pool]:
    for cache, origin in pairwise(tiers):
        cache << origin
    laila.memory.extend(tiers[-1], pool_nickname="origin")
    laila.alpha_pool = tiers[0]
    return tiers


def payloads() -> list[Any]:
    return [NEEDLE, {"text": "x" * 300}, np.arange(30_000.0), None]


def same(found: Sequence[Any]) -> bool:
    expected = payloads()
    return np.array_equal(found[2], expected[2]) and [*found[:2], found[3]] == [*expected[:2], expected[3]]


def stored(tier: laila.Pool, entry: laila.Entry) -> Any:
    blob = tier.load_here([entry.global_id])[0]
    assert not isinstance(blob, BaseException)
    return None if blob is None else decode(blob)


# -- chains of everything there is ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "transformed", [list(TRANSFORMED), list(TRANSFORMED)[::-1]], ids=["falling", "rising"]
)
def test_one_store_of_all_kinds(place: Place, transformed: list[str]) -> None:
    kinds = [*KINDS, *KINDS]
    tiers = one_store(
        *(
            place.open(kind, f"t{i}", transformations=TRANSFORMED[transformed[i % len(transformed)]])
            for i, kind in enumerate(kinds)
        )
    )
    entries = [laila.constant(payload) for payload in payloads()]
    keys = [entry.global_id for entry in entries]
    laila.memorize(entries).wait()
    assert all(set(tier.keys()) == set(keys) for tier in tiers)
    for emptied in range(len(tiers)):
        for tier in tiers[:emptied]:
            tier.empty()
        assert same(laila.remember(entries).data)
        assert all(set(tier.keys()) == set(keys) for tier in tiers)
    assert tiers[0].hits == tiers[-1].hits == len(keys)
    v = laila.variable(0)
    stem = v.global_id.rpartition("-")[0]
    for number in range(4):
        laila.memorize(v).wait()
        assert laila.remember(stem).data == number
        v.evolve(data=number + 1)
    assert laila.history(v) == [0, 1, 2, 3]
    laila.forget([*entries, stem]).wait()
    assert all(tier.keys() == [] for tier in tiers)


@pytest.mark.parametrize("origin", KINDS)
@pytest.mark.parametrize("cache", KINDS)
def test_a_read_cache_of_each_kind_before_each(cache: str, origin: str, place: Place) -> None:
    near, far = read_cache(place.open(cache, "near"), place.open(origin, "far"))
    entries = [laila.constant(payload) for payload in payloads()]
    laila.memorize(entries, pool_nickname="origin").wait()
    for _ in range(3):
        assert same(laila.remember(entries).data)
    assert (near.hits, near.misses, near.fills, far.hits) == (8, 4, 4, 4)
    laila.memorize(laila.constant("near", global_id=entries[0].global_id), overwrite=True).wait()
    assert (stored(near, entries[0]), stored(far, entries[0])) == ("near", NEEDLE)
    assert laila.remember(entries[0], refresh=True).data == NEEDLE
    assert stored(near, entries[0]) == NEEDLE


@pytest.mark.parametrize("origin", KINDS)
def test_eighty_threads_that_miss_one_key_read_the_origin_once(origin: str, place: Place) -> None:
    near, far = read_cache(place.open("memory", "near"), place.open(origin, "far"))
    entry = laila.constant({"cold": np.arange(50_000)})
    laila.memorize(entry, pool_nickname="origin").wait()
    reads: list[Sequence[str]] = []
    read = far._read_many

    def slowly(keys: Sequence[str]) -> Any:
        reads.append(keys)
        time.sleep(0.2)
        return read(keys)

    far._read_many = slowly  # type: ignore[method-assign]
    gate = threading.Barrier(80)
    right: list[bool] = []

    def miss() -> None:
        gate.wait(150)
        found = laila.remember(entry).data["cold"]
        right.append(np.array_equal(found, np.arange(50_000)))

    threads = [threading.Thread(target=miss, daemon=True) for _ in range(80)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert right == [True] * 80
    assert reads == [[entry.global_id]]
    assert (far.hits, near.hits + near.misses) == (1, 80)


# -- other processes -----------------------------------------------------------------------------------------

ELSEWHERE = """
import sys
import laila
from laila.codec import encode
from laila.pool.hdf5 import HDF5Pool

path, steps = sys.argv[1], sys.argv[2:]
with HDF5Pool(path) as pool:
    for step in steps:
        key, _, text = step.partition("=")
        if text:
            pool[key] = encode(text, key=key)
        else:
            del pool[key]
"""


def elsewhere(path: Path, *steps: str) -> None:
    """Another process writes (``key=text``) or deletes (``key``) in the file of an HDF5 pool."""
    subprocess.run([sys.executable, "-c", ELSEWHERE, path, *steps], check=True, timeout=200)


@pytest.mark.parametrize("link", [one_store, read_cache])
def test_what_another_process_does_at_the_origin(link: Callable[..., Any], place: Place) -> None:
    near, _, far = link(place.open("memory", "near"), place.open("hdf5", "middle"), place.open("hdf5", "far"))
    path = place.folder / "far.h5"
    entry, v = laila.constant("old"), laila.variable("0")
    stem = v.global_id.rpartition("-")[0]
    far.store([to_blob(entry), to_blob(v)])
    assert laila.remember([entry, stem]).data == ["old", "0"]

    elsewhere(path, f"{stem}-1=1", f"{entry.global_id}=new")
    assert laila.remember(stem).data == "1"  # a newer evolution is never hidden
    assert laila.remember(entry).data == "old"  # a constant does not change, the caches think
    assert laila.remember([entry, stem], refresh=True).data == ["new", "1"]
    assert laila.remember(entry).data == "new"

    elsewhere(path, f"{stem}-0", f"{stem}-1", f"{stem}-0=again", entry.global_id)
    assert laila.remember(stem, refresh=True).data == "again"
    assert laila.remember(f"{stem}-0").data == "again"
    with pytest.raises(EntryNotFoundError):
        laila.remember(entry, refresh=True).wait()
    assert (entry.global_id in near) == (link is read_cache)


# -- caches that fail ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_cache_that_is_closed_is_skipped(kind: str, place: Place, caplog: pytest.LogCaptureFixture) -> None:
    near, middle, _ = one_store(
        place.open("memory", "near"), place.open(kind, "middle"), place.open("hdf5", "far")
    )
    entries = [laila.constant(payload) for payload in payloads()]
    laila.memorize(entries[:2]).wait()
    middle.close()
    near.empty()
    with caplog.at_level(logging.WARNING, "laila.pool"):
        laila.memorize(entries[2:]).wait()
        near.empty()
        assert same(laila.remember(entries).data)
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"cache tier {middle.label} could not fill 2 item(s) and was skipped: ")
    assert said.endswith(f"pool {middle.label!r} was closed; open it again before using it")
    assert middle.failures >= 6
    assert set(near.keys()) == {entry.global_id for entry in entries}


def full_cache(near: laila.Pool, make_room: Callable[[], None]) -> None:
    """A cache whose disk is full: what is read is right, and it is filled when there is room again."""
    origin = laila.MemoryPool()
    near << origin
    laila.alpha_pool = near
    entries = [laila.constant(np.full(40_000, i)) for i in range(16)]  # 5 MiB
    origin.store([to_blob(entry) for entry in entries])
    for _ in range(2):
        for i, entry in enumerate(entries):
            assert laila.remember(entry).data.tolist() == [i] * 40_000
    kept = set(near.keys())
    assert 0 < len(kept) < 16
    assert near.failures > 0
    assert near.hits >= len(kept)
    small = laila.constant("small")
    make_room()
    origin.store([to_blob(small)])
    for entry in (small, *entries):
        laila.remember(entry).wait()
    assert laila.remember(small).data == "small"
    assert set(near.keys()) >= kept | {small.global_id}
    assert len(set(near.keys())) > len(kept) + 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if (
        sys.platform != "linux"
        or not shutil.which("mount")
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        pytest.skip("a small file system can only be mounted by root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("kind", IN_FILES)
def test_a_cache_on_a_full_disk(
    kind: str, place: Place, small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place.folder = small_disk
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1 << 20))
    with caplog.at_level(logging.WARNING, "laila.pool"):
        full_cache(place.open(kind, "near"), ballast.unlink)
    (said,) = [record.getMessage() for record in caplog.records]
    assert "could not fill 1 item(s) and was skipped: " in said


@pytest.mark.parametrize("kind", ["hdf5"])
def test_a_cache_whose_file_may_not_grow(kind: str, place: Place) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    near = place.open(kind, "near")
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, hard))
    try:
        full_cache(near, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def damage(folder: Path, needle: bytes) -> int:
    """Flip a bit in every place where ``needle`` is in a file below ``folder``; return how many there are."""
    found = 0
    for path in folder.rglob("*"):
        if not path.is_file():
            continue
        with path.open("r+b") as file:
            content = file.read()
            at = content.find(needle)
            while at >= 0:
                file.seek(at + len(needle) // 2)
                file.write(bytes([content[at + len(needle) // 2] ^ 1]))
                found += 1
                at = content.find(needle, at + 1)
    return found


@pytest.mark.parametrize("kind", IN_FILES)
@pytest.mark.parametrize("size", [1, 3000], ids=["packed", "large"])
def test_a_copy_with_a_flipped_bit_is_filled_again(
    kind: str, size: int, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    near, far = one_store(place.open(kind, "near"), laila.MemoryPool())
    entry, other = laila.constant(NEEDLE * size), laila.constant("whole")
    laila.memorize([entry, other]).wait()
    near.close()
    assert damage(place.folder, NEEDLE) >= 1
    near = place.open(kind, "near")
    near << far
    laila.alpha_pool = near
    with caplog.at_level(logging.WARNING, "laila.pool"):
        assert laila.remember([entry, other]).data == [NEEDLE * size, "whole"]
    assert "damaged" in caplog.text
    assert (near.failures, near.fills, near.hits, far.hits) == (1, 1, 1, 1)
    assert laila.remember(entry).data == NEEDLE * size
    assert far.hits == 1
    assert stored(near, entry) == NEEDLE * size


@pytest.mark.parametrize("origin", KINDS)
def test_a_small_memory_before_a_large_store(origin: str, place: Place) -> None:
    cache = laila.MemoryPool(max_bytes=50_000)
    _, far = one_store(cache, place.open(origin, "far"))
    entries = [laila.constant((i, "x" * 1000)) for i in range(100)]
    laila.memorize(entries).wait()
    for part in (entries, entries[::-1], entries[40:60], entries[50:60]):
        assert laila.remember(part).data == [entry.data for entry in part]
    hits = far.hits
    assert laila.remember(entries[50:60]).data == [entry.data for entry in entries[50:60]]
    assert far.hits == hits
    assert cache.nbytes <= 50_000
    assert cache.evictions > 100
    assert encode((0, "x" * 1000), key=entries[0].global_id).digest == to_blob(entries[0]).digest
