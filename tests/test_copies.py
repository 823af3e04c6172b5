"""Copies between real pools: all pairs and keys, after ``kill -9``, in flat memory, manifests with leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import laila
from kinds import KINDS, TRANSFORMED, Place
from laila.codec import decode, encode
from laila.contract import Blob
from laila.entry import to_blob
from laila.errors import EntryNotFoundError, EvolutionConflictError, InvalidArgumentError, ManifestError

PAIRS = list(product(KINDS, KINDS))
NEEDLE = "the treasure is under the palm tree"
MISSING = "LAILA:ENTRY:GLOBAL_ID:00000000-0000-4000-8000-000000000000"


pytestmark = pytest.mark.usefixtures("policy")


class Watched:
    """What a pool's backend is asked for: the keys that are read whole, and those that are written."""

    def __init__(self, pool: laila.Pool) -> None:
        self.read: list[str] = []
        self.written: list[str] = []
        read, write, create = pool._read_many, pool._write_many, pool._create_many

        def read_many(keys: Sequence[str]) -> Any:
            self.read += keys
            return read(keys)

        def write_many(items: Sequence[tuple[str, Blob]]) -> None:
            self.written += [key for key, _ in items]
            write(items)

        def create_many(items: Sequence[tuple[str, Blob]]) -> Any:
            self.written += [key for key, _ in items]
            return create(items)

        pool._read_many = read_many  # type: ignore[method-assign]
        pool._write_many = write_many  # type: ignore[method-assign]
        pool._create_many = create_many  # type: ignore[method-assign]

    def clear(self) -> None:
        self.read.clear()
        self.written.clear()


def some_entries() -> list[laila.Entry]:
    constants = [laila.constant({"i": i, "text": NEEDLE * (i % 4)}) for i in range(12)]
    arrays = [laila.constant(np.arange(float(20_000 + i)).reshape(-1, 1)) for i in range(3)]
    variable, evolutions = laila.variable(0), []
    for number in range(4):
        evolutions.append(laila.variable((NEEDLE, number), uuid=variable.uuid, evolution=number))
    return [*constants, *arrays, *evolutions]


def digests(pool: laila.Pool, keys: Sequence[str]) -> list[bytes]:
    found = pool.load_here(keys)
    assert all(isinstance(blob, Blob) and not blob.transformations for blob in found)
    return [blob.digest for blob in found]  # type: ignore[union-attr]


# -- whole pools ---------------------------------------------------------------------------------------------


def transformations(one: str, other: str, *, usual: bool) -> list[tuple[str, str]]:
    """Four pairs for two kinds of pools, with each transformation on either side once; or all other pairs.

    All sixteen pairs occur in the usual ones of all kinds together.
    """
    shift = list(KINDS).index(one) + list(KINDS).index(other)
    return [
        (here, there)
        for (i, here), (j, there) in product(enumerate(TRANSFORMED), repeat=2)
        if ((i + j + shift) % len(TRANSFORMED) == 0) is usual
    ]


def test_the_usual_transformations_are_all_of_them_together() -> None:
    usual = {pair for kinds in PAIRS for pair in transformations(*kinds, usual=True)}
    assert usual == set(product(TRANSFORMED, TRANSFORMED))


@pytest.mark.parametrize(
    "usual", [True, pytest.param(False, marks=pytest.mark.long)], ids=["usual", "others"]
)
@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_between_all_kinds_and_transformations(one: str, other: str, usual: bool, place: Place) -> None:
    entries = some_entries()
    keys = [entry.global_id for entry in entries]
    content = [to_blob(entry).digest for entry in entries]
    for number, (here, there) in enumerate(transformations(one, other, usual=usual)):
        src = place.open(one, f"s{number}", transformations=TRANSFORMED[here])
        dest = place.open(other, f"d{number}", transformations=TRANSFORMED[there])
        src.store([to_blob(entry) for entry in entries])
        src["any text, ü"] = b"raw"
        assert sorted((dest <= src).result) == sorted([*keys, "any text, ü"])
        assert digests(dest, keys) == content
        assert decode(dest["any text, ü"]) == b"raw"
        heads = [head for head in map(dest.read_head, dest.keys()) if head is not None]
        steps = tuple(item.name for item in dest.transformations or ())
        assert {tuple(name for name, _ in head.transformations) for head in heads} == {steps}

        at_src, at_dest = Watched(src), Watched(dest)
        (dest <= src).wait()
        assert at_dest.written == []
        assert sorted(at_src.read) == sorted(src.keys())  # each is compared, byte by byte
        unlike_keys = here != there and "aes" in here and "aes" in there
        assert sorted(at_dest.read) == sorted([*src.keys(), *(src.keys() if unlike_keys else [])])
        gone = [keys[0], keys[13], keys[17]]
        dest.delete_here(gone)
        (dest <= src).wait()
        assert sorted(at_dest.written) == sorted(gone)
        assert digests(dest, keys) == content


