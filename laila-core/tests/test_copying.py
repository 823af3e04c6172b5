"""``dest <= src``: everything arrives, what is there is skipped, nothing is weakened on the way."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import laila
from laila.codec import decode, encode
from laila.contract import Blob
from laila.entry import to_blob
from laila.errors import CorruptEntryError, EntryNotFoundError, EvolutionConflictError
from laila.tiering.copying import copy_pool

pytestmark = pytest.mark.usefixtures("policy")


class Counting(laila.MemoryPool):
    def __init__(self, nickname: str | None = None, transformations: Sequence[Any] = ()) -> None:
        super().__init__(nickname=nickname, transformations=transformations)
        self.written: list[str] = []
        self.loaded: list[str] = []
        self.fail_after: int | None = None

    def _write_many(self, items: Any) -> None:
        for key, blob in items:
            if self.fail_after is not None and len(self.written) >= self.fail_after:
                raise OSError(28, "No space left on device")
            self.written.append(key)
            self._write(key, blob)

    def _read_many(self, keys: Sequence[str]) -> Sequence[Blob | None]:
        self.loaded += keys
        return super()._read_many(keys)


def fill(pool: laila.Pool, count: int) -> list[laila.Entry]:
    entries = [laila.constant({"i": i, "a": np.arange(i % 5)}) for i in range(count)]
    pool.store([to_blob(entry) for entry in entries])
    return entries


def test_everything_arrives_and_a_second_copy_moves_nothing() -> None:
    src, dest = Counting("src"), Counting("dest")
    entries = fill(src, 1500)
    src["plain key"] = b"raw"
    group = dest <= src
    assert isinstance(group, laila.GroupFuture)
    assert sorted(group.result) == sorted(src.keys()) == sorted(dest.keys())
    assert all(decode(dest[e.global_id])["i"] == e.data["i"] for e in entries)  # type: ignore[index]
    dest.written.clear()
    src.loaded.clear()
    assert len((dest <= src).result) == 1501
    assert dest.written == []
    assert sorted(src.loaded) == sorted(src.keys())  # each is compared, byte by byte
    dest.delete_here([entries[7].global_id])
    (dest <= src).wait()
    assert dest.written == [entries[7].global_id]


def test_an_interrupted_copy_goes_on() -> None:
    src, dest = Counting("src"), Counting("dest")
    fill(src, 1500)
    dest.fail_after = 700
    group = dest <= src
    errors = group.exceptions
    assert errors
    assert {type(error) for error in errors} == {OSError}
    assert len(errors) < 1000
    dest.fail_after = None
    dest.written.clear()
    assert len((dest <= src).result) == 1500
    assert len(dest.written) == 800


def test_another_content_replaces_a_constant_and_never_an_evolution() -> None:
    src, dest = Counting("src"), Counting("dest")
    c, v = laila.constant("new"), laila.variable("new")
    src.store([to_blob(c), to_blob(v), encode("new", key="k")])
    dest.store([encode("old", key=c.global_id), encode("old", key=v.global_id), encode("old", key="k")])
    group = dest <= src
    kinds = {
        key: laila.runtime.exception(future) and type(future.exception)
        for key, future in zip(src.keys(), group.futures(), strict=True)
    }
    assert kinds == {c.global_id: None, v.global_id: EvolutionConflictError, "k": None}
    assert [decode(dest[key]) for key in (c.global_id, v.global_id, "k")] == ["new", "old", "new"]


class Bytes(Counting):
    def _read_many(self, keys: Sequence[str]) -> Any:
        self.loaded += keys
        return [None if (blob := self._blobs.get(key)) is None else bytes(blob) for key in keys]

    def _read_head(self, key: str) -> Any:
        blob = self._blobs.get(key)
        return None if blob is None else bytes(blob)


class Damaged:
    key = "x"

    def __bytes__(self) -> bytes:
        return b"damaged"


def test_damage_at_either_end() -> None:
    src, dest = Bytes("src"), Bytes("dest")
    entries = fill(src, 12)
    (dest <= src).wait()
    dest._blobs[entries[3].global_id] = Damaged()  # type: ignore[assignment]
    (dest <= src).wait()
    assert decode(dest[entries[3].global_id])["i"] == 3  # type: ignore[index]
    src._blobs[entries[5].global_id] = Damaged()  # type: ignore[assignment]
    dest.delete_here([entries[5].global_id, entries[6].global_id])
    group = dest <= src
    assert [type(error) for error in group.exceptions] == [CorruptEntryError]
    assert entries[6].global_id in dest
    assert entries[5].global_id not in dest
    (dest <= src).exceptions  # noqa: B018 - looked at, so that nothing is logged


def test_a_key_that_disappears_fails_alone() -> None:
    src, dest = Counting("src"), Counting("dest")
    entries = fill(src, 3)
    group = copy_pool(dest, src, [entries[0].global_id, "gone", entries[1].global_id])
    assert [type(error) for error in group.exceptions] == [EntryNotFoundError]
    assert len(list(dest.keys())) == 2


def aes(letter: str) -> Any:
    pytest.importorskip("cryptography")
    from laila.transform import AesGcm

    return AesGcm(key=letter.encode() * 32)


@pytest.mark.parametrize(
    ("one", "other", "as_they_stand"),
    [
        ([], ["zlib"], False),
        (["zlib"], [], False),
        (["zlib"], ["zlib"], True),
        (["zlib"], ["zstd"], False),
        (["aes a"], ["aes a"], True),
        (["aes a"], ["aes b"], False),
        ([], ["aes a"], False),
        (["aes a"], [], False),
        (["zlib", "aes a"], ["aes a"], False),
        ([], [], True),
    ],
)
def test_bytes_move_as_they_stand_between_equals_only(
    one: list[str], other: list[str], as_they_stand: bool
) -> None:
    def made(names: list[str]) -> list[Any]:
        return [aes(name[-1]) if name.startswith("aes") else name for name in names]

    src, dest = Counting("src", made(one)), Counting("dest", made(other))
    entries = [laila.constant({"needle": "needle" * i}) for i in range(20)]
    src.store([to_blob(entry) for entry in entries])
    (dest <= src).wait()
    for entry in entries:
        stored = dest._blobs[entry.global_id]
        assert [name for name, _ in stored.transformations] == [
            name.split()[0].replace("aes", "aes-gcm") for name in other
        ]
        assert (bytes(stored) == bytes(src._blobs[entry.global_id])) is as_they_stand
        assert dest.load([entry.global_id])[0].digest == to_blob(entry).digest  # type: ignore[union-attr]
    dest.written.clear()
    (dest <= src).wait()
    assert dest.written == []


def test_a_plain_blob_in_an_encrypting_pool_is_not_copied_plain() -> None:
    src, dest = Counting("src", [aes("a")]), Counting("dest", [aes("a")])
    entry = laila.constant("needle")
    src._blobs[entry.global_id] = to_blob(entry)  # from before the pool was made to encrypt
    (dest <= src).wait()
    assert [name for name, _ in dest._blobs[entry.global_id].transformations] == ["aes-gcm"]


def test_a_chain_that_is_one_store_is_copied_whole_and_written_whole() -> None:
    cache, origin = Counting("cache"), Counting("origin")
    data = laila.tiers(cache, origin)
    fill(origin, 10)
    backup = Counting("backup")
    (backup <= data).wait()
    assert len(list(backup.keys())) == 10
    cache2, origin2 = Counting("cache2"), Counting("origin2")
    (laila.tiers(cache2, origin2) <= data).wait()
    assert len(list(origin2.keys())) == 10
    plain_cache = Counting("plain")
    plain_cache << origin
    other = Counting("other")
    (other <= plain_cache).wait()
    assert list(other.keys()) == []  # a read cache is copied for itself


def test_memory_stays_bounded() -> None:
    class Made(laila.MemoryPool):
        """Makes blobs of 1 MiB when they are read."""

        def _keys(self) -> Any:
            return iter([f"k{i}" for i in range(120)])

        def _read_many(self, keys: Sequence[str]) -> list[Blob | None]:
            return [encode(bytes(1 << 20), key=key) for key in keys]

    class Sink(laila.MemoryPool):
        count = 0

        def _write_many(self, items: Any) -> None:
            self.count += len(items)

    sink = Sink()
    tracemalloc.start()
    try:
        assert len((sink <= Made()).result) == 120
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sink.count == 120
    assert peak < 80 << 20


def test_memory_stays_bounded_when_little_becomes_much() -> None:
    """Zeros compress a thousandfold: what is read at once is not what may be undone at once."""
    src = laila.MemoryPool(transformations=["zlib"])
    for i in range(40):
        src.store([encode(bytes(8 << 20), key=f"k{i}")])

    class Sink(laila.MemoryPool):
        count = 0

        def _write_many(self, items: Any) -> None:
            self.count += len(items)

    sink = Sink()
    tracemalloc.start()
    try:
        assert len((sink <= src).result) == 40
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sink.count == 40
    assert peak < 64 << 20


def test_few_large_after_many_small_are_not_read_at_once() -> None:
    class Files(laila.Pool):
        """Knows sizes without reading, and says how much was read at a time."""

        def __init__(self) -> None:
            super().__init__()
            self.kept: dict[str, bytes] = {}
            self.most = 0

        def _read(self, key: str) -> bytes | None:
            return self.kept.get(key)

        def _read_many(self, keys: Sequence[str]) -> list[bytes | None]:
            found = [self.kept.get(key) for key in keys]
            self.most = max(self.most, sum(len(one) for one in found if one is not None))
            return found

        def _sizes(self, keys: Sequence[str]) -> Sequence[int | None]:
            return [None if (one := self.kept.get(key)) is None else len(one) for key in keys]

        def _write(self, key: str, blob: Blob) -> None:
            self.kept[key] = bytes(blob)

        def _delete(self, key: str) -> bool:
            return self.kept.pop(key, None) is not None

        def _exists(self, key: str) -> bool:
            return key in self.kept

        def _keys(self) -> Iterator[str]:
            return iter(list(self.kept))

        def _empty(self) -> None:
            self.kept.clear()

    class Unsized(Files):
        _sizes = laila.Pool._sizes

    class Commits(laila.MemoryPool):
        count = 0

        def _write_many(self, items: Any) -> None:
            self.count += 1
            super()._write_many(items)

    for src, bound in ((Files(), 9 << 20), (Unsized(), 7 << 20)):
        for i in range(600):
            src[f"s{i}"] = b"small"
        for i in range(12):
            src[f"l{i}"] = bytes(6 << 20)
        dest = Commits()
        (dest <= src).wait()
        assert dest.count < 10  # however they were read
        assert sorted(dest.keys()) == sorted(src.keys())
        assert (6 << 20) < src.most < bound


def test_what_is_no_pool() -> None:
    with pytest.raises(TypeError):
        _ = laila.MemoryPool() <= 3  # type: ignore[operator]
    pool = laila.MemoryPool()
    fill(pool, 3)
    assert len((pool <= pool).result) == 3
    assert (laila.MemoryPool() <= laila.MemoryPool()).result == []
