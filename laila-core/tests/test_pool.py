"""The pool contract: a plain class with six methods, the memory pool, and the mapping side of both."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import laila
from laila.codec import decode, encode
from laila.codec.trust import encryption_keys
from laila.contract import Blob
from laila.contract.pool import StoreOutcome
from laila.errors import (
    CorruptEntryError,
    EntryNotFoundError,
    InvalidArgumentError,
    LailaError,
    PoolClosedError,
    PoolKeyError,
    SettingsError,
)
from laila.tiering.wrapper import PoolWrapper
from laila.transform import AesGcm, TransformationSequence

pytestmark = pytest.mark.usefixtures("policy")


class PlainPool(laila.Pool):
    """What an author must write, and nothing else."""

    def __init__(self, nickname: str | None = None, transformations: Sequence[Any] = ()) -> None:
        super().__init__(nickname=nickname, transformations=transformations)
        self.files: dict[str, Any] = {}

    def _read(self, key: str) -> Any:
        return self.files.get(key)

    def _write(self, key: str, blob: Blob) -> None:
        self.files[key] = bytes(blob)

    def _delete(self, key: str) -> bool | None:
        return self.files.pop(key, None) is not None

    def _exists(self, key: str) -> bool:
        return key in self.files

    def _keys(self) -> Iterator[str]:
        yield from list(self.files)

    def _empty(self) -> None:
        self.files.clear()


class SlowPool(PlainPool):
    """Takes its time to say what exists, so that two writers may both be told no."""

    def _exists(self, key: str) -> bool:
        there = super()._exists(key)
        time.sleep(0.0005)
        return there


class SilentPool(PlainPool):
    """Does not tell whether what it deleted was there."""

    def _delete(self, key: str) -> None:
        self.files.pop(key, None)


class ViewPool(PlainPool):
    def _read(self, key: str) -> Any:
        return None if (found := self.files.get(key)) is None else memoryview(bytearray(found))


class PartsPool(PlainPool):
    """Gives back the head and the buffers, as a pool that stores arrays natively does."""

    def _write(self, key: str, blob: Blob) -> None:
        self.files[key] = [blob.head, *(np.frombuffer(buffer.data, np.uint8) for buffer in blob.buffers)]


class SplitPool(PlainPool):
    """Gives back the bytes in pieces of its own."""

    def _read(self, key: str) -> Any:
        found = self.files.get(key)
        return None if found is None else [found[i : i + 100] for i in range(0, len(found), 100)]


class ArrayPool(PlainPool):
    def _read(self, key: str) -> Any:
        return None if (found := self.files.get(key)) is None else np.frombuffer(found, np.uint8)


POOLS: list[Callable[..., Any]] = [
    laila.MemoryPool,
    PlainPool,
    SlowPool,
    SilentPool,
    ViewPool,
    PartsPool,
    SplitPool,
    ArrayPool,
]


@pytest.fixture(params=POOLS, ids=lambda kind: kind.__name__)
def pool(request: pytest.FixtureRequest) -> Iterator[Any]:
    made = request.param()
    laila.memory.extend(made)
    laila.memory.alpha_pool = made
    yield made
    made.close()


PAYLOAD = {"a": np.arange(12.0).reshape(3, 4), "t": (1, "x"), "long": b"z" * 100_000, 3: None}


def same(value: Any) -> bool:
    return (
        list(value) == list(PAYLOAD)
        and np.array_equal(value["a"], PAYLOAD["a"])  # type: ignore[arg-type]
        and value["t"] == (1, "x")
        and value["long"] == PAYLOAD["long"]
    )


def test_every_verb_works_on_six_methods(pool: laila.Pool) -> None:
    entry = laila.constant(PAYLOAD, nickname="n", metadata={"k": 1})
    assert laila.memorize(entry).result == entry.global_id
    assert laila.memorize(entry).result == entry.global_id
    back = laila.remember(nickname="n").result
    assert same(back.data)
    assert back.metadata["user"] == {"k": 1}
    back.data["a"][0, 0] = 99  # writable, and the caller's own
    assert same(laila.remember(entry).data)
    with pytest.raises(RuntimeError):
        laila.memorize(laila.constant(2, nickname="n")).wait()
    v = laila.variable(0)
    for i in range(12):
        laila.memorize(v).wait()
        v.evolve(data=i + 1)
    stem = v.global_id.rpartition("-")[0]
    assert laila.history(v) == list(range(12))
    assert laila.remember(stem).data == 11
    assert laila.remember(f"{stem}-10").data == 10
    assert laila.forget(f"{stem}-11").result is None
    assert laila.remember(stem).data == 10
    assert laila.forget(stem).result is None
    assert laila.history(stem) == []
    for verb in (laila.forget, laila.remember):
        with pytest.raises(EntryNotFoundError):
            verb(stem).wait()
    laila.forget(nickname="n").wait()
    assert list(pool.keys()) == []


def test_a_batch_keeps_order_and_duplicates(pool: laila.Pool) -> None:
    entries = [laila.constant(i) for i in range(20)]
    ids = laila.memorize(entries).result
    assert ids == [entry.global_id for entry in entries]
    assert laila.remember([*ids, ids[0]]).data == [*range(20), 0]
    group = laila.forget([ids[3], ids[3], ids[5]])
    assert group.result == [None, None, None]
    group = laila.forget([ids[3], ids[4]])
    assert [laila.runtime.exception(child) and type(child.exception) for child in group.futures()] == [
        EntryNotFoundError,
        None,
    ]


def test_the_mapping_side(pool: laila.Pool) -> None:
    entry = laila.constant([1, 2])
    gid = entry.global_id
    pool[gid] = entry
    assert gid in pool
    assert pool.exists(gid)
    assert 3 not in pool
    assert decode(pool[gid]) == [1, 2]
    pool["any key"] = b"raw bytes"
    pool["text"] = "text"
    assert decode(pool["any key"]) == b"raw bytes"
    assert decode(pool["text"]) == "text"
    pool["any key"] = b"other"
    assert decode(pool["any key"]) == b"other"
    for form in (entry.serialize(), pool[gid], bytes(pool[gid])):
        del pool[gid]
        assert gid not in pool
        pool[gid] = form
        assert decode(pool[gid]) == [1, 2]
    assert sorted(pool.keys()) == sorted(pool) == sorted(["any key", "text", gid])
    streamed = pool.keys(as_generator=True)
    assert iter(streamed) is streamed
    assert sorted(streamed) == sorted(pool.keys())
    del pool["text"]
    with pytest.raises(KeyError, match="text"):
        del pool["text"]
    with pytest.raises(EntryNotFoundError, match="text"):
        pool["text"]
    pool.empty()
    assert list(pool) == []


def test_get_reads_as_that_of_a_dict(pool: laila.Pool) -> None:
    here, behind = laila.constant("here"), laila.constant("behind")
    origin = laila.MemoryPool()
    pool.proxy_to = origin
    pool[here.global_id], origin[behind.global_id] = here, behind
    absent = laila.constant(None).global_id
    for entry in (here, behind):
        blob = pool.get(entry.global_id)
        assert blob is not None
        assert decode(blob) == entry.data
    assert pool.get(absent) is None
    assert pool.get(absent, "other") == "other"
    manifest = laila.Manifest({"a": here.global_id})
    assert pool.get(manifest)["a"].key == here.global_id  # type: ignore[attr-defined]
    with pytest.raises(InvalidArgumentError):
        pool.get(7)  # type: ignore[call-overload]
    with pytest.raises(laila.errors.PoolKeyError):
        pool.get("")


def test_bad_values_and_keys_are_refused_and_nothing_is_written(pool: laila.Pool) -> None:
    entry = laila.constant(1)
    with pytest.raises(ValueError, match="must equal"):
        pool["other"] = entry
    with pytest.raises(CorruptEntryError):
        pool["other"] = bytes(encode(1, key="this"))
    for bad in (3, None, [1], {"a": 1}, object()):
        with pytest.raises(LailaError):
            pool["k"] = bad  # type: ignore[assignment]
    for key in ("", "x" * 513, "é" * 257, "\ud800"):
        with pytest.raises(PoolKeyError):
            pool[key] = b"x"
        with pytest.raises(ValueError, match="key"):
            pool[key]
        with pytest.raises(ValueError, match="key"):
            pool.exists(key)
    for key_of_no_text in (3, None, b"k"):
        with pytest.raises(TypeError):
            pool[key_of_no_text] = b"x"  # type: ignore[index]
        with pytest.raises(InvalidArgumentError):
            pool[key_of_no_text]  # type: ignore[call-overload]
    assert list(pool.keys()) == []


@pytest.mark.parametrize(
    "key", ["x" * 512, "é" * 256, "a/b\\c:d?*", "..", " ", "line\nbreak", "\0", "🦉", "x-3", "x-003"]
)
def test_any_key_of_up_to_512_bytes(pool: laila.Pool, key: str) -> None:
    pool[key] = b"value"
    assert list(pool.keys()) == [key]
    assert decode(pool[key]) == b"value"
    del pool[key]


def test_a_manifest_as_a_key(pool: laila.Pool) -> None:
    a, b = laila.constant(1), laila.constant(2)
    m = laila.manifest({"a": a, "d": {"l": [b, a]}})
    m.memorize().wait()
    wrapper = pool[m]
    assert isinstance(wrapper, PoolWrapper)
    assert list(wrapper) == ["a", "d"]
    assert (len(wrapper), "a" in wrapper, "x" in wrapper) == (2, True, False)
    assert decode(wrapper["a"]) == 1  # type: ignore[arg-type]
    deep = wrapper["d"]
    assert isinstance(deep, PoolWrapper)
    leaves = deep["l"]
    assert isinstance(leaves, PoolWrapper)
    assert [decode(leaf) for leaf in (leaves[0], leaves[1])] == [2, 1]  # type: ignore[arg-type]
    del pool[a.global_id]
    with pytest.raises(EntryNotFoundError):
        wrapper["a"]
    with pytest.raises(KeyError):
        wrapper["x"]


@pytest.mark.parametrize("kind", POOLS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("steps", [["zlib"], ["zstd", "base64"], ["aes-gcm"]])
def test_transformations_are_the_pools_business(kind: Any, steps: list[Any]) -> None:
    if steps == ["aes-gcm"]:
        pytest.importorskip("cryptography")
        from laila.transform import AesGcm

        steps = [AesGcm(key=b"k" * 32)]
    pool = kind(transformations=steps)
    laila.memory.alpha_pool = pool
    entry = laila.variable({"needle": "needle" * 50})
    laila.memorize(entry).wait()
    laila.memorize(entry).wait()  # the same content, known through its transformations
    with pytest.raises(RuntimeError):
        laila.memorize(laila.variable("other", uuid=entry.uuid)).wait()
    back = laila.remember(entry).result
    assert back.data == entry.data
    assert back.metadata["transformations"] == tuple(item.name for item in pool.transformations)
    stored = pool._read(entry.global_id)
    raw = (
        bytes(stored)
        if isinstance(stored, Blob)
        else b"".join(map(bytes, stored))
        if isinstance(stored, list)
        else bytes(stored)
    )
    assert b"needle" not in raw
    head = pool.read_head(entry.global_id)
    assert [name for name, _ in head.transformations] == [item.name for item in pool.transformations]
    assert pool.read_head("LAILA:ENTRY:GLOBAL_ID:" + laila.constant(1).uuid) is None
    plain = pool[entry.global_id]
    assert plain.transformations == ()
    pool[entry.global_id] = plain
    assert laila.remember(entry).data == entry.data
    encoded = TransformationSequence(["zlib"]).apply(plain)
    pool[entry.global_id] = encoded
    assert laila.remember(entry).data == entry.data
    assert [n for n, _ in pool.read_head(entry.global_id).transformations] == [
        i.name for i in pool.transformations
    ]


def test_what_is_the_same_is_told_by_heads_whatever_the_keys() -> None:
    """A pool whose transformations have changed knows a constant again, and reads only what it confirms."""
    pytest.importorskip("cryptography")
    a, b = b"a" * 32, b"b" * 32

    class Heads(laila.MemoryPool):
        read = 0

        def _read_many(self, keys: Sequence[str]) -> Any:
            self.read += len(keys)
            return super()._read_many(keys)

    entry, other = laila.constant({"x": "needle" * 10}), laila.constant(2)
    blobs = [laila.entry.to_blob(one) for one in (entry, other)]
    another = encode("another", key=entry.global_id)
    was: list[list[Any]] = [[], ["zlib"], [AesGcm(a)], ["zlib", AesGcm(b)]]
    for before in was:
        old = laila.MemoryPool(transformations=before)
        old.store(blobs)
        for now in was:
            pool = Heads(transformations=now)
            pool._blobs = old._blobs
            # The key that a blob was made under must be here to compare with it.
            known = not any(isinstance(one, AesGcm) and one not in now for one in before)
            with encryption_keys_here(*([] if known else [a, b])):
                assert pool.store(blobs) == [StoreOutcome.SAME] * 2
                assert pool.read == 2  # the bytes are compared, once the digest says that they are the same
                assert pool.store([another]) == [StoreOutcome.CONFLICT]
            if not known:
                assert pool.store(blobs) == [StoreOutcome.CONFLICT] * 2
            assert pool.read == 2  # a digest is enough to say that a content is another


@contextmanager
def encryption_keys_here(*keys: bytes) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        known = {encryption_keys.key_id(key): key for key in keys}
        if keys:
            patch.setattr(encryption_keys, "find", known.get)
        yield


def test_damage_is_this_entrys_failure_and_names_the_pool() -> None:
    pool = PlainPool(nickname="fragile")
    laila.memory.alpha_pool = pool
    good, bad = laila.constant(1), laila.constant({"x": "y" * 50})
    laila.memorize([good, bad]).wait()
    whole = pool.files[bad.global_id]
    for i in range(0, len(whole), 3):
        pool.files[bad.global_id] = whole[:i] + bytes([whole[i] ^ 4]) + whole[i + 1 :]
        children = laila.remember([good.global_id, bad.global_id]).futures()
        assert children[0].data == 1
        assert isinstance(laila.runtime.exception(children[1]), CorruptEntryError)
        assert "fragile" in str(laila.runtime.exception(children[1]))
    group = laila.memorize([laila.constant(5), bad])
    assert isinstance(laila.runtime.exception(group[1]), CorruptEntryError)
    assert laila.runtime.exception(group[0]) is None
    laila.memorize(bad, overwrite=True).wait()
    assert laila.remember(bad).data == bad.data
    pool.files[bad.global_id] = pool.files[good.global_id]
    with pytest.raises(CorruptEntryError, match="bears the id"):
        laila.remember(bad).wait()
    laila.forget(bad).wait()


def test_a_blob_object_under_another_key_is_corrupt() -> None:
    class Swapped(laila.MemoryPool):
        def _read_many(self, keys: Sequence[str]) -> Sequence[Blob | None]:
            return [next(iter(self._blobs.values())) for _ in keys]

    pool = Swapped()
    a, b = laila.constant(1), laila.constant(2)
    pool.store([laila.entry.to_blob(a), laila.entry.to_blob(b)])
    first, second = pool.load([a.global_id, b.global_id])
    assert isinstance(first, Blob)
    assert isinstance(second, CorruptEntryError)


def test_a_backend_that_fails_fails_the_call() -> None:
    class Failing(PlainPool):
        def _write(self, key: str, blob: Blob) -> None:
            raise OSError(28, "No space left on device")

        def _read(self, key: str) -> Any:
            raise ConnectionError("down")

    laila.memory.alpha_pool = Failing()
    entry = laila.constant(1)
    with pytest.raises(OSError, match="No space"):
        laila.memorize(entry).wait()
    assert entry.state.name == "READY"
    group = laila.remember([entry, entry])
    assert [type(e) for e in group.exceptions] == [ConnectionError, ConnectionError]


def test_a_closed_pool_says_so() -> None:
    pool = laila.MemoryPool(nickname="shut")
    with pool:
        pool["k"] = b"x"
    pool.close()
    assert pool.closed
    for use in (
        lambda: pool["k"],
        lambda: pool.keys(),
        lambda: pool.empty(),
        lambda: pool.exists("k"),
        lambda: pool.sync(),
        lambda: pool.__setitem__("k", b"x"),
        lambda: pool.__delitem__("k"),
        lambda: pool.load(["k"]),
        lambda: pool.newest(["k"]),
        lambda: pool.history(["k"]),
    ):
        with pytest.raises(PoolClosedError, match="shut"):
            use()


def test_sync_flushes_or_is_not_supported() -> None:
    class Delayed(PlainPool):
        flushed = 0

        def flush(self) -> None:
            self.flushed += 1

    with pytest.raises(NotImplementedError):
        laila.MemoryPool().sync()
    pool = Delayed()
    pool.sync()
    assert pool.flushed == 1


def test_the_class_needs_its_six_methods_and_good_options() -> None:
    class Half(laila.Pool):
        def _read(self, key: str) -> None:
            return None

    with pytest.raises(TypeError, match="_write"):
        Half()  # type: ignore[abstract]
    with pytest.raises(SettingsError, match="write"):
        laila.MemoryPool(write="back")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no such"):
        laila.MemoryPool(transformations=["no such"])
    with pytest.raises(ValueError, match="zlib"):
        laila.MemoryPool(transformations="zlib")
    assert laila.MemoryPool.from_url("memory://name").nickname == "name"
    assert laila.MemoryPool.from_url("memory://").nickname is None

    class FromUrl(PlainPool):
        def __init__(self, url: str, nickname: str | None = None) -> None:
            super().__init__(nickname=nickname)
            self.url = url

    made = FromUrl.from_url("x://y", nickname="n")
    assert (made.url, made.nickname) == ("x://y", "n")


def test_repr_shows_no_secret() -> None:
    pytest.importorskip("cryptography")
    from laila.transform import AesGcm

    pool = laila.MemoryPool(
        nickname="p", transformations=[AesGcm(key="correct horse battery staple correct")]
    )
    for text in (
        repr(pool),
        repr(pool.transformations),
        str(pool.options()),
        repr(vars(pool)["_transformations"]),
    ):
        assert "horse" not in text


def test_create_many_decides_each_for_itself(pool: laila.Pool) -> None:
    first, second = encode("first", key="k"), encode("second", key="k")
    same_again = encode("first", key="k")
    other = encode(1, key="l")
    assert pool.store([first, second, same_again, other]) == [
        StoreOutcome.CREATED,
        StoreOutcome.CONFLICT,
        StoreOutcome.SAME,
        StoreOutcome.CREATED,
    ]
    assert decode(pool["k"]) == "first"
    assert pool.delete(["k", "k", "nothing"])[2] is False


def test_threads_that_create_one_key_agree_on_a_winner(pool: laila.Pool) -> None:
    for round_ in range(20):
        key = f"k{round_}"
        gate = threading.Barrier(6)
        outcomes: list[Any] = [None] * 6

        def race(
            i: int, key: str = key, gate: threading.Barrier = gate, outcomes: list[Any] = outcomes
        ) -> None:
            blob = encode(i, key=key)
            gate.wait()
            outcomes[i] = pool.store([blob])[0]

        threads = [threading.Thread(target=race, args=(i,)) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert outcomes.count(StoreOutcome.CREATED) == 1
        assert outcomes.count(StoreOutcome.CONFLICT) == 5
        assert decode(pool[key]) == outcomes.index(StoreOutcome.CREATED)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 12), st.booleans()), max_size=30))
def test_evolutions_are_found_whatever_was_deleted(steps: list[tuple[str, int, bool]]) -> None:
    stems = {name: f"LAILA:ENTRY:GLOBAL_ID:{laila.constant(0, nickname=name).uuid}" for name in "ab"}
    memory, plain = laila.MemoryPool(), PlainPool()
    model: dict[str, set[int]] = {"a": set(), "b": set()}
    for name, number, add in steps:
        key = f"{stems[name]}-{number}"
        for pool in (memory, plain):
            if add:
                pool.store([encode(number, key=key)], replace=True)
            else:
                pool.delete([key])
        (model[name].add if add else model[name].discard)(number)
    both = list(stems.values())
    for pool in (memory, plain):
        pool["unrelated-3"] = b""
        assert pool.history(both) == [sorted(model["a"]), sorted(model["b"])]
        assert pool.newest(both) == [f"{stems[n]}-{max(model[n])}" if model[n] else None for n in "ab"]
        assert pool.history_here(stems["a"]) == sorted(model["a"])
    assert memory.newest([]) == []


def test_a_pool_that_vanishes_between_create_and_compare() -> None:
    class Vanishing(PlainPool):
        def _create_many(self, items: Any) -> list[bool]:
            return [False for _ in items]  # it was there a moment ago

    pool = Vanishing()
    assert pool.store([encode(1, key="k")]) == [StoreOutcome.CREATED]
    assert decode(pool["k"]) == 1
