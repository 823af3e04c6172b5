"""Which pool a verb means."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

import laila
from laila.central.choice import ALPHA, PoolChoice
from laila.errors import InvalidArgumentError, PoolNotFoundError, SettingsError
from laila.plugins.first_party import pip_line


@pytest.fixture
def router(policy: laila.DefaultPolicy) -> laila.DefaultPoolRouter:
    return policy.central.memory.router


def test_the_first_pool_is_the_alpha(router: laila.DefaultPoolRouter) -> None:
    alpha = router.alpha_pool
    assert router.route() is alpha
    assert laila.alpha_pool is alpha
    other = laila.MemoryPool(nickname="other")
    router.extend(other)
    assert router.route() is alpha
    laila.alpha_pool = other
    assert router.route() is other
    new = laila.MemoryPool()
    laila.memory.alpha_pool = new
    assert router.pools[new.global_id] is new
    for bad in (3, None):
        with pytest.raises(TypeError, match="pool"):
            laila.alpha_pool = bad  # type: ignore[assignment]
    assert router.alpha_pool is new


def test_id_nickname_and_affinity(router: laila.DefaultPoolRouter) -> None:
    a, b, c = (laila.MemoryPool(nickname=name) for name in "abc")
    router.extend(a, affinity=1)
    router.extend(b, affinity=5.5, pool_nickname="bee")
    router.extend(c, affinity=-2)
    assert router.route(pool_id=a.global_id) is a
    assert router.route(pool_id=a.pool_id, pool_nickname="a") is a
    assert router.route(pool_nickname="bee") is b
    with pytest.raises(PoolNotFoundError):
        router.route(pool_nickname="b")  # named otherwise here
    for affinity in (-10, 0, 1, 5, 5.5):
        assert router.route(affinity=affinity) is b
    with pytest.raises(PoolNotFoundError, match="affinity"):
        router.route(affinity=5.6)
    assert [pool.nickname for pool in router.by_affinity()] == ["b", "a", None, "c"]
    router.extend(b, affinity=0)
    assert router.route(affinity=0.5) is a
    assert router.nicknames["bee"] is b
    assert router.route([laila.constant(1)], pool_nickname="a") is a


def test_a_choice_is_one_value(router: laila.DefaultPoolRouter) -> None:
    a = laila.MemoryPool(nickname="a")
    router.extend(a, affinity=1)
    assert router.choose(ALPHA) is router.alpha_pool
    assert router.choose(PoolChoice(a.global_id, "a", 0.5)) is a
    assert PoolChoice(affinity=0).options() == {"affinity": 0}
    assert PoolChoice.sent("find", {"pool_nickname": "a"}) == PoolChoice(None, "a")
    with pytest.raises(InvalidArgumentError, match=r"'replace'.*pool_id, pool_nickname, affinity"):
        PoolChoice.sent("find", {"pool_nickname": "a", "replace": True})


def test_what_disagrees_is_refused(router: laila.DefaultPoolRouter) -> None:
    a, b = laila.MemoryPool(nickname="a"), laila.MemoryPool(nickname="b")
    router.extend(a, affinity=1)
    router.extend(b)
    ways = {"pool_id": b.global_id, "pool_nickname": "a", "affinity": 0.5}
    assert router.route(pool_nickname="a", affinity=0.5) is a
    for one, other in itertools.combinations(ways, 2):
        if {one, other} != {"pool_nickname", "affinity"}:
            with pytest.raises(ValueError, match="different pools"):
                router.route(**{one: ways[one], other: ways[other]})  # type: ignore[arg-type]


def test_an_unknown_pool_lists_what_is_registered(router: laila.DefaultPoolRouter) -> None:
    router.extend(laila.MemoryPool(nickname="known"))
    with pytest.raises(KeyError) as caught:
        router.route(pool_nickname="unknown")
    assert isinstance(caught.value, PoolNotFoundError)
    assert caught.value.registered == [router.alpha_pool.global_id, "known"]
    assert "'unknown'" in str(caught.value)
    assert "known" in str(caught.value)


def test_bad_registrations(router: laila.DefaultPoolRouter) -> None:
    a = laila.MemoryPool(nickname="a")
    router.extend(a)
    router.extend(a)
    before = dict(router.pools)
    with pytest.raises(ValueError, match="'a'"):
        router.extend(laila.MemoryPool(), pool_nickname="a")
    with pytest.raises(ValueError, match="global id"):
        router.extend(laila.MemoryPool(nickname="a"), pool_nickname="other")  # another pool of the same id
    for affinity in (float("nan"), "high", True, None):
        if affinity is None:
            continue
        with pytest.raises((TypeError, SettingsError)):
            router.extend(laila.MemoryPool(), affinity=affinity)  # type: ignore[arg-type]
        with pytest.raises((TypeError, SettingsError)):
            router.route(affinity=affinity)  # type: ignore[arg-type]
    for bad in (None, 3, "a", laila.MemoryPool):
        with pytest.raises(TypeError, match="pool"):
            router.extend(bad)  # type: ignore[arg-type]
    assert router.pools == before


@pytest.mark.usefixtures("uninstalled")
def test_urls(policy: laila.DefaultPolicy) -> None:
    pool = laila.memory.extend("memory://named", affinity=2)
    assert isinstance(pool, laila.MemoryPool)
    assert laila.memory.router.route(pool_nickname="named") is pool
    assert policy.extend("memory://", pool_nickname="second").nickname is None
    with pytest.raises(ImportError, match=re.escape(pip_line("laila-pool-s3"))):
        laila.memory.extend("s3://bucket/prefix")
    with pytest.raises(ImportError):
        laila.memory.extend("nothing://x")
    for bad in ("", "plain", "://x"):
        with pytest.raises(ValueError, match="URL"):
            laila.memory.extend(bad)
    count = len(laila.memory.router.pools)
    with pytest.raises(ValueError, match="named"):
        laila.memory.extend("memory://other", pool_nickname="named")
    assert len(laila.memory.router.pools) == count


@pytest.mark.usefixtures("uninstalled")
def test_the_alpha_pool_may_be_given_by_its_url(router: laila.DefaultPoolRouter) -> None:
    laila.memory.alpha_pool = "memory://named"
    assert laila.alpha_pool.nickname == "named"
    assert router.pools[laila.alpha_pool.global_id] is laila.alpha_pool
    with pytest.raises(ImportError, match=re.escape(pip_line("laila-pool-s3"))):
        laila.memory.alpha_pool = "s3://bucket"
    assert laila.alpha_pool.nickname == "named"


def test_a_pool_without_nickname_is_told_by_its_class() -> None:
    assert laila.MemoryPool(nickname="data").label == "data"
    assert laila.MemoryPool().label.startswith("MemoryPool ")


def test_messages_name_a_pool_as_the_policy_does() -> None:
    laila.memory.extend("memory://", pool_nickname="results")
    with pytest.raises(LookupError, match="'results'"):
        laila.remember(nickname="absent", pool_nickname="results").wait()


def test_options_go_with_a_url() -> None:
    pool = laila.memory.extend("memory://", pool_nickname="packed", transformations=["zlib"])
    assert pool.options() == {"transformations": [["zlib", {"level": 6}]]}
    with pytest.raises(TypeError, match="built already"):
        laila.memory.extend(laila.MemoryPool(), transformations=["zlib"])
    with pytest.raises(ValueError, match="takes max_bytes and no more"):
        laila.memory.extend("memory://scratch?size=10")


def test_a_name_that_is_taken_is_found_before_anything_is_opened(tmp_path: Path) -> None:
    laila.memory.extend("memory://", pool_nickname="taken")
    with pytest.raises(ValueError, match="taken"):
        laila.memory.extend(f"hdf5:{tmp_path / 'new.h5'}", pool_nickname="taken")
    assert list(tmp_path.iterdir()) == []
