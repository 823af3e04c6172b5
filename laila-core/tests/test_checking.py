"""What memorize looks for before it writes: names that are taken, leaves that are missing; and the cost."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

import laila
from laila.contract import Blob
from laila.entry import Entry, Manifest
from laila.errors import EntryNotFoundError, IdentityConflictError, ManifestError, PoolError

pytestmark = pytest.mark.usefixtures("policy")


class Folder(laila.Pool):
    """The six methods that an author must write, and no more."""

    def __init__(self, nickname: str | None = None) -> None:
        super().__init__(nickname=nickname)
        self.files: dict[str, bytes] = {}
        self.asked: Counter[str] = Counter()

    def _read(self, key: str) -> bytes | None:
        self.asked["read"] += 1
        return self.files.get(key)

    def _write(self, key: str, blob: Blob) -> None:
        self.asked["write"] += 1
        self.files[key] = bytes(blob)

    def _delete(self, key: str) -> bool:
        return self.files.pop(key, None) is not None

    def _exists(self, key: str) -> bool:
        self.asked["exists"] += 1
        return key in self.files

    def _keys(self) -> Iterator[str]:
        self.asked["keys"] += 1
        return iter(list(self.files))

    def _empty(self) -> None:
        self.files.clear()


class Asked(laila.MemoryPool):
    """A pool that notes what it was asked beside reading and writing."""

    blocking = True

    def __init__(self, nickname: str | None = None) -> None:
        super().__init__(nickname=nickname)
        self.questions: list[tuple[str, int]] = []

    def _exist_many(self, keys: Sequence[str]) -> Sequence[bool]:
        self.questions.append(("exist", len(keys)))
        return super()._exist_many(keys)

    def _read_heads(self, keys: Sequence[str]) -> Sequence[Any]:
        self.questions.append(("heads", len(keys)))
        return super()._read_heads(keys)

    def newest_here(self, stems: Sequence[str]) -> list[str | None]:
        self.questions.append(("newest", len(stems)))
        return super().newest_here(stems)


def chain() -> laila.Pool:
    return laila.tiers(laila.MemoryPool(), Folder())


def cached() -> laila.Pool:
    """A cache before a pool of its own: a look-up goes on to the origin."""
    cache, origin = laila.MemoryPool(), Folder()
    cache << origin
    laila.memory.extend(cache)
    return cache


POOLS: dict[str, Callable[[], laila.Pool]] = {
    "memory": laila.MemoryPool,
    "folder": Folder,
    "one store": chain,
    "cache": cached,
}


@pytest.fixture(params=POOLS)
def pool(request: pytest.FixtureRequest) -> laila.Pool:
    made = POOLS[request.param]()
    laila.memory.alpha_pool = made
    return made


# -- names ---------------------------------------------------------------------------------------------------


def test_a_variable_is_not_stored_under_a_constants_name(pool: laila.Pool) -> None:
    laila.memorize(laila.constant(1, nickname="n")).wait()
    variable = laila.variable(2, nickname="n")
    with pytest.raises(IdentityConflictError, match=r"'n' .*constant of that name.*forget") as caught:
        laila.memorize(variable).wait()
    assert caught.value.key == variable.global_id
    assert caught.value.other == laila.constant(0, nickname="n").global_id
    assert isinstance(caught.value, RuntimeError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert variable.state is laila.EntryState.READY
    assert laila.history(nickname="n") == []
    assert laila.remember(nickname="n").data == 1
    laila.forget(nickname="n").wait()
    laila.memorize(variable).wait()
    assert laila.remember(nickname="n").data == 2


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_constant_is_not_stored_under_a_variables_name(pool: laila.Pool, overwrite: bool) -> None:
    variable = laila.variable(1, nickname="n")
    laila.memorize(variable).wait()
    laila.memorize(variable.evolve(data=2)).wait()
    with pytest.raises(IdentityConflictError, match="variable of that name"):
        laila.memorize(laila.constant(3, nickname="n"), overwrite=overwrite).wait()
    assert laila.remember(nickname="n").data == 2
    laila.memorize(variable.evolve(data=4)).wait()
    assert laila.history(nickname="n") == [0, 1, 2]


def test_in_a_batch_only_what_is_taken_is_refused(pool: laila.Pool) -> None:
    laila.memorize(laila.constant(1, nickname="n")).wait()
    batch: list[Entry] = [
        laila.constant(1, nickname="n"),
        laila.variable(2, nickname="n"),
        laila.variable(3, nickname="m"),
        laila.constant(4, nickname="m"),
        laila.constant(5),
    ]
    group = laila.memorize(batch)
    with pytest.raises(IdentityConflictError):
        group.wait()
    assert [child.error() for child in group.futures()] == [False, True, False, True, False]
    assert laila.remember(nickname=["n", "m"]).result[1].data == 3


def test_a_cache_looks_along_the_chain() -> None:
    cache, origin = laila.MemoryPool(), laila.MemoryPool()
    cache << origin
    laila.memory.extend(cache, pool_nickname="cache")
    laila.memory.extend(origin, pool_nickname="origin")
    laila.memorize(laila.constant(1, nickname="n"), pool_nickname="origin").wait()
    with pytest.raises(IdentityConflictError):
        laila.memorize(laila.variable(2, nickname="n"), pool_nickname="cache").wait()


def test_what_names_cost() -> None:
    pool = laila.memory.alpha_pool = Asked()
    laila.memorize([laila.constant(i) for i in range(9)]).wait()
    laila.memorize(laila.variable(0)).wait()
    assert pool.questions == []  # what has no nickname costs nothing
    laila.memorize([laila.constant(i, nickname=f"c{i}") for i in range(9)]).wait()
    assert pool.questions == [("newest", 9)]
    pool.questions.clear()
    laila.memorize([laila.variable(i, nickname=f"v{i}") for i in range(9)]).wait()
    assert pool.questions == [("exist", 9)]
    pool.questions.clear()
    variable = laila.remember(nickname="v1").result
    pool.questions.clear()
    for i in range(5):
        laila.memorize(variable.evolve(data=i)).wait()
    assert pool.questions == []  # an evolution of it is known to be there


def test_a_pool_that_would_look_at_every_key_is_asked_for_one() -> None:
    pool = laila.memory.alpha_pool = Folder()
    laila.memorize([laila.constant(i, nickname=f"c{i}") for i in range(9)]).wait()
    assert pool.asked["keys"] == 0
    laila.memorize(laila.variable(1, nickname="v")).wait()
    with pytest.raises(IdentityConflictError):
        laila.memorize(laila.constant(1, nickname="v")).wait()
    assert pool.asked["keys"] == 0


class Denied(laila.MemoryPool):
    error: OSError

    def newest_here(self, stems: Sequence[str]) -> list[str | None]:
        raise self.error


def test_who_may_write_and_not_ask_writes() -> None:
    pool = laila.memory.alpha_pool = Denied()
    pool.error = PoolError("you may not list", pool="denied", errno=13)
    laila.memorize(laila.constant(1, nickname="n")).wait()
    pool.error = PoolError("the server is away", pool="denied", errno=111)
    with pytest.raises(PoolError, match="away"):
        laila.memorize(laila.constant(1, nickname="m")).wait()


def test_a_manifest_with_a_taken_name_is_not_stored(pool: laila.Pool) -> None:
    laila.memorize(laila.constant(1, nickname="n")).wait()
    manifest = Manifest({"a": laila.variable(2, nickname="n"), "b": (other := laila.constant(3))})
    group = manifest.memorize()
    with pytest.raises(IdentityConflictError):
        group.wait()
    assert isinstance(group.exceptions[-1], ManifestError)
    assert laila.remember([manifest.global_id, other.global_id], missing_ok=True).result == [None, None]


# -- leaves --------------------------------------------------------------------------------------------------


def test_a_leaf_that_is_missing_is_said_before_anything_is_written(pool: laila.Pool) -> None:
    there = laila.constant(0)
    laila.memorize(there).wait()
    gone = [laila.constant(i).global_id for i in range(5)]
    manifest = Manifest({"there": there.global_id, "list": gone})
    stores: list[Callable[[], Any]] = [
        manifest.memorize,
        lambda: laila.memorize(manifest),
        lambda: laila.memorize([manifest]),
    ]
    for store in stores:
        with pytest.raises(EntryNotFoundError, match=r"5 leaves of .*, …\); memorize .*missing_ok") as caught:
            store().wait()
        assert caught.value.missing == gone
        assert isinstance(caught.value, KeyError)
        assert pickle.loads(pickle.dumps(caught.value)).missing == gone
    assert laila.remember(manifest.global_id, missing_ok=True).result is None
    manifest.memorize(missing_ok=True).wait()
    assert laila.remember(manifest).result.blueprint == manifest.blueprint
    other = Manifest({"one": gone[0]})
    laila.memorize(other, missing_ok=True).wait()
    laila.memorize([Manifest({"one": gone[0]})], missing_ok=True).wait()


def test_what_only_such_a_manifest_holds_is_not_stored_either(pool: laila.Pool) -> None:
    leaf, asked, gone = laila.constant(1), laila.constant(2), laila.constant(3).global_id
    inner = Manifest({"gone": gone})
    outer = Manifest({"leaf": leaf, "asked": asked, "inner": inner})
    group = laila.memorize([asked, outer, laila.constant(4)])
    with pytest.raises(ManifestError, match="a leaf of it is not in pool"):
        group.wait()
    assert [type(one) for one in group.exceptions] == [ManifestError]
    found = laila.remember([leaf, asked, inner, outer], missing_ok=True).result
    assert [one is None for one in found] == [True, False, True, True]


def test_ids_of_what_the_same_call_stores(pool: laila.Pool) -> None:
    entry = laila.constant(1)
    manifest = Manifest({"a": entry.global_id})
    laila.memorize([manifest, entry]).wait()
    assert manifest.resolved["a"].data == 1
    variable = laila.variable(2)
    stem = variable.global_id.rpartition("-")[0]
    laila.memorize([Manifest({"newest": stem}), variable]).wait()
    laila.memorize(Manifest({"newest": stem, "m": manifest.global_id})).wait()
    with pytest.raises(EntryNotFoundError):
        laila.memorize(Manifest({"first": f"{stem}-7"})).wait()


def test_a_leaf_that_is_a_variable_counts_where_any_evolution_is(pool: laila.Pool) -> None:
    variable = laila.variable(1, nickname="v")
    laila.memorize(variable.evolve(data=2)).wait()
    stem = laila.constant(0, nickname="v").global_id
    laila.memorize(Manifest({"v": stem, "exactly": f"{stem}-1"})).wait()
    with pytest.raises(EntryNotFoundError, match="a leaf of it is"):
        laila.memorize(Manifest({"v": f"{stem}-0"})).wait()


def test_what_leaves_cost() -> None:
    """The heads say that leaves are there, and what they are. Afterwards they are looked for once more."""
    pool = laila.memory.alpha_pool = Asked()
    entries = [laila.constant(i) for i in range(50)]
    laila.memorize(entries).wait()
    manifest = Manifest({"all": [entry.global_id for entry in entries]})
    laila.memorize(manifest).wait()
    assert pool.questions == [("heads", 50), ("exist", 50)]
    pool.questions.clear()
    laila.memorize(Manifest({"all": [laila.constant(i) for i in range(50)]})).wait()
    assert pool.questions == []
    laila.memorize(Manifest({"all": [entry.global_id for entry in entries]}), missing_ok=True).wait()
    assert pool.questions == [("heads", 50)]
    pool.questions.clear()
    laila.memorize(laila.remember(manifest).result).wait()  # which says what they are
    assert pool.questions == [("exist", 50), ("heads", 1), ("exist", 50)]


class Failing(laila.MemoryPool):
    def _exist_many(self, keys: Sequence[str]) -> Sequence[bool]:
        raise OSError(5, "Input/output error")


def test_a_pool_that_cannot_tell_stores_no_manifest() -> None:
    pool = laila.memory.alpha_pool = Failing()
    manifest = Manifest({"gone": laila.constant(1).global_id})
    with pytest.raises(OSError, match="Input/output"):
        manifest.memorize().wait()
    assert list(pool.keys()) == []


def test_damage_is_no_absence() -> None:
    pool = laila.memory.alpha_pool = Folder()
    entry = laila.constant(1)
    laila.memorize(entry).wait()
    pool.files[entry.global_id] = b"damaged"
    laila.memorize(Manifest({"a": entry.global_id})).wait()  # it is there: reading it says what it is
