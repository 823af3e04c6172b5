"""``refresh=True``: past the caches to the last tier, whose content the caches then have."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest

import laila
from laila.codec import decode, encode
from laila.contract import Blob
from laila.entry import to_blob
from laila.errors import CorruptEntryError, EntryNotFoundError

pytestmark = pytest.mark.usefixtures("policy")


class Tier(laila.MemoryPool):
    """Counts what is read, can be made to fail, and stops where it is told to."""

    def __init__(self, nickname: str | None = None, **options: Any) -> None:
        super().__init__(nickname=nickname, **options)
        self.reads: Counter[str] = Counter()
        self.down: set[str] = set()
        self.after_read: Callable[[], None] = lambda: None

    def _check(self, verb: str) -> None:
        if verb in self.down:
            raise ConnectionError(f"{self.nickname} is down for {verb}")

    def _read_many(self, keys: Sequence[str]) -> Sequence[Blob | None]:
        self._check("read")
        self.reads.update(keys)
        found = super()._read_many(keys)
        self.after_read()
        return found

    def _write_many(self, items: Any) -> None:
        self._check("write")
        super()._write_many(items)

    def _delete_many(self, keys: Sequence[str]) -> Sequence[bool | None]:
        self._check("delete")
        return super()._delete_many(keys)

    def rewrite(self, entry: laila.Entry, payload: object) -> None:
        """What another process does to this tier."""
        self.store_here([encode(payload, key=entry.global_id, nickname=entry.nickname)], replace=True)


def one_store(*tiers: Tier) -> Sequence[Tier]:
    laila.alpha_pool = laila.tiers(*tiers)
    return tiers


def read_cache(*tiers: Tier) -> Sequence[Tier]:
    for cache, origin in pairwise(tiers):
        cache << origin
    laila.alpha_pool = tiers[0]
    return tiers


@pytest.fixture(params=[one_store, read_cache], ids=["one-store", "read-cache"])
def chain(request: pytest.FixtureRequest) -> Sequence[Tier]:
    made: Sequence[Tier] = request.param(Tier("a"), Tier("b"), Tier("c"))
    return made


def stored(tier: laila.Pool, entry: laila.Entry) -> Any:
    blob = tier.load_here([entry.global_id])[0]
    assert not isinstance(blob, BaseException)
    return None if blob is None else decode(blob)


# -- what it gives -------------------------------------------------------------------------------------------


def test_what_was_rewritten_behind_the_caches_is_seen_by_refresh_and_from_then_on(
    chain: Sequence[Tier],
) -> None:
    a, b, c = chain
    entry = laila.constant("old", nickname="entry")
    c.store([to_blob(entry)])
    assert laila.remember(entry).data == "old"
    c.rewrite(entry, "new")
    assert laila.remember(entry).data == "old"
    counted = (a.hits, a.misses, b.hits, b.misses, c.hits)
    assert laila.remember(entry, refresh=True).data == "new"
    assert (a.hits, a.misses, b.hits, b.misses, c.hits) == (*counted[:4], counted[4] + 1)
    assert [stored(tier, entry) for tier in chain] == ["new"] * 3
    c.reads.clear()
    assert laila.remember(entry).data == "new"
    assert not c.reads


def test_every_way_to_remember_takes_it(chain: Sequence[Tier], policy: laila.DefaultPolicy) -> None:
    *caches, c = chain
    entry = laila.constant(0, nickname="entry")
    ways: list[Callable[[], Any]] = [
        lambda: laila.remember([entry, entry], refresh=True).data[1],
        lambda: laila.remember(nickname="entry", refresh=True).data,
        lambda: laila.remember(nickname=["entry"], refresh=True).data[0],
        lambda: laila.remember(nickname="entry", scope="ENTRY", refresh=True).data,
        lambda: laila.memory.remember(entry, refresh=True).data,
        lambda: policy.remember(entry.global_id, refresh=True).data,  # type: ignore[union-attr]
        lambda: laila.Manifest({"x": entry.global_id}).resolve(refresh=True)["x"].data,
        lambda: laila.Manifest({"x": entry.global_id}).remember(refresh=True).data[0],
        lambda: decode(laila.alpha_pool.load([entry.global_id], refresh=True)[0]),  # type: ignore[arg-type]
    ]
    for number, way in enumerate(ways):
        for cache in caches:
            cache.empty()
        c.rewrite(entry, number)
        laila.remember(entry).wait()
        c.rewrite(entry, number + 0.5)
        assert laila.remember(entry).data == number
        assert way() == number + 0.5


def test_evolutions_that_were_forgotten_and_written_anew(chain: Sequence[Tier]) -> None:
    a, b, c = chain
    v = laila.variable("old 0")
    stem = v.global_id.rpartition("-")[0]
    c.store([encode(f"old {n}", key=f"{stem}-{n}") for n in range(3)])
    assert laila.remember(stem).data == "old 2"
    c.delete([f"{stem}-{n}" for n in range(3)])  # another process begins anew, under the same numbers
    c.store([encode(f"new {n}", key=f"{stem}-{n}") for n in range(2)])
    assert laila.remember(stem, refresh=True).data == "new 1"
    assert laila.remember(f"{stem}-1").data == "new 1"
    with pytest.raises(EntryNotFoundError):
        laila.remember(f"{stem}-2", refresh=True).wait()
    b.empty()
    a.empty()
    assert laila.remember(stem).data == "new 1"


def test_a_cache_never_hides_a_newer_evolution(chain: Sequence[Tier]) -> None:
    c = chain[-1]
    v = laila.variable(0)
    stem = v.global_id.rpartition("-")[0]
    for number in range(5):
        c.store([to_blob(v)])
        assert laila.remember(stem).data == number
        v.evolve(data=number + 1)


def test_what_the_origin_forgot_leaves_the_caches_of_one_store() -> None:
    a, b, c = one_store(Tier("a"), Tier("b"), Tier("c"))
    entry, other = laila.constant("x"), laila.constant("y")
    laila.memorize([entry, other]).wait()
    c.delete_here([entry.global_id])  # another process
    assert laila.remember(entry).data == "x"
    with pytest.raises(EntryNotFoundError, match="in pool 'c'"):
        laila.remember(entry, refresh=True).wait()
    assert [stored(tier, entry) for tier in (a, b, c)] == [None] * 3
    assert laila.remember(entry, missing_ok=True).result is None
    assert laila.remember([other, entry], refresh=True, missing_ok=True).result[1] is None
    assert [stored(tier, other) for tier in (a, b, c)] == ["y"] * 3


def test_a_read_cache_may_have_entries_of_its_own_and_no_read_deletes_these() -> None:
    a, _, c = read_cache(Tier("a"), Tier("b"), Tier("c"))
    own = laila.constant("only here")
    laila.memorize(own).wait()
    assert own.global_id in a
    assert own.global_id not in c
    with pytest.raises(EntryNotFoundError, match="in pool 'c'"):
        laila.remember(own, refresh=True).wait()
    assert laila.remember(own).data == "only here"


def test_a_pool_alone_has_no_caches() -> None:
    pool = Tier("alone")
    laila.alpha_pool = pool
    entry, v = laila.constant(1), laila.variable(2)
    laila.memorize([entry, v]).wait()
    assert laila.remember([entry, v.global_id.rpartition("-")[0]], refresh=True).data == [1, 2]
    assert (pool.hits, pool.misses) == (2, 1)


# -- what goes wrong -----------------------------------------------------------------------------------------


def test_the_last_tier_answers_alone_whatever_it_answers(chain: Sequence[Tier]) -> None:
    a, _, c = chain
    entry = laila.constant("x")
    c.store([to_blob(entry)])
    laila.remember(entry).wait()
    c.down = {"read"}
    with pytest.raises(ConnectionError, match="c is down"):
        laila.remember(entry, refresh=True).wait()
    c.down = set()
    c._blobs[entry.global_id] = b"damaged"  # type: ignore[assignment]
    with pytest.raises(CorruptEntryError):
        laila.remember(entry, refresh=True).wait()
    assert laila.remember(entry).data == "x"
    assert stored(a, entry) == "x"


def test_a_cache_that_cannot_be_renewed_gives_its_copy_up(
    chain: Sequence[Tier], caplog: pytest.LogCaptureFixture
) -> None:
    a, b, c = chain
    entry = laila.constant("old")
    c.store([to_blob(entry)])
    laila.remember(entry).wait()
    c.rewrite(entry, "new")
    a.down, b.down = {"write"}, {"read", "write", "delete"}
    with caplog.at_level(logging.WARNING, "laila.pool"):
        assert laila.remember(entry, refresh=True).data == "new"
    assert "cache tier a could not renew" in caplog.text
    assert "cache tier b could not renew" in caplog.text
    assert stored(a, entry) is None
    assert (a.failures, b.failures) == (1, 1)
    a.down = set()
    assert laila.remember(entry).data == "new"


def test_what_is_too_large_for_a_cache_does_not_leave_the_old_copy_there() -> None:
    a, _ = one_store(Tier("a", max_bytes=4000), Tier("b"))
    entry = laila.constant("small")
    laila.memorize(entry).wait()
    assert stored(a, entry) == "small"
    laila.memorize(laila.constant("large" * 1000, global_id=entry.global_id), overwrite=True).wait()
    assert stored(a, entry) is None
    assert laila.remember(entry).data == "large" * 1000
    assert entry.global_id not in a

    c, d = read_cache(Tier("c", max_bytes=4000), Tier("d"))
    d.rewrite(entry, "small")
    assert laila.remember(entry).data == "small"
    d.rewrite(entry, "large" * 1000)
    assert laila.remember(entry, refresh=True).data == "large" * 1000
    assert stored(c, entry) is None
    assert laila.remember(entry).data == "large" * 1000
    assert c.failures == 0


# -- who comes first -----------------------------------------------------------------------------------------


class Held:
    """Holds up the first read of a tier, after it has read and before it answers."""

    def __init__(self, tier: Tier) -> None:
        self.read, self.go = threading.Event(), threading.Event()
        self._tier = tier
        tier.after_read = self._hold

    def _hold(self) -> None:
        self._tier.after_read = lambda: None
        self.read.set()
        assert self.go.wait(150)


def start(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    given: list[Any] = []
    thread = threading.Thread(target=lambda: given.append(work()))
    thread.start()
    return thread, given


def test_a_refresh_does_not_wait_for_an_older_fetch_and_is_not_undone_by_it(chain: Sequence[Tier]) -> None:
    c = chain[-1]
    entry = laila.constant("old")
    c.store([to_blob(entry)])
    held = Held(c)
    thread, given = start(lambda: laila.remember(entry).data)
    assert held.read.wait(150)
    c.rewrite(entry, "new")
    assert laila.remember(entry, refresh=True).data == "new"
    held.go.set()
    thread.join(150)
    assert given == ["old"]  # it asked before
    assert [stored(tier, entry) for tier in chain] == ["new"] * 3


def test_of_two_refreshes_neither_leaves_the_older_content(chain: Sequence[Tier]) -> None:
    a, b, c = chain
    entry = laila.constant("old")
    c.store([to_blob(entry)])
    laila.remember(entry).wait()
    held = Held(c)
    thread, given = start(lambda: laila.remember(entry, refresh=True).data)
    assert held.read.wait(150)
    c.rewrite(entry, "new")
    assert laila.remember(entry, refresh=True).data == "new"
    assert laila.remember(entry).data == "new"
    held.go.set()
    thread.join(150)
    assert given == ["old"]
    assert laila.remember(entry).data == "new"
    assert laila.remember(entry, refresh=True).data == "new"  # no longer contended
    assert (stored(a, entry), stored(b, entry)) == ("new", "new")


def test_what_is_memorized_during_a_refresh_wins() -> None:
    a, b, c = one_store(Tier("a"), Tier("b"), Tier("c"))
    entry = laila.constant("old")
    laila.memorize(entry).wait()
    held = Held(c)
    thread, given = start(lambda: laila.remember(entry, refresh=True).data)
    assert held.read.wait(150)
    laila.memorize(laila.constant("new", global_id=entry.global_id), overwrite=True).wait()
    held.go.set()
    thread.join(150)
    assert given == ["old"]
    assert laila.remember(entry).data == "new"
    assert {stored(tier, entry) for tier in (a, b, c)} <= {"new", None}

    held = Held(c)
    thread, given = start(lambda: laila.remember(entry, refresh=True).data)
    assert held.read.wait(150)
    laila.forget(entry).wait()
    held.go.set()
    thread.join(150)
    assert given == ["new"]
    assert [stored(tier, entry) for tier in (a, b, c)] == [None] * 3


def test_a_fetch_that_was_overtaken_fills_no_cache_that_has_let_go_of_the_newer() -> None:
    a, b = one_store(Tier("a", max_bytes=8000), Tier("b"))
    entry = laila.constant("old")
    laila.memorize(entry).wait()
    a.empty()
    held = Held(b)
    thread, given = start(lambda: laila.remember(entry).data)
    assert held.read.wait(150)
    laila.memorize(laila.constant("new", global_id=entry.global_id), overwrite=True).wait()
    laila.memorize([laila.constant("x" * 1000) for _ in range(4)]).wait()
    assert entry.global_id not in a
    held.go.set()
    thread.join(150)
    assert given == ["old"]
    assert laila.remember(entry).data == "new"


def test_a_fetch_that_a_refresh_has_overtaken_fills_no_cache_either(chain: Sequence[Tier]) -> None:
    c = chain[-1]
    cache = Tier("small", max_bytes=8000)
    cache << c
    entry, others = laila.constant("old"), [laila.constant("x" * 1000) for _ in range(4)]
    c.store([to_blob(one) for one in (entry, *others)])
    held = Held(c)
    thread, given = start(lambda: cache.load([entry.global_id]))
    assert held.read.wait(150)
    c.rewrite(entry, "new")
    assert cache.load([entry.global_id], refresh=True)[0].digest == encode("new", key="k").digest  # type: ignore[union-attr]
    cache.load([one.global_id for one in others])
    assert entry.global_id not in cache
    held.go.set()
    thread.join(150)
    assert [decode(blob) for blob in given[0]] == ["old"]
    assert entry.global_id not in cache


def test_readers_refreshers_and_writers_agree_in_the_end() -> None:
    a, b, c = one_store(Tier("a", max_bytes=9000), Tier("b"), Tier("c"))
    entries = [laila.constant(-1) for _ in range(6)]
    laila.memorize(entries).wait()
    errors: list[BaseException] = []

    def work(i: int) -> None:
        try:
            for step in range(80):
                entry = entries[(i * 5 + step) % 6]
                if step % 4 == 0:
                    new = laila.constant(i * 1000 + step, global_id=entry.global_id)
                    laila.memorize(new, overwrite=True).wait()
                else:
                    assert isinstance(laila.remember(entry, refresh=step % 4 == 1).data, int)
        except BaseException as error:  # noqa: BLE001 - raised in the main thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]
    assert not any(tier._flights._under_way or tier._flights._renewals for tier in (a, b, c))
    laila.remember(entries, refresh=True).wait()
    for entry in entries:
        assert {stored(tier, entry) for tier in (a, b)} <= {stored(c, entry), None}
        assert stored(b, entry) is not None
