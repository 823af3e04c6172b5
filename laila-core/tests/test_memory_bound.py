"""``MemoryPool(max_bytes=…)``: how much it holds, what goes first, and what users are told."""

from __future__ import annotations

import gc
import logging
import os
import random
import signal
import threading
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import laila
from laila.codec import decode, encode
from laila.contract import Blob
from laila.entry import to_blob
from laila.errors import EntryNotFoundError, PoolError, SettingsError
from laila.locks import mutex
from laila.pool.bounded import ENTRY_BYTES, BoundedBlobs, weight
from laila.tiering import counters

pytestmark = pytest.mark.usefixtures("policy")

KIB = 1024


def blob(key: str, size: int = 1000) -> Blob:
    return encode(bytes(size), key=key)


def bounded(entries: int, **options: Any) -> laila.MemoryPool:
    """Room for so many blobs of the size that ``blob`` makes them."""
    return laila.MemoryPool(max_bytes=entries * weight(blob("x0")), **options)


# -- what is held --------------------------------------------------------------------------------------------


def test_it_holds_what_fits_and_lets_go_of_what_was_used_least_recently() -> None:
    pool = bounded(4)
    assert pool.max_bytes is not None
    pool.store([blob(f"x{i}") for i in range(4)])
    assert pool.nbytes == pool.max_bytes
    pool["x0"]  # a read is a use
    pool.store([blob("x1")])  # the same again is a use, too
    assert "x2" in pool  # to ask whether it is there is none
    pool["x4"] = blob("x4")
    assert sorted(pool.keys()) == ["x0", "x1", "x3", "x4"]
    pool.load(["x3", "x0"])
    pool["x5"] = blob("x5")
    pool["x6"] = blob("x6")
    assert sorted(pool.keys()) == ["x0", "x3", "x5", "x6"]
    assert (pool.evictions, pool.nbytes) == (3, pool.max_bytes)
    del pool["x0"]
    pool["x7"] = blob("x7")
    assert sorted(pool.keys()) == ["x3", "x5", "x6", "x7"]
    pool.empty()
    assert (pool.nbytes, pool.keys()) == (0, [])


def test_one_that_replaces_another_counts_once_and_what_is_larger_takes_more_room() -> None:
    pool = bounded(4)
    pool.store([blob(f"x{i}") for i in range(4)])
    pool["x0"] = blob("x0", 1100)
    assert sorted(pool.keys()) == ["x0", "x2", "x3"]
    pool["x0"] = blob("x0", 1000)
    pool["x1"] = blob("x1")
    assert sorted(pool.keys()) == ["x0", "x1", "x2", "x3"]
    assert pool.nbytes == sum(pool[key].nbytes + ENTRY_BYTES for key in pool)


@given(
    st.lists(
        st.tuples(st.sampled_from("wcrd"), st.integers(0, 9), st.integers(0, 6000)), min_size=1, max_size=60
    )
)
def test_it_is_a_dict_that_forgets(steps: list[tuple[str, int, int]]) -> None:
    class Owner:
        def gone(self, keys: list[str]) -> None:
            evicted.extend(keys)

    evicted: list[str] = []
    owner, limit = Owner(), 12 * KIB
    held, model = BoundedBlobs(limit, owner.gone), dict[str, Blob]()
    for verb, number, size in steps:
        key = f"k{number}"
        if verb == "r":
            assert held.get(key) is model.get(key)
            if key in model:
                model[key] = model.pop(key)
        elif verb == "d":
            assert held.pop(key) is model.pop(key, None)
        else:
            new = blob(key, size)
            if verb == "w":
                held[key] = new
                model.pop(key, None)
            else:
                assert held.setdefault(key, new) is model.get(key, new)
            model[key] = model.pop(key, new)
            expected = []
            while sum(map(weight, model.values())) > limit:
                expected.append(next(iter(model)))
                del model[expected[-1]]
            assert evicted == expected
            evicted.clear()
        assert list(held) == list(model)
        assert held.nbytes == sum(map(weight, model.values())) <= limit


def test_memory_is_bounded_by_what_it_says() -> None:
    import tracemalloc

    pool = laila.MemoryPool(max_bytes=4 << 20)
    pool.proxy_to = laila.MemoryPool()
    pool["k"] = encode(np.zeros(20_000), key="k")  # what is imported for it is not the pool's
    pool.empty()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for i in range(300):
            pool[f"k{i}"] = encode(np.zeros(20_000), key=f"k{i}")
            pool[f"s{i}"] = encode([i], key=f"s{i}")
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert pool.evictions > 200
    assert held < 4.2 * (1 << 20)