@pytest.mark.parametrize("kind", KINDS)
def test_an_evolution_is_never_overwritten_and_a_constant_is(kind: str, place: Place) -> None:
    src = place.open("memory", "s", transformations=TRANSFORMED["aes a"])
    for number, name in enumerate(TRANSFORMED):
        dest = place.open(kind, f"d{number}", transformations=TRANSFORMED[name])
        c, v = laila.constant("new"), laila.variable("new")
        src.empty()
        src.store([to_blob(c), to_blob(v)])
        dest.store([encode("old", key=c.global_id), encode("old", key=v.global_id)])
        (error,) = (dest <= src).exceptions
        assert isinstance(error, EvolutionConflictError)
        assert [decode(dest[key]) for key in (c.global_id, v.global_id)] == ["new", "old"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_evolution_that_somebody_stores_meanwhile_stays(kind: str, place: Place) -> None:
    src, dest = place.open("memory", "s"), place.open(kind, "d")
    v = laila.variable("copied")
    src.store([to_blob(v)])
    load = src.load_here

    def load_late(keys: Sequence[str], **options: Any) -> Any:
        dest.store([encode("quicker", key=v.global_id)])
        return load(keys, **options)

    src.load_here = load_late  # type: ignore[method-assign]
    (error,) = (dest <= src).exceptions
    assert isinstance(error, EvolutionConflictError)
    assert decode(dest[v.global_id]) == "quicker"


def test_what_a_pool_cannot_take_is_told(place: Place) -> None:
    src, dest = place.open("hdf5", "s"), laila.MemoryPool(max_bytes=20_000)
    small, large = laila.constant("small"), laila.constant(bytes(50_000))
    src.store([to_blob(small), to_blob(large)])
    group = dest <= src
    assert [type(error).__name__ for error in group.exceptions] == ["PoolError"]
    assert dest.keys() == [small.global_id]


@pytest.mark.parametrize("kind", KINDS)
def test_chains_are_copied_from_and_into(kind: str, place: Place) -> None:
    entries = some_entries()
    keys = [entry.global_id for entry in entries]
    src = laila.tiers(
        laila.MemoryPool(max_bytes=9000), place.open(kind, "s", transformations=TRANSFORMED["zlib, aes b"])
    )
    laila.memorize(entries, pool_id=src.pool_id).wait()
    dest = laila.tiers(
        place.open(kind, "c", transformations=TRANSFORMED["zstd"]),
        place.open(kind, "d", transformations=TRANSFORMED["aes a"]),
    )
    assert sorted((dest <= src).result) == sorted(keys)
    cache, last = dest.chain()
    assert digests(cache, keys) == digests(last, keys) == [to_blob(entry).digest for entry in entries]
    at_last = Watched(last)
    (dest <= src).wait()
    assert at_last.written == []

    reader, other = laila.MemoryPool(), laila.MemoryPool()
    reader << last
    (other <= reader).wait()
    assert other.keys() == []  # a read cache is copied for itself
    (reader <= src).wait()
    assert sorted(reader.keys()) == sorted(keys)


# -- after kill -9 -------------------------------------------------------------------------------------------

COPY_FOR_EVER = """
import sys
import laila
from laila.tiering import copying
from laila.pool.hdf5 import HDF5Pool
from kinds import TRANSFORMED

folder, here, there = sys.argv[1:]
copying._WRITE_BYTES = 1 << 18
src = HDF5Pool(folder + "/s.h5", durable="process", transformations=TRANSFORMED[here])
dest = HDF5Pool(folder + "/d.h5", durable="process", transformations=TRANSFORMED[there])
write = dest._write_many

def write_many(items):
    write(items)
    print(len(items), flush=True)
    sys.stdin.readline()

dest._write_many = write_many
(dest <= src).wait()
"""


@pytest.mark.parametrize(
    ("here", "there"), [("plain", "plain"), ("plain", "aes a"), ("aes a", "zlib, aes b"), ("zstd", "plain")]
)
def test_a_copy_that_was_killed_goes_on_with_what_is_missing(here: str, there: str, place: Place) -> None:
    entries = [laila.constant(np.random.default_rng(i).bytes(8000)) for i in range(300)]
    src = place.open("hdf5", "s", transformations=TRANSFORMED[here])
    src.store([to_blob(entry) for entry in entries])
    with subprocess.Popen(
        [sys.executable, "-c", COPY_FOR_EVER, place.folder, here, there],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        copied = 0
        for _ in range(3):
            copied += int(child.stdout.readline())
            child.stdin.write("\n")
            child.stdin.flush()
        child.send_signal(signal.SIGKILL)
        assert child.wait(150) == -signal.SIGKILL
    assert 0 < copied < 200
    dest = place.open("hdf5", "d", transformations=TRANSFORMED[there])
    there_already = set(dest.keys())
    assert copied <= len(there_already) < 300
    at_dest = Watched(dest)
    assert len((dest <= src).result) == 300
    missing = sorted({entry.global_id for entry in entries} - there_already)
    assert sorted(at_dest.written) == missing  # the others were read and compared
    assert digests(dest, src.keys()) == digests(src, src.keys())  # type: ignore[arg-type]


# -- in flat memory ------------------------------------------------------------------------------------------

COPY_MANY = """
import resource, sys
import numpy as np
import laila
from laila.codec import encode
from laila.pool.hdf5 import HDF5Pool
from kinds import TRANSFORMED

folder, count, here, there = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]

class Made(laila.MemoryPool):
    '''Has as many entries of 64 KiB as are asked for, without holding one.'''

    def _keys(self):
        return (f"LAILA:ENTRY:GLOBAL_ID:00000000-0000-4000-8000-{i:012x}" for i in range(count))

    def _read_head(self, key):
        return encode(np.full(1 << 16, int(key[-12:], 16) % 251, np.uint8), key=key)

    def _read_many(self, keys):
        return [self._read_head(key) for key in keys]

first = HDF5Pool(folder + "/first.h5", durable="process", transformations=TRANSFORMED[here])
assert len((first <= Made()).result) == count
second = HDF5Pool(folder + "/second.h5", durable="process", transformations=TRANSFORMED[there])
assert len((second <= first).result) == count
assert len((second <= first).result) == count
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.parametrize(("here", "there"), [("plain", "plain"), ("zstd", "zlib, aes b")])
def test_memory_is_flat_in_the_number_of_entries(here: str, there: str, tmp_path: Path) -> None:
    peaks = []
    for count in (300, 900):
        folder = tmp_path / str(count)
        folder.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", COPY_MANY, folder, str(count), here, there],
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        )
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout) * 1024)
    # 600 more entries are 37 MiB more; what the two pools themselves know of each is about 1 KiB.
    assert peaks[1] - peaks[0] < 10 << 20, f"the peak grew from {peaks[0] >> 20} to {peaks[1] >> 20} MiB"


# -- manifests -----------------------------------------------------------------------------------------------


def checkpoint(number: int = 0) -> tuple[laila.Manifest, laila.Manifest]:
    """A manifest with leaves of all kinds and a manifest in it, which is returned too."""
    weights = {f"layer {i}": laila.constant(np.full(5000, i + number)) for i in range(3)}
    history = [laila.constant((NEEDLE, i)) for i in range(3)]
    inner = laila.Manifest({"optimizer": laila.variable({"lr": 0.1}), "log": history})
    return laila.Manifest({"weights": weights, "state": inner, "again": [history[0]]}, nickname="run"), inner


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_a_manifest_is_copied_with_everything_in_it_and_last(one: str, other: str, place: Place) -> None:
    src = place.open(one, "s", transformations=TRANSFORMED["aes a"])
    dest = place.open(other, "d", transformations=TRANSFORMED["zstd"])
    laila.memory.extend(src, pool_nickname="src")
    laila.memory.extend(dest, pool_nickname="dest")
    manifest, inner = checkpoint()
    manifest.memorize(pool_nickname="src").wait()
    laila.memorize(
        [laila.constant("another"), laila.Manifest({"x": laila.constant(1)})], pool_nickname="src"
    ).wait()

    at_src, at_dest = Watched(src), Watched(dest)
    group = dest[manifest] <= src[manifest]
    assert isinstance(group, laila.GroupFuture)
    assert group.result == [*manifest, manifest.global_id]
    wanted = {*manifest, *inner, manifest.global_id}
    assert set(dest.keys()) == wanted
    assert at_dest.written[-2:] == [inner.global_id, manifest.global_id]
    assert len(at_dest.written) == len(wanted)  # each once, though one is twice in it

    again = laila.remember(nickname="run", pool_nickname="dest").result
    assert again.resolve(pool_nickname="dest")["weights"]["layer 2"].data.tolist() == [2] * 5000
    assert dict(again.blueprint) == dict(manifest.blueprint)
    state = laila.remember(inner, pool_nickname="dest").result.resolve(pool_nickname="dest")
    assert state["optimizer"].data == {"lr": 0.1}
    assert [entry.data for entry in state["log"]] == [(NEEDLE, i) for i in range(3)]

    at_src.clear()
    at_dest.clear()
    (dest[manifest] <= src[manifest]).wait()
    assert at_dest.written in ([], [inner.global_id, manifest.global_id])
    leaf = list(inner)[2]
    dest.delete_here([leaf, manifest.global_id])
    at_dest.clear()
    (dest[manifest] <= src[manifest]).wait()
    assert leaf in at_dest.written
    assert set(dest.keys()) == wanted


def test_a_leaf_that_is_missing_fails_the_manifests_above_it(place: Place) -> None:
    src, dest = place.open("hdf5", "s"), place.open("hdf5", "d")
    laila.alpha_pool = src
    manifest, inner = checkpoint()
    manifest.memorize().wait()
    lost = list(inner)[3]
    laila.forget(lost).wait()
    group = dest[manifest] <= src[manifest]
    by_key = dict(zip([*manifest, manifest.global_id], group.futures(), strict=True))
    failed = {key: error for key, one in by_key.items() if (error := laila.runtime.exception(one))}
    assert set(failed) == {inner.global_id, manifest.global_id}
    assert all(isinstance(error, ManifestError) for error in failed.values())
    assert isinstance(failed[inner.global_id].__cause__, EntryNotFoundError)
    assert lost in str(failed[manifest.global_id])
    assert set(dest.keys()) == {*manifest, *inner} - {lost, inner.global_id}
    src.store([encode("back again", key=lost)])
    (dest[manifest] <= src[manifest]).wait()
    assert laila.Manifest.resolve(manifest)["again"][0].data == (NEEDLE, 0)
    assert set(dest.keys()) == {*manifest, *inner, manifest.global_id}


def test_a_full_destination_keeps_the_manifest_out(place: Place) -> None:
    src, dest = place.open("hdf5", "s"), place.open("hdf5", "d")
    laila.alpha_pool = src
    manifest, inner = checkpoint()
    manifest.memorize().wait()

    def full(items: Any) -> None:
        raise OSError(28, "No space left on device")

    dest._write_many = full  # type: ignore[method-assign]
    group = dest[manifest] <= src[manifest]
    assert {type(error) for error in group.exceptions} == {OSError, ManifestError}
    assert manifest.global_id not in dest
    assert inner.global_id not in dest


def test_a_branch_is_copied_alone(place: Place) -> None:
    src, dest = place.open("hdf5", "s"), place.open("memory", "d")
    laila.alpha_pool = src
    manifest, inner = checkpoint()
    manifest.memorize().wait()
    there: Any = dest[manifest]
    here: Any = src[manifest]
    weights: Any = manifest.blueprint["weights"]
    assert (there["weights"] <= here["weights"]).result == list(weights.values())
    assert set(dest.keys()) == set(weights.values())
    assert (there["again"] <= here["again"]).result == manifest.blueprint["again"]
    assert len(dest.keys()) == 4  # type: ignore[arg-type]
    assert laila.Manifest({"state": inner.global_id}).blueprint == {"state": inner.global_id}


def test_the_manifest_that_is_stored_is_the_one_that_is_copied(place: Place) -> None:
    src, dest = place.open("hdf5", "s"), place.open("hdf5", "d")
    laila.alpha_pool = src
    manifest = laila.Manifest({"a": laila.constant("a"), "b": laila.constant("b")}, nickname="run")
    manifest.memorize().wait()
    # Somebody else has extended it since.
    more = laila.constant("c")
    laila.memorize(more).wait()
    laila.memorize(
        laila.Manifest({**manifest.blueprint, "c": more.global_id}, nickname="run"), overwrite=True
    ).wait()
    assert len((dest[manifest] <= src[manifest]).result) == 3
    assert set(dest.keys()) == {*manifest, more.global_id, manifest.global_id}
    # Another one under its id gives way to it.
    dest.store([to_blob(manifest)], replace=True)
    (dest[manifest] <= src[manifest]).wait()
    assert digests(dest, [manifest.global_id]) == digests(src, [manifest.global_id])
    # It was never stored there.
    unknown = laila.Manifest({"a": manifest.blueprint["a"]})
    group = dest[unknown] <= src[unknown]
    assert [type(error) for error in group.exceptions] == [EntryNotFoundError]


def test_a_leaf_without_evolution_means_the_newest(place: Place) -> None:
    src, dest = place.open("hdf5", "s"), place.open("memory", "d")
    laila.alpha_pool = src
    v = laila.variable(0)
    stem = v.global_id.rpartition("-")[0]
    for number in range(3):
        laila.memorize(v).wait()
        v.evolve(data=number + 1)
    manifest = laila.Manifest({"v": stem, "none": MISSING})
    laila.memorize(manifest, missing_ok=True).wait()
    group = dest[manifest] <= src[manifest]
    assert group[0].result == f"{stem}-2"
    assert isinstance(laila.runtime.exception(group[1]), EntryNotFoundError)
    assert isinstance(laila.runtime.exception(group[2]), ManifestError)
    assert dest.keys() == [f"{stem}-2"]


@pytest.mark.parametrize("through", [False, True])
def test_a_manifest_is_copied_through_chains(through: bool, place: Place) -> None:
    near, far = place.open("memory", "n"), place.open("hdf5", "f")
    if through:
        laila.alpha_pool = laila.tiers(near, far)
    else:
        near << far
        laila.alpha_pool = near
        laila.memory.extend(far, pool_nickname="far")
    manifest, inner = checkpoint()
    manifest.memorize().wait()
    if not through:  # some of it here, some of it there
        (far[manifest] <= near[manifest]).wait()
        near.delete_here([*list(manifest)[:2], inner.global_id])
        far.delete_here([*list(manifest)[2:3], manifest.global_id])
    before = set(near.keys())
    dest = laila.tiers(laila.MemoryPool(), place.open("hdf5", "d"))
    (dest[manifest] <= near[manifest]).wait()
    assert set(near.keys()) == before  # no cache is filled by a copy
    for tier in dest.chain():
        assert set(tier.keys()) == {*manifest, *inner, manifest.global_id}


def test_manifests_that_contain_themselves_end(place: Place) -> None:
    src, dest = place.open("memory", "s"), place.open("memory", "d")
    good = laila.Manifest({"x": laila.constant(1)})
    laila.memorize(good, pool_id=laila.memory.extend(src).pool_id).wait()
    one, two = (laila.Manifest({"x": good.global_id}) for _ in range(2))
    src.store(
        [
            encode({"tree": {"next": two.global_id}}, key=one.global_id),
            encode({"tree": {"next": one.global_id, "x": good.global_id}}, key=two.global_id),
        ]
    )
    outer = laila.Manifest({"one": one.global_id, "good": good.global_id})
    src.store([to_blob(outer)])
    group = dest[outer] <= src[outer]
    assert [type(laila.runtime.exception(future)) for future in group.futures()] == [
        ManifestError,
        type(None),
        ManifestError,
    ]
    assert set(dest.keys()) == {good.global_id, *good}


def test_what_cannot_be_copied_says_how_it_is_done(place: Place) -> None:
    src, dest = place.open("memory", "s"), place.open("memory", "d")
    manifest, _ = checkpoint()
    other, _ = checkpoint(1)
    here: Any = src[manifest]
    there: Any = dest[manifest]
    wrong: list[Any] = [
        lambda: there <= src,
        lambda: there <= manifest,
        lambda: there <= 3,
        lambda: dest <= here,
        lambda: there >= here,
    ]
    for attempt in wrong:
        with pytest.raises(InvalidArgumentError, match=r"dest\[manifest\] <= src\[manifest\]"):
            attempt()
    for attempt in (lambda: there <= src[other], lambda: there["weights"] <= here["again"]):
        with pytest.raises(ManifestError, match="not the same part of one manifest"):
            attempt()
    assert dest.keys() == []
