"""Chains of pools: read caches, one store of several tiers, and what goes wrong in the middle of them."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest

import laila
from laila.codec import decode, encode
from laila.contract import Blob
from laila.errors import CorruptEntryError, EntryNotFoundError, PoolClosedError, SettingsError
from laila.tiering import counters, single_flight
from laila.tiering.single_flight import Flight

pytestmark = pytest.mark.usefixtures("policy")


class Tier(laila.MemoryPool):
    """A memory pool that counts reads, can be made to fail, and can be held up."""

    def __init__(self, nickname: str | None = None, transformations: Sequence[Any] = ()) -> None:
        super().__init__(nickname=nickname, transformations=transformations)
        self.reads: Counter[str] = Counter()
        self.down: set[str] = set()
        self.on_read: Callable[[], None] = lambda: None
        self.on_write: Callable[[], None] = lambda: None

    def _check(self, verb: str) -> None:
        if verb in self.down:
            raise ConnectionError(f"{self.nickname} is down for {verb}")

    def _read_many(self, keys: Sequence[str]) -> Sequence[Blob | None]:
        self._check("read")
        self.reads.update(keys)
        found = super()._read_many(keys)
        self.on_read()
        return found

    def _write_many(self, items: Any) -> None:
        self._check("write")
        self.on_write()
        super()._write_many(items)

    def _create_many(self, items: Any) -> Sequence[bool]:
        self._check("write")
        self.on_write()
        return super()._create_many(items)

    def _delete_many(self, keys: Sequence[str]) -> Sequence[bool | None]:
        self._check("delete")
        return super()._delete_many(keys)

    def _evolutions(self, stem: str) -> list[int]:
        self._check("list")
        return super()._evolutions(stem)

    def _newest(self, stem: str) -> str | None:
        self._check("list")
        return super()._newest(stem)


def chain(*names: str, through: bool = False) -> list[Tier]:
    made = [Tier(nickname=name) for name in names]
    if through:
        laila.tiers(*made)
    else:
        for cache, origin in pairwise(made):
            cache << origin
        laila.memory.extend(made[0])
    laila.memory.alpha_pool = made[0]
    return made


def holders(entry: laila.Entry, *pools: laila.Pool) -> str:
    return "".join("x" if entry.global_id in pool else "-" for pool in pools)


# -- linking -------------------------------------------------------------------------------------------------


def test_four_ways_to_link() -> None:
    for link in (
        lambda c, o: c << o,
        lambda c, o: o >> c,
        lambda c, o: setattr(c, "proxy_to", o),
        lambda c, o: setattr(o, "proxy", c),
    ):
        cache, origin = Tier("c"), Tier("o")
        link(cache, origin)
        assert cache.proxy_to is origin
        assert origin.proxy_to is None
    a, b, c = Tier("a"), Tier("b"), Tier("c")
    assert (a << b << c) is c
    assert a.chain() == [a, b, c]
    d, e, f = Tier("d"), Tier("e"), Tier("f")
    assert (d >> e >> f) is f
    assert f.chain() == [f, e, d]
    f.proxy_to = None
    assert f.chain() == [f]
    with pytest.raises(AttributeError):
        _ = f.proxy


def test_a_cycle_is_refused_and_changes_nothing() -> None:
    a, b, c = chain("a", "b", "c")
    for wrong in (
        lambda: c << a,
        lambda: a << a,
        lambda: a >> c,
        lambda: setattr(b, "proxy_to", a),
        lambda: setattr(a, "proxy", b),
    ):
        with pytest.raises(ValueError, match="cycle"):
            wrong()
    assert a.chain() == [a, b, c]
    for other in (None, 3, "memory://"):
        with pytest.raises(TypeError):
            _ = a << other  # type: ignore[operator]
    with pytest.raises(TypeError):
        a.proxy = 3
    with pytest.raises(TypeError):
        a.proxy_to = 3  # type: ignore[assignment]


def test_tiers_links_registers_and_returns_the_first() -> None:
    a, b, c = Tier("a"), Tier("b"), Tier("c")
    assert laila.tiers(a, b, c, pool_nickname="data", affinity=3) is a
    assert a.chain() == [a, b, c]
    assert (a.write_through, b.write_through) == (True, False)
    assert laila.memory.router.route(pool_nickname="data") is a
    assert laila.memory.router.route(affinity=2) is a
    from_urls = laila.tiers("memory://one", "memory://two")
    assert [tier.nickname for tier in from_urls.chain()] == ["one", "two"]
    assert laila.tiers(Tier("alone")).chain()[0].nickname == "alone"


@pytest.mark.usefixtures("uninstalled")
def test_tiers_that_cannot_be_leaves_everything_as_it_was() -> None:
    a, b = Tier("a"), Tier("b")
    laila.tiers(Tier("x"), Tier("y"), pool_nickname="taken")
    cases: list[tuple[Callable[[], Any], type[Exception]]] = [
        (lambda: laila.tiers(), ValueError),
        (lambda: laila.tiers(a, a), ValueError),
        (lambda: laila.tiers(a, 3), TypeError),  # type: ignore[arg-type]
        (lambda: laila.tiers(a, b, pool_nickname="taken"), ValueError),
        (lambda: laila.tiers(a, "nonsense"), ValueError),
        (lambda: laila.tiers(a, "s3://bucket"), ImportError),
    ]
    for wrong, error in cases:
        with pytest.raises(error):
            wrong()
        assert (a.proxy_to, a.write_through, b.proxy_to) == (None, False, None)


# -- a read cache --------------------------------------------------------------------------------------------


def test_a_read_cache_writes_where_it_is_routed_and_fills_on_the_way_back() -> None:
    a, b, c = chain("a", "b", "c")
    here = laila.constant("here")
    laila.memorize(here).wait()
    assert holders(here, a, b, c) == "x--"
    far = laila.constant("far")
    laila.memory.extend(c)
    laila.memorize(far, pool_nickname="c").wait()
    assert laila.remember(far).data == "far"
    assert holders(far, a, b, c) == "xxx"
    assert laila.remember(far).data == "far"
    assert c.reads[far.global_id] == 1
    laila.forget(far).wait()
    assert holders(far, a, b, c) == "-xx"
    with pytest.raises(EntryNotFoundError):
        laila.forget(here, pool_nickname="c").wait()
    with pytest.raises(EntryNotFoundError, match="a << b << c"):
        laila.remember(laila.constant(1)).wait()


def test_the_mapping_side_touches_one_pool_but_falls_through() -> None:
    a, b = chain("a", "b")
    b["k"] = b"value"
    assert "k" not in a
    assert list(a.keys()) == []
    assert decode(a["k"]) == b"value"
    assert "k" in a
    del a["k"]
    assert "k" in b
    a.empty()
    a["only"] = b"here"
    assert "only" not in b
    with pytest.raises(EntryNotFoundError):
        a["nowhere"]


def test_evolutions_of_a_read_cache_are_those_of_the_chain() -> None:
    _, b = chain("a", "b")
    laila.memory.extend(b)
    v = laila.variable(0)
    stem = v.global_id.rpartition("-")[0]
    laila.memorize(v, pool_nickname="b").wait()
    laila.memorize(v.evolve(data=1), pool_nickname="a").wait()
    assert laila.history(v) == [0, 1]
    assert laila.remember(stem).data == 1
    laila.memorize(v.evolve(data=2), pool_nickname="b").wait()
    assert laila.remember(stem).data == 2
    laila.forget(stem).wait()
    assert laila.history(v) == [0, 2]


# -- one store -----------------------------------------------------------------------------------------------


def test_one_store_writes_the_last_first_and_fills() -> None:
    a, b, c = chain("a", "b", "c", through=True)
    order: list[str] = []
    for tier in (a, b, c):
        tier.on_write = lambda tier=tier: order.append(tier.nickname or "")  # type: ignore[misc]
    entry = laila.constant(1)
    laila.memorize(entry).wait()
    assert order == ["c", "b", "a"]
    assert holders(entry, a, b, c) == "xxx"
    a.empty()
    assert laila.remember(entry).data == 1
    assert holders(entry, a, b, c) == "xxx"
    laila.forget(entry).wait()
    assert holders(entry, a, b, c) == "---"
    with pytest.raises(EntryNotFoundError):
        laila.forget(entry).wait()


def test_the_last_tier_decides_conflicts() -> None:
    a, b = chain("a", "b", through=True)
    entry = laila.constant("first")
    laila.memorize(entry).wait()
    a.empty()
    with pytest.raises(RuntimeError):
        laila.memorize(laila.constant("second", uuid=entry.uuid)).wait()
    assert holders(entry, a, b) == "-x"
    laila.memorize(laila.constant("third", uuid=entry.uuid), overwrite=True).wait()
    assert laila.remember(entry).data == "third"
    assert decode(a[entry.global_id]) == decode(b[entry.global_id]) == "third"
    b.store([encode("fourth", key=entry.global_id)], replace=True)  # another process
    laila.memorize(laila.constant("fourth", uuid=entry.uuid)).wait()  # the same there: heals the cache
    assert laila.remember(entry).data == "fourth"


def test_the_newest_evolution_is_the_last_tiers() -> None:
    a, b = chain("a", "b", through=True)
    v = laila.variable(0)
    for i in range(3):
        laila.memorize(v).wait()
        v.evolve(data=i + 1)
    stem = v.global_id.rpartition("-")[0]
    b.delete_here([f"{stem}-2"])  # another process deleted it
    assert laila.history(v) == [0, 1]
    assert laila.remember(stem).data == 1
    laila.forget(stem).wait()
    assert list(a.keys()) == list(b.keys()) == []


def test_counters_are_exact() -> None:
    a, b = chain("a", "b", through=True)
    entries = [laila.constant(i) for i in range(30)]
    laila.memorize(entries).wait()
    assert (a.hits, a.misses, b.hits, b.misses) == (0, 0, 0, 0)
    a.delete_here([entry.global_id for entry in entries[:10]])
    laila.remember(entries).wait()
    assert (a.hits, a.misses, b.hits, b.misses) == (20, 10, 10, 0)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda entry: laila.remember(entry).wait(), entries * 10))
    assert (a.hits, a.misses, b.hits, b.misses) == (320, 10, 10, 0)
    laila.remember("LAILA:ENTRY:GLOBAL_ID:" + laila.constant(0).uuid, missing_ok=True).wait()
    assert (a.misses, b.misses) == (11, 1)


# -- what goes wrong -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("through", [False, True])
def test_a_failing_cache_never_fails_a_read(through: bool, caplog: pytest.LogCaptureFixture) -> None:
    a, b, c = chain("a", "b", "c", through=through)
    entry = laila.constant("x")
    v = laila.variable("y")
    c.store([laila.entry.to_blob(entry), laila.entry.to_blob(v)])
    with caplog.at_level(logging.WARNING, "laila.pool"):
        a.down = {"read", "write", "list"}
        b.down = {"write", "list"}
        assert laila.remember(entry).data == "x"
        assert laila.remember(v.global_id.rpartition("-")[0]).data == "y"
        assert laila.history(v) == [0]
    assert "cache tier a could not read" in caplog.text
    assert "cache tier b could not fill" in caplog.text
    a.down = b.down = set()
    assert laila.remember(entry).data == "x"
    assert holders(entry, a, b, c) == "xxx"


def test_a_failing_cache_is_reported_once_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(counters, "monotonic", lambda: now[0])
    a, b = chain("a", "b")
    entry = laila.constant("x")
    b.store([laila.entry.to_blob(entry)])
    a.down = {"read", "write"}
    with caplog.at_level(logging.WARNING, "laila.pool"):
        for _ in range(100):
            assert laila.remember(entry).data == "x"
        assert [record.getMessage() for record in caplog.records] == [
            "cache tier a could not read 1 item(s) and was skipped: a is down for read"
        ]
        now[0] += 61
        laila.remember(entry).wait()
        assert "could not read 200 item(s)" in caplog.records[1].getMessage()
    assert (a.failures, a.fills, a.hits, a.misses) == (202, 0, 0, 101)


def test_a_closed_cache_is_skipped_like_one_that_is_down() -> None:
    a, b, c = chain("a", "b", "c", through=True)
    entry, later = laila.constant("x"), laila.constant("y")
    laila.memorize(entry).wait()
    b.close()
    assert laila.remember(entry).data == "x"
    laila.memorize(later).wait()
    assert [holders(one, a, c) for one in (entry, later)] == ["xx", "xx"]
    a.empty()
    assert laila.remember([entry, later]).data == ["x", "y"]
    assert holders(entry, a, c) == "xx"
    c.close()
    a.empty()
    with pytest.raises(PoolClosedError):
        laila.remember(entry).wait()


def test_a_failing_cache_does_not_fail_a_write_either() -> None:
    a, b = chain("a", "b", through=True)
    a.down = {"write"}
    entry = laila.constant("x")
    assert laila.memorize(entry).result == entry.global_id
    assert holders(entry, a, b) == "-x"


def test_a_failing_origin_fails_and_the_cache_is_not_asked_to_lie() -> None:
    a, b = chain("a", "b", through=True)
    entry = laila.constant("x")
    b.down = {"write"}
    with pytest.raises(ConnectionError):
        laila.memorize(entry).wait()
    assert holders(entry, a, b) == "--"
    b.down = {"read"}
    with pytest.raises(ConnectionError, match="b is down"):
        laila.remember(entry).wait()
    b.down = {"list"}
    with pytest.raises(ConnectionError):
        laila.history(laila.variable(1))
    b.down = set()
    laila.memorize(entry).wait()
    b.down = {"delete"}
    with pytest.raises(ConnectionError):
        laila.forget(entry).wait()
    assert holders(entry, a, b) == "xx"
    b.down = set()
    a.down = {"delete"}
    with pytest.raises(ConnectionError, match="a is down"):  # it may still have it: that must not pass unsaid
        laila.forget(entry).wait()
    a.down = set()
    laila.forget(entry).wait()
    assert holders(entry, a, b) == "--"


def test_a_cache_that_cannot_take_what_replaces_its_copy_gives_the_copy_up() -> None:
    a, b = chain("a", "b", through=True)
    entry = laila.constant("old")
    laila.memorize(entry).wait()
    a.down = {"write"}
    new = laila.constant("new", uuid=entry.uuid)
    laila.memorize(new, overwrite=True).wait()
    assert laila.remember(entry).data == "new"
    assert holders(entry, a, b) == "-x"
    a.down = set()
    assert laila.remember(entry).data == "new"
    a.down = {"write", "delete"}
    with pytest.raises(ConnectionError):
        laila.memorize(laila.constant("newer", uuid=entry.uuid), overwrite=True).wait()


def test_a_cache_that_keeps_what_was_replaced_does_not_keep_the_others_from_learning_of_it() -> None:
    a, b, c = chain("a", "b", "c", through=True)
    entry = laila.constant("old")
    laila.memorize(entry).wait()
    b.down = {"write", "delete"}
    with pytest.raises(ConnectionError, match="b is down for delete"):
        laila.memorize(laila.constant("new", uuid=entry.uuid), overwrite=True).wait()
    assert [decode(tier[entry.global_id]) for tier in (a, b, c)] == ["new", "old", "new"]
    assert laila.remember(entry).data == "new"


class Bytes(Tier):
    """Keeps bytes, so that they can be damaged."""

    def _read_many(self, keys: Sequence[str]) -> Any:
        self.reads.update(keys)
        return [None if (blob := self._blobs.get(key)) is None else bytes(blob) for key in keys]

    def damage(self, key: str) -> None:
        class Damaged:
            def __bytes__(self) -> bytes:
                return b"\x93LAILA\r\nnonsense"

        self._blobs[key] = Damaged()  # type: ignore[assignment]


def test_a_damaged_copy_is_repaired_from_the_next_tier(caplog: pytest.LogCaptureFixture) -> None:
    a, b = Bytes("a"), Bytes("b")
    laila.tiers(a, b)
    laila.memory.alpha_pool = a
    entry, other = laila.constant("whole"), laila.constant(2)
    laila.memorize([entry, other]).wait()
    a.damage(entry.global_id)
    with caplog.at_level(logging.WARNING, "laila.pool"):
        assert laila.remember([entry, other]).data == ["whole", 2]
    assert "damaged" in caplog.text
    b.reads.clear()
    assert laila.remember(entry).data == "whole"
    assert not b.reads
    a.damage(entry.global_id)
    b.damage(entry.global_id)
    group = laila.remember([entry, other])
    assert isinstance(laila.runtime.exception(group[0]), CorruptEntryError)
    assert group[1].data == 2


def test_a_damaged_copy_without_another_is_missing_or_damaged_never_wrong() -> None:
    a, b = Bytes("a"), Bytes("b")
    laila.tiers(a, b)
    laila.memory.alpha_pool = a
    entry = laila.constant("whole")
    laila.memorize(entry).wait()
    a.damage(entry.global_id)
    b.empty()
    with pytest.raises(EntryNotFoundError):
        laila.remember(entry).wait()


def test_an_encrypted_tier_never_holds_a_plain_blob() -> None:
    pytest.importorskip("cryptography")
    from laila.transform import AesGcm

    plain, locked, origin = (
        Tier("p"),
        Tier("l", transformations=[AesGcm(key=b"k" * 32)]),
        Tier("o", transformations=["zlib"]),
    )
    laila.tiers(plain, locked, origin)
    laila.memory.alpha_pool = plain
    entry = laila.constant("needle" * 30)
    laila.memorize(entry).wait()

    def steps() -> list[list[str]]:
        return [
            [name for name, _ in tier._blobs[entry.global_id].transformations]
            for tier in (plain, locked, origin)
        ]

    assert steps() == [[], ["aes-gcm"], ["zlib"]]
    for emptied in ((plain,), (locked,), (plain, locked)):
        for tier in emptied:
            tier.empty()
        assert laila.remember(entry).data == entry.data
        if locked in emptied and plain not in emptied:
            continue
        assert steps() == [[], ["aes-gcm"], ["zlib"]]


# -- many threads --------------------------------------------------------------------------------------------


def run_threads(count: int, work: Callable[[int], None]) -> None:
    errors: list[BaseException] = []

    def guarded(i: int) -> None:
        try:
            work(i)
        except BaseException as error:  # noqa: BLE001 - raised in the main thread
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]


def test_eighty_threads_that_miss_one_key_read_the_origin_once() -> None:
    a, b = chain("a", "b")
    entry = laila.constant(["cold"])
    b.store([laila.entry.to_blob(entry)])
    gate = threading.Barrier(80)
    b.on_read = lambda: time.sleep(0.2)
    found: list[Any] = [None] * 80

    def miss(i: int) -> None:
        gate.wait()
        found[i] = laila.remember(entry).data

    run_threads(80, miss)
    assert b.reads[entry.global_id] == 1
    assert found == [["cold"]] * 80
    assert len({id(one) for one in found}) == 80  # each has its own
    assert (b.hits, b.misses, a.hits + a.misses) == (1, 0, 80)


def test_threads_with_overlapping_batches_do_not_wait_for_each_other() -> None:
    _, b = chain("a", "b")
    entries = [laila.constant(i) for i in range(40)]
    b.store([laila.entry.to_blob(entry) for entry in entries])

    def both(i: int) -> None:
        part = entries[i % 7 :: 2] if i % 2 else entries[::-1][i % 5 :]
        assert laila.remember(part).data == [entry.data for entry in part]

    run_threads(16, both)
    # A thread that missed a key just before its flight landed fetches it again; sixteen threads do not.
    assert max(b.reads.values()) <= 3


def test_an_origin_that_fails_under_many_threads_hangs_nobody() -> None:
    _, b = chain("a", "b")
    entry = laila.constant(1)
    b.down = {"read"}
    failed: list[BaseException | None] = [None] * 20

    def miss(i: int) -> None:
        failed[i] = laila.runtime.exception(laila.remember(entry))

    run_threads(20, miss)
    assert {type(error) for error in failed} == {ConnectionError}
    b.down = set()
    b.store([laila.entry.to_blob(entry)])
    assert laila.remember(entry).data == 1


def test_a_slow_origin_that_fails_is_asked_once_and_all_are_told() -> None:
    a, b = chain("a", "b")
    entry, other = laila.constant(1), laila.constant(2)
    b.store([laila.entry.to_blob(entry), laila.entry.to_blob(other)])
    gate, asked = threading.Barrier(80), []

    def fail() -> None:
        asked.append(1)
        time.sleep(0.5)
        raise ConnectionError("the line is cut")

    b.on_read = fail
    failed: list[list[BaseException]] = [[] for _ in range(80)]

    def miss(i: int) -> None:
        gate.wait()
        failed[i] = laila.remember([entry, other]).exceptions

    run_threads(80, miss)
    assert {str(error) for errors in failed for error in errors} == {"the line is cut"}
    assert {len(errors) for errors in failed} == {2}
    assert len(asked) < 20  # who comes when all is over asks again
    b.on_read = lambda: None
    assert laila.remember([entry, other]).data == [1, 2]
    assert holders(entry, a, b) == "xx"


def test_three_tiers_asked_at_every_height_for_the_same_keys_wait_for_nobody_in_a_circle() -> None:
    a, b, c = chain("a", "b", "c")
    entries = [laila.constant(i) for i in range(30)]
    keys = [entry.global_id for entry in entries]
    c.store([laila.entry.to_blob(entry) for entry in entries])
    for tier in (b, c):
        tier.on_read = lambda: time.sleep(0.001)

    def ask(i: int) -> None:
        for step in range(12):
            tier = (a, b, a, b, c)[(i + step) % 5]
            part = (keys[::-1] if i % 2 else keys)[(i * 3 + step) % 11 :: 1 + step % 3]
            if step % 4 == 3:
                tier.delete_here(part[:5]) if tier is not c else None
            found = tier.load(part, refresh=step % 6 == 5)
            assert [one.key for one in found if isinstance(one, Blob)] == part

    run_threads(12, ask)
    assert not any(tier._flights._under_way or tier._flights._renewals for tier in (a, b, c))


def test_a_batch_of_which_the_owner_of_a_part_is_interrupted_is_read_whole() -> None:
    a, b = chain("a", "b")
    entries = [laila.constant(i) for i in range(6)]
    keys = [entry.global_id for entry in entries]
    b.store([laila.entry.to_blob(entry) for entry in entries])
    entered, go = threading.Event(), threading.Event()

    def interrupt() -> None:
        b.on_read = lambda: None
        entered.set()
        assert go.wait(150)
        raise KeyboardInterrupt

    b.on_read = interrupt
    interrupted: list[BaseException] = []

    def owner() -> None:
        try:
            a.load(keys[:4])
        except KeyboardInterrupt as error:
            interrupted.append(error)

    one = threading.Thread(target=owner)
    one.start()
    assert entered.wait(150)
    given: list[Any] = []
    two = threading.Thread(target=lambda: given.extend(laila.remember(entries[2:]).data))
    two.start()
    while keys[5] not in a:  # the second thread has fetched its own, and waits for the others
        time.sleep(0.001)
    go.set()
    one.join(150)
    two.join(150)
    assert len(interrupted) == 1
    assert given == [2, 3, 4, 5]
    assert b.reads == Counter(dict.fromkeys(keys[:4], 1)) + Counter(keys[2:])


def test_an_interrupt_at_the_very_beginning_of_a_fetch_leaves_nothing_to_wait_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a, b = chain("a", "b")
    entries = [laila.constant(i) for i in range(3)]
    b.store([laila.entry.to_blob(entry) for entry in entries])
    made: list[Flight] = []

    def interrupted() -> Flight:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(Flight())
        return made[-1]

    with monkeypatch.context() as patch:
        patch.setattr(single_flight, "Flight", interrupted)
        with pytest.raises(KeyboardInterrupt):
            a.load([entry.global_id for entry in entries])
    assert len(made) == 2
    assert all(flight.done.is_set() for flight in made)
    assert laila.remember(entries).data == [0, 1, 2]


def test_an_interrupted_fetch_is_not_the_outcome_of_others() -> None:
    _, b = chain("a", "b")
    entry = laila.constant(1)
    b.store([laila.entry.to_blob(entry)])
    entered, go = threading.Event(), threading.Event()
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            entered.set()
            go.wait(150)
            raise KeyboardInterrupt

    b.on_read = interrupt
    first: list[BaseException] = []

    def owner() -> None:
        try:
            laila.memory.alpha_pool.load([entry.global_id])
        except KeyboardInterrupt as error:
            first.append(error)

    one = threading.Thread(target=owner)
    one.start()
    entered.wait(150)
    second: list[Any] = []
    two = threading.Thread(target=lambda: second.append(laila.remember(entry).data))
    two.start()
    threading.Event().wait(0.1)
    go.set()
    one.join(150)
    two.join(150)
    assert len(first) == 1
    assert second == [1]


def test_a_forget_during_a_fill_leaves_nothing_behind() -> None:
    a, b = chain("a", "b", through=True)
    entry = laila.constant(1)
    laila.memorize(entry).wait()
    a.empty()
    fetched, go = threading.Event(), threading.Event()

    def hold() -> None:
        fetched.set()
        go.wait(150)

    b.on_read = hold
    reader = threading.Thread(target=lambda: laila.runtime.exception(laila.remember(entry)))
    reader.start()
    fetched.wait(150)
    laila.forget(entry).wait()
    go.set()
    reader.join(150)
    assert holders(entry, a, b) == "--"
    b.on_read = lambda: None
    with pytest.raises(EntryNotFoundError):
        laila.remember(entry).wait()


def test_an_overwrite_during_a_fill_wins() -> None:
    a, b = chain("a", "b", through=True)
    entry = laila.constant("old")
    laila.memorize(entry).wait()
    a.empty()
    fetched, go = threading.Event(), threading.Event()

    def hold() -> None:
        fetched.set()
        go.wait(150)

    b.on_read = hold
    reader = threading.Thread(target=lambda: laila.runtime.exception(laila.remember(entry)))
    reader.start()
    fetched.wait(150)
    laila.memorize(laila.constant("new", uuid=entry.uuid), overwrite=True).wait()
    go.set()
    reader.join(150)
    b.on_read = lambda: None
    assert laila.remember(entry).data == "new"
    assert decode(a[entry.global_id]) == "new"


def test_readers_writers_and_forgetters_agree_in_the_end() -> None:
    a, b, c = chain("a", "b", "c", through=True)
    entries = [laila.constant(i) for i in range(8)]

    def work(i: int) -> None:
        for step in range(60):
            entry = entries[(i * 7 + step) % 8]
            if step % 3 == 0:
                laila.memorize(entry).wait()
            elif step % 3 == 1:
                found = laila.remember(entry, missing_ok=True).result
                assert found is None or found.data == entry.data
            else:
                laila.forget(entry, missing_ok=True).wait()

    run_threads(8, work)
    for entry in entries:
        last = entry.global_id in c
        for cache in (a, b):
            assert last or entry.global_id not in cache


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_fork_while_a_fetch_is_under_way_does_not_hang_the_child() -> None:
    a, b = chain("a", "b")
    entry = laila.constant(1)
    b.store([laila.entry.to_blob(entry)])
    fetched, go = threading.Event(), threading.Event()

    def hold() -> None:
        fetched.set()
        go.wait(150)

    b.on_read = hold
    reader = threading.Thread(target=lambda: a.load([entry.global_id]))
    reader.start()
    fetched.wait(150)
    pid = os.fork()
    if pid == 0:
        import signal

        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(10)  # a hang ends the child with a signal
        b.on_read = lambda: None
        blob = a.load([entry.global_id])[0]
        os._exit(0 if isinstance(blob, Blob) and decode(blob) == 1 else 3)
    _, status = os.waitpid(pid, 0)
    go.set()
    reader.join(150)
    assert os.waitstatus_to_exitcode(status) == 0


def test_write_through_can_be_asked_of_a_pool() -> None:
    cache, origin = laila.MemoryPool(write="through"), laila.MemoryPool()
    cache << origin
    laila.memory.alpha_pool = cache
    entry = laila.constant(1)
    laila.memorize(entry).wait()
    assert holders(entry, cache, origin) == "xx"
    with pytest.raises(SettingsError):
        laila.MemoryPool(write="behind")  # type: ignore[arg-type]