def test_an_unbounded_pool_says_how_much_it_holds() -> None:
    pool = laila.MemoryPool()
    pool.store([blob("x0"), blob("x1")])
    assert (pool.max_bytes, pool.evictions, pool.nbytes) == (None, 0, 2 * weight(blob("x0")))


def test_evicted_evolutions_are_no_history() -> None:
    pool = bounded(3)
    laila.alpha_pool = laila.tiers(pool, laila.MemoryPool(nickname="all"))
    v = laila.variable(bytes(900))
    for _ in range(6):
        laila.memorize(v).wait()
        v.evolve(data=bytes(900))
    stem = v.global_id.rpartition("-")[0]
    numbers = pool.history_here(stem)
    assert len(numbers) < 6
    assert [f"{stem}-{n}" for n in numbers] == sorted(pool.keys())
    assert pool.newest_here([stem]) == [f"{stem}-5"]
    assert laila.history(v) == [0, 1, 2, 3, 4, 5]
    for number in range(6):
        assert laila.remember(f"{stem}-{number}").result.evolution == number
    pool["big"] = blob("big", pool.max_bytes - 2 * ENTRY_BYTES)  # type: ignore[operator]
    assert (pool.history_here(stem), pool.newest_here([stem]), pool._numbers) == ([], [None], {})


# -- alone, and as a cache -----------------------------------------------------------------------------------


def test_as_a_cache_it_loses_nothing_and_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    cache, origin = bounded(5), laila.MemoryPool()
    laila.alpha_pool = laila.tiers(cache, origin)
    entries = [laila.constant(bytes([i]) * 900) for i in range(40)]
    with caplog.at_level(logging.WARNING, "laila.pool"):
        laila.memorize(entries).wait()
        assert len(cache.keys()) >= 5  # type: ignore[arg-type]
        assert laila.remember(entries).data == [entry.data for entry in entries]
        laila.remember(entries[-1]).wait()
    assert cache.evictions >= 65
    assert cache.hits >= 1
    assert not caplog.records
    laila.forget(entries).wait()
    assert cache.keys() == origin.keys() == []


def test_alone_it_says_what_it_loses(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(counters, "monotonic", lambda: now[0])
    pool = bounded(3, nickname="small")
    laila.alpha_pool = pool
    entries = [laila.constant(bytes(900)) for _ in range(10)]
    with caplog.at_level(logging.WARNING, "laila.pool"):
        for entry in entries:
            laila.memorize(entry).wait()
        (record,) = caplog.records  # once a minute, the first at once
        assert "pool small holds at most" in record.getMessage()
        assert "let go of 1 entries" in record.getMessage()
        now[0] += 61
        laila.memorize(laila.constant(bytes(900))).wait()
        assert f"let go of {pool.evictions - 1} entries" in caplog.records[1].getMessage()
    with pytest.raises(EntryNotFoundError):
        laila.remember(entries[0]).wait()


def test_what_is_larger_than_the_bound_is_refused_and_drives_nothing_out() -> None:
    pool = bounded(3, nickname="small")
    laila.alpha_pool = pool
    pool.store([blob(f"x{i}") for i in range(3)])
    large = laila.constant(bytes(10_000))
    error = laila.runtime.exception(laila.memorize(large))
    assert isinstance(error, PoolError)
    assert "pool 'small' takes at most" in str(error)
    with pytest.raises(PoolError):
        pool["k"] = bytes(10_000)
    assert (len(list(pool.keys())), pool.evictions) == (3, 0)
    most = pool.max_bytes - ENTRY_BYTES  # type: ignore[operator]
    exact = blob("exact", most - blob("exact", 1).nbytes - 62)
    while exact.nbytes < most:
        exact = blob("exact", exact.buffers[0].nbytes + 1 if exact.buffers else len(exact.tree))
    assert exact.nbytes == most
    pool["exact"] = exact
    assert pool.keys() == ["exact"]


def test_what_is_larger_than_a_cache_is_read_past_it(caplog: pytest.LogCaptureFixture) -> None:
    cache, origin = bounded(3), laila.MemoryPool()
    laila.alpha_pool = laila.tiers(cache, origin)
    large = laila.constant(bytes(10_000))
    with caplog.at_level(logging.WARNING, "laila.pool"):
        laila.memorize(large).wait()
        assert laila.remember(large).data == large.data
    assert (cache.keys(), cache.failures, cache.fills, caplog.records) == ([], 0, 0, [])


def test_a_bounded_tier_counts_what_it_really_holds() -> None:
    """Transformed blobs count as they are, not as they were."""
    cache = laila.MemoryPool(max_bytes=100 * KIB, transformations=["zlib"])
    cache["k"] = encode(bytes(1 << 20), key="k")
    assert "k" in cache
    assert decode(cache["k"]) == bytes(1 << 20)
    assert cache.nbytes < 20 * KIB


# -- how it is asked for -------------------------------------------------------------------------------------


def test_options_urls_and_the_environment() -> None:
    pool = laila.memory.extend("memory://cache?max_bytes=100000")
    assert isinstance(pool, laila.MemoryPool)
    assert (pool.max_bytes, pool.nickname) == (100_000, "cache")
    assert laila.MemoryPool.from_url("memory://?max_bytes=5000").max_bytes == 5000
    assert laila.MemoryPool.from_url("memory://?max_bytes=5000", max_bytes=6000).max_bytes == 6000
    assert laila.MemoryPool.from_url("memory:").max_bytes is None
    assert laila.Pool(max_bytes=5000).max_bytes == 5000  # type: ignore[abstract, call-arg, attr-defined]
    assert laila.memory.extend("memory://b", max_bytes=7000).options()["max_bytes"] == 7000
    with laila.DefaultPolicy.from_environment(laila.environment) as again:
        rebuilt = again.central.memory.router.nicknames["cache"]
        assert isinstance(rebuilt, laila.MemoryPool)
        assert rebuilt.max_bytes == 100_000


@pytest.mark.parametrize("wrong", [0, -1, 1024, 1.5, "64", True])
def test_a_bound_that_cannot_be(wrong: Any) -> None:
    with pytest.raises(SettingsError, match="max_bytes="):
        laila.MemoryPool(max_bytes=wrong)


@pytest.mark.parametrize(
    "query", ["max_bytes=", "max_bytes=64MiB", "max_bytes=-5", "limit=5000", "max_bytes=5000#x"]
)
def test_a_url_that_cannot_be(query: str) -> None:
    with pytest.raises(SettingsError):
        laila.MemoryPool.from_url(f"memory://?{query}")


# -- threads, forks, the end ---------------------------------------------------------------------------------


def test_many_threads_keep_the_bound_and_the_index() -> None:
    pool = bounded(20)
    pool.proxy_to = laila.MemoryPool()
    stems = [laila.variable(0).global_id.rpartition("-")[0] for _ in range(5)]
    keys = [f"{stem}-{n}" for stem in stems for n in range(10)]
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        chance = random.Random(seed)
        try:
            for _ in range(800):
                key = chance.choice(keys)
                step = chance.random()
                if step < 0.4:
                    pool._write(key, blob(key, chance.randrange(2000)))
                elif step < 0.6:
                    pool._create(key, blob(key))
                elif step < 0.9:
                    found = pool._read(key)
                    assert found is None or found.key == key
                else:
                    pool._delete(key)
        except BaseException as error:  # noqa: BLE001 - raised in the main thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]
    assert pool.nbytes == sum(weight(pool[key]) for key in pool) <= pool.max_bytes  # type: ignore[operator]
    there = set(pool.keys())
    for stem in stems:
        assert pool.history_here(stem) == sorted(
            int(k.rpartition("-")[2]) for k in there if k.startswith(stem)
        )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_fork_in_the_middle_of_a_write() -> None:
    pool = bounded(3)
    pool["x0"] = blob("x0")
    held = pool._bounded
    assert held is not None
    inside, done = threading.Event(), threading.Event()

    def count() -> None:
        with mutex:
            inside.set()
            done.wait(60)

    other = threading.Thread(target=count)
    other.start()
    inside.wait(60)
    nbytes, held.nbytes = held.nbytes, 10**9  # the other thread is about to count what it has filed
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(10)  # a hang ends the child with a signal
        pool["x1"] = blob("x1")
        os._exit(0 if sorted(pool.keys()) == ["x0", "x1"] and pool.nbytes == 2 * weight(blob("x0")) else 3)
    done.set()
    other.join()
    held.nbytes = nbytes
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_pool_that_is_dropped_gives_its_memory_back_at_once() -> None:
    gc.disable()
    try:
        pool = bounded(3)
        pool["x0"] = blob("x0")
        ended = weakref.ref(pool)
        del pool
        assert ended() is None
    finally:
        gc.enable()


def test_the_snapshot_that_is_held_is_nobody_elses() -> None:
    pool = bounded(5)
    laila.alpha_pool = pool
    array = np.arange(10.0)
    entry = laila.constant(array)
    laila.memorize(entry).wait()
    array[0] = 99
    assert laila.remember(entry).data[0] == 0
    assert to_blob(entry).digest != pool[entry.global_id].digest
