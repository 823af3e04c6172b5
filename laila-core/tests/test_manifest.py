"""Manifests: the tree, its rules, and its verbs on a pool that works and on one that fails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import laila
from laila.contract import Blob
from laila.entry import EntryState, Manifest
from laila.errors import (
    EmptyManifestError,
    EntryNotFoundError,
    ImmutableEntryError,
    LailaError,
    ManifestError,
    ManifestKeyError,
)

pytestmark = pytest.mark.usefixtures("policy")


class Recording(laila.MemoryPool):
    """A memory pool that notes its batches, and refuses keys it is told to."""

    def __init__(self, nickname: str | None = None) -> None:
        super().__init__(nickname=nickname)
        self.calls: list[list[str]] = []
        self.refuse: set[str] = set()

    def _create_many(self, items: Any) -> list[bool]:
        self.calls.append([key for key, _ in items])
        if self.refuse & {key for key, _ in items}:
            raise OSError(28, "No space left on device")
        return [self._create(key, blob) for key, blob in items]


class Together(Recording):
    """The same with commits in which all is filed or nothing; `calls` has those that were."""

    def _create_together(self, items: Any) -> bool:
        keys = {key for key, _ in items}
        if self.refuse & keys:
            self.calls.append(["refused"])
            raise OSError(28, "No space left on device")
        if len(keys) < len(items) or any(self._exists(key) for key in keys):
            return False
        self.calls.append([key for key, _ in items])
        return all(self._create(key, blob) for key, blob in items)


@pytest.fixture
def pool() -> Iterator[Recording]:
    made = Recording(nickname="recording")
    laila.memory.extend(made)
    laila.memory.alpha_pool = made
    yield made
    made.close()


@pytest.fixture
def together() -> Iterator[Together]:
    made = Together(nickname="together")
    laila.memory.extend(made)
    laila.memory.alpha_pool = made
    yield made
    made.close()


def entries(count: int) -> list[laila.Entry]:
    return [laila.constant(i) for i in range(count)]


def test_the_tree_of_entries_is_a_tree_of_ids() -> None:
    a, b, c = entries(3)
    m = laila.manifest(
        {"a": a, "deep": {"er": {"b": b}}, "list": [c, a], "tuple": (b,), "none": []}, nickname="hello"
    )
    ids = {"a": a.global_id, "deep": {"er": {"b": b.global_id}}, "list": [c.global_id, a.global_id]}
    assert m.blueprint == {**ids, "tuple": [b.global_id], "none": []}
    assert m.data == m.blueprint
    assert m.global_id == "LAILA:MANIFEST:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"
    assert (m.scopes, m.evolution, m.state) == (["MANIFEST"], None, EntryState.READY)
    assert list(m) == [a.global_id, b.global_id, c.global_id, a.global_id, b.global_id]
    assert len(m) == 5
    assert list(m.keys()) == ["a", "deep", "list", "tuple", "none"]
    assert dict(m.items()) == dict(zip(m.keys(), m.values(), strict=True)) == m.blueprint
    assert m["deep"] == {"er": {"b": b.global_id}}
    assert b.global_id in m
    assert b in m
    assert laila.constant(1) not in m
    assert "a" not in m
    with pytest.raises(KeyError):
        m["x"]
    assert bool(laila.manifest({}))


def test_a_manifest_is_a_constant() -> None:
    m = laila.manifest({"a": laila.constant(1)})
    assert isinstance(m, laila.Entry)
    with pytest.raises(ImmutableEntryError):
        m.evolve(data={})
    with pytest.raises(TypeError):
        Manifest.variable({})
    with pytest.raises(RuntimeError):
        laila.manifest({}, global_id=m.global_id + "-1")
    with pytest.raises(ValueError, match="ENTRY"):
        laila.manifest({}, global_id=laila.constant(1).global_id)
    assert laila.manifest({}, global_id=m.global_id) == m
    assert Manifest.constant({"a": laila.constant(1)}, nickname="hello").nickname == "hello"
    staged = Manifest.contingent(data={"a": laila.constant(1)})
    assert staged.state is EntryState.STAGED
    assert len(staged.pending()) == 1


E = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"


@pytest.mark.parametrize(
    ("tree", "place"),
    [
        ({"a": E, "b": laila.constant(1)}, r"\$\['b'\]"),
        ({"b": laila.constant(1), "a": E}, r"\$\['a'\]"),
        ({"a": [E, laila.constant(1)]}, r"\[1\]"),
        ({"a": [E, E], "b": [laila.constant(1)]}, r"\$\['a'\]\[0\] is an id, \$\['b'\]\[0\] an Entry"),
        ({"a": [laila.constant(1)], "b": [E, E]}, r"\$\['b'\]\[0\] is an id"),
        ({"a": [E, E.replace("ENTRY", "POOL")]}, r"\$\['a'\]\[1\] is the id of a POOL"),
        ({"a": "nonsense"}, r"\$\['a'\]"),
        ({"a": [E, "nonsense"]}, r"\$\['a'\]\[1\]"),
        ({"a": E.replace("ENTRY", "POOL")}, "POOL"),
        ({"a": [[E]]}, r"\$\['a'\]\[0\]"),
        ({"a": [(E,)]}, "flat"),
        ({"a": [{"b": E}]}, "flat"),
        ({"a": 3}, "int"),
        ({"a": None}, "NoneType"),
        ({"a": {"b": {3: E}}}, r"\$\['a'\]\['b'\]"),
        ({"a": {E}}, "set"),
        ([E], "list"),
        ("nonsense", "str"),
    ],
)
def test_bad_trees_are_refused_with_their_place(tree: Any, place: str) -> None:
    with pytest.raises(ValueError, match=place) as caught:
        laila.manifest(tree)
    assert isinstance(caught.value, ManifestError)


def test_a_tree_that_contains_itself_or_is_too_deep() -> None:
    loop: dict[str, Any] = {}
    loop["x"] = loop
    with pytest.raises(ManifestError, match="itself"):
        laila.manifest(loop)
    deep: dict[str, Any] = {"leaf": E}
    for _ in range(300):
        deep = {"x": deep}
    with pytest.raises(ManifestError, match="deeper"):
        laila.manifest(deep)


def test_changing_what_it_was_made_of_changes_nothing() -> None:
    tree: dict[str, Any] = {"a": [laila.constant(1)], "b": {"c": laila.constant(2)}}
    m = laila.manifest(tree)
    before = list(m)
    tree["a"].append(E)
    tree["b"]["d"] = E
    assert list(m) == before


def test_memorize_stores_entries_then_the_manifest(pool: Recording) -> None:
    a, b, c = entries(3)
    m = laila.manifest({"a": a, "l": [b, a, c]}, nickname="run")
    group = laila.memorize(m)
    assert isinstance(group, laila.GroupFuture)
    assert group.result == [a.global_id, b.global_id, c.global_id, m.global_id]
    assert pool.calls == [[a.global_id, b.global_id, c.global_id], [m.global_id]]
    assert {x.state for x in (a, b, c, m)} == {EntryState.POOLED}
    assert m.memorize().result == group.result
    again = laila.remember(nickname="run", scope="MANIFEST").result
    assert isinstance(again, Manifest)
    assert again.blueprint == m.blueprint
    assert again.nickname == "run"
    assert again == m
    assert laila.remember(m).result.blueprint == m.blueprint
    assert again.pending() == []
    assert again.memorize().result == [m.global_id]


def test_batch_size(pool: Recording) -> None:
    leaves = entries(5)
    m = laila.manifest({"l": leaves})
    assert len(m.memorize(batch_size=2)) == 6
    assert [len(batch) for batch in pool.calls] == [2, 2, 1, 1]
    assert [e.data for e in m.remember(batch_size=2).result] == [0, 1, 2, 3, 4]
    assert m.forget(batch_size=2).result == [None] * 6
    assert list(pool.keys()) == []
    for bad in (0, -1, 1.5, "3", True):
        for verb in (m.memorize, m.remember, m.forget):
            with pytest.raises(ValueError, match="batch_size"):
                verb(batch_size=bad)  # type: ignore[arg-type]


def test_a_failing_leaf_means_the_manifest_is_not_stored(pool: Recording) -> None:
    taken = laila.constant("first")
    laila.memorize(taken).wait()
    a, other = laila.constant(1), laila.constant("second", uuid=taken.uuid)
    m = laila.manifest({"a": a, "b": other})
    group = m.memorize()
    first, second, last = group.futures()
    assert first.result == a.global_id
    assert isinstance(laila.runtime.exception(second), ImmutableEntryError)
    error = laila.runtime.exception(last)
    assert isinstance(error, ManifestError)
    assert error.__cause__ is second.exception
    assert m.global_id not in pool
    assert m.state is EntryState.READY
    with pytest.raises(ImmutableEntryError):
        group.wait()


def test_a_failing_backend_fails_what_was_not_stored(pool: Recording) -> None:
    leaves = entries(4)
    m = laila.manifest({"l": leaves})
    pool.refuse = {leaves[2].global_id}
    group = m.memorize(batch_size=2)
    errors = [laila.runtime.exception(future) for future in group.futures()]
    assert errors[:2] == [None, None]
    assert [type(error) for error in errors[2:]] == [OSError, OSError, ManifestError]
    assert [leaf.state for leaf in leaves] == [*[EntryState.POOLED] * 2, *[EntryState.READY] * 2]
    pool.refuse = set()
    assert len(m.memorize(batch_size=2).result) == 5


def test_nothing_is_written_when_a_leaf_cannot_be_encoded(pool: Recording) -> None:
    with open(__file__, encoding="utf-8") as file:
        m = laila.manifest({"a": laila.constant(1), "b": laila.constant({"f": [file]})})
        with pytest.raises(TypeError, match=r"\['f'\]\[0\]"):
            m.memorize()
    assert list(pool.keys()) == []
    assert m.state is EntryState.READY


def test_an_entry_that_evolved_since_is_refused(pool: Recording) -> None:
    v = laila.variable(1)
    m = laila.manifest({"v": v})
    v.evolve(data=2)
    with pytest.raises(ManifestError, match="evolved"):
        m.memorize()
    assert list(pool.keys()) == []
    fresh = laila.manifest({"v": v})
    fresh.memorize().wait()
    assert fresh.resolved["v"].data == 2
    v.evolve(data=3)
    laila.memorize(v).wait()
    assert fresh.resolved["v"].data == 2
    newest = laila.manifest({"v": v.global_id.rpartition("-")[0]})
    assert newest.resolved["v"].data == 3


def test_an_empty_manifest_refuses_the_verbs() -> None:
    m = laila.manifest({})
    for verb in (
        m.memorize,
        m.remember,
        m.forget,
        lambda: laila.memorize(m),
        lambda: m.resolved,
        lambda: m.sub_manifest([]),
    ):
        with pytest.raises(RuntimeError, match="empty") as caught:
            verb()
        assert isinstance(caught.value, EmptyManifestError)
        assert isinstance(caught.value, LailaError)


def test_resolved_mirrors_the_tree_and_fetches_anew(pool: Recording) -> None:
    a, b = entries(2)
    m = laila.manifest({"a": a, "d": {"l": [b, a]}})
    with pytest.raises(EntryNotFoundError):
        _ = m.resolved
    m.memorize().wait()
    tree = m.resolved
    assert tree["a"].data == 0
    assert [entry.data for entry in tree["d"]["l"]] == [1, 0]
    assert tree["a"] is not m.resolved["a"]
    laila.forget(a).wait()
    with pytest.raises(KeyError, match=a.uuid):
        _ = m.resolved


def test_remember_and_forget_child_by_child(pool: Recording) -> None:
    a, b = entries(2)
    m = laila.manifest({"l": [a, b, a]})
    m.memorize().wait()
    laila.forget(b).wait()
    children = m.remember().futures()
    assert [laila.runtime.exception(child) and type(child.exception) for child in children] == [
        None,
        EntryNotFoundError,
        None,
    ]
    group = m.forget()
    assert len(group) == 4
    assert [laila.runtime.exception(child) and type(child.exception) for child in group.futures()] == [
        None,
        EntryNotFoundError,
        None,
        None,
    ]
    assert list(pool.keys()) == []


def test_forgetting_the_id_of_a_manifest_keeps_its_leaves(pool: Recording) -> None:
    a = laila.constant(1)
    m = laila.manifest({"a": a}, nickname="run")
    m.memorize().wait()
    assert laila.forget(nickname="run").result is None
    assert list(pool.keys()) == [a.global_id]


def test_sub_manifest_keeps_what_waits(pool: Recording) -> None:
    a, b, c = entries(3)
    m = laila.manifest({"a": a, "b": [b], "c": {"d": c}})
    part = m.sub_manifest(["c", "a"])
    assert part.blueprint == {"c": {"d": c.global_id}, "a": a.global_id}
    assert part != m
    assert part.memorize().result == [c.global_id, a.global_id, part.global_id]
    assert b.global_id not in pool
    with pytest.raises(KeyError, match="'x'") as caught:
        m.sub_manifest(["a", "x"])
    assert isinstance(caught.value, ManifestKeyError)


def test_extend_and_add() -> None:
    a, b, c = entries(3)
    left, right = laila.manifest({"a": a, "x": a}), laila.manifest({"b": b, "n": {"c": c}})
    total = left + right
    assert total.blueprint == {**left.blueprint, **right.blueprint}
    assert {entry.global_id for entry in total.pending()} == {a.global_id, b.global_id, c.global_id}
    assert len(left) == 2
    assert total != left
    name = left.global_id
    left += right
    assert left.global_id == name
    assert left.blueprint == total.blueprint
    with pytest.raises(KeyError, match="'b'"):
        left.extend(right)
    with pytest.raises(KeyError):
        left + right
    other = laila.manifest({"b": c})
    left.extend(other, overwrite=True)
    assert left["b"] == c.global_id
    assert b.global_id not in {entry.global_id for entry in left.pending()}
    for bad in ({"a": 1}, None, laila.constant(1)):
        with pytest.raises(TypeError):
            left.extend(bad)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            _ = left + bad  # type: ignore[operator]
    right.blueprint["n"]["c"] = a.global_id  # type: ignore[index, call-overload]
    assert left.blueprint["n"] == {"c": c.global_id}


def test_extending_a_stored_manifest_is_another_content(pool: Recording) -> None:
    a, b = entries(2)
    m = laila.manifest({"a": a})
    m.memorize().wait()
    m.extend(laila.manifest({"b": b}))
    assert m.state is EntryState.READY
    with pytest.raises(ImmutableEntryError):
        m.memorize().wait()
    assert laila.remember(m).result.blueprint == {"a": a.global_id}
    laila.memorize(m, overwrite=True).wait()
    assert laila.remember(m).result.blueprint == m.blueprint


def test_a_manifest_that_grows_stores_what_is_new(pool: Recording) -> None:
    weights = [1.0, 2.0]
    run = Manifest({"epoch 1": laila.constant(weights)})
    laila.memorize(run).wait()
    weights[0] = 9.0  # training goes on in place; what was stored stays
    more = Manifest({"epoch 2": laila.constant(weights)})
    laila.memorize(run + more).wait()
    both = run + more
    laila.memorize(both).wait()
    tree = both.resolved
    assert tree["epoch 1"].data == [1.0, 2.0]
    assert tree["epoch 2"].data == [9.0, 2.0]
    assert laila.memorize(both).result[-1] == both.global_id  # each has its id, stored anew or not
    assert len(laila.memorize(both).result) == 3


def test_overwriting_a_manifest_replaces_its_tree_and_not_what_is_stored(pool: Recording) -> None:
    weights = [1.0]
    run = Manifest({"epoch 1": laila.constant(weights)}, nickname="run")
    run.memorize().wait()
    weights[0] = 2.0
    run.extend(Manifest({"epoch 2": laila.constant(weights)}))
    with pytest.raises(ImmutableEntryError):
        run.memorize().wait()
    run.memorize(overwrite=True).wait()
    tree = laila.remember(nickname="run", scope="MANIFEST").result.resolved
    assert (tree["epoch 1"].data, tree["epoch 2"].data) == ([1.0], [2.0])


def test_what_was_forgotten_is_stored_again_with_its_manifest(pool: Recording) -> None:
    entry = laila.constant("leaf")
    run = Manifest({"leaf": entry})
    laila.memorize(run).wait()
    laila.forget(entry).wait()
    laila.memorize(run).wait()
    assert run.resolved["leaf"].data == "leaf"


def test_another_pool_gets_all_of_it(pool: Recording) -> None:
    run = Manifest({"leaf": laila.constant("leaf")})
    laila.memorize(run).wait()
    laila.memory.extend("memory://elsewhere", pool_nickname="elsewhere")
    laila.memorize(run, pool_nickname="elsewhere").wait()
    assert run.resolve(pool_nickname="elsewhere")["leaf"].data == "leaf"


def test_a_manifest_of_manifests(pool: Recording) -> None:
    a, b, c = entries(3)
    inner = laila.manifest({"a": a})
    middle = laila.manifest({"inner": inner, "b": b})
    outer = laila.manifest({"m": [middle, inner], "c": c}, nickname="outer")
    result = outer.memorize().result
    assert set(result[:3]) == {a.global_id, b.global_id, c.global_id}
    assert result[3:] == [inner.global_id, middle.global_id, outer.global_id]
    tree = laila.remember(nickname="outer").result.resolved
    assert isinstance(tree["m"][0], Manifest)
    assert tree["m"][0].resolved["inner"].resolved["a"].data == 0


def test_manifests_that_contain_each_other(pool: Recording) -> None:
    one = laila.manifest({"a": laila.constant(1)})
    two = laila.manifest({"one": one})
    one.extend(laila.manifest({"two": two}))
    with pytest.raises(ManifestError, match="itself"):
        one.memorize()
    with pytest.raises(EmptyManifestError):
        laila.manifest({"m": laila.manifest({})}).memorize()
    assert list(pool.keys()) == []


def test_manifests_in_a_list_go_in_one_batch_with_the_rest(pool: Recording) -> None:
    a, b, c, d = entries(4)
    shared = laila.manifest({"a": a, "b": b})
    group = laila.memorize([c, shared, d, laila.manifest({"b": b, "s": shared}), c])
    assert [gid.split(":")[1] for gid in group.result] == ["ENTRY", "MANIFEST", "ENTRY", "MANIFEST", "ENTRY"]
    assert group.result[0] == group.result[4] == c.global_id
    assert sorted(pool.calls[0]) == sorted(x.global_id for x in (a, b, c, d))
    assert [len(batch) for batch in pool.calls] == [4, 1, 1]
    with pytest.raises(ValueError, match="on_conflict"):
        laila.memorize([c, shared], on_conflict="next")


def test_a_manifest_that_failed_does_not_hurt_another(pool: Recording) -> None:
    taken = laila.constant(1)
    laila.memorize(taken).wait()
    bad = laila.manifest({"x": laila.constant(2, uuid=taken.uuid)})
    good = laila.manifest({"y": laila.constant(3)})
    outer = laila.manifest({"bad": bad})
    group = laila.memorize([bad, good, outer])
    kinds = [laila.runtime.exception(child) and type(child.exception) for child in group.futures()]
    assert kinds == [ManifestError, None, ManifestError]
    assert good.global_id in pool
    assert outer.global_id not in pool


# -- a pool that files a manifest in one commit with what is in it ------------------------------------------


def test_a_manifest_shares_a_commit_with_its_entries(together: Together) -> None:
    a, b, c = entries(3)
    inner = laila.manifest({"a": a, "b": b})
    outer = laila.manifest({"inner": inner, "c": c})
    group = laila.memorize([outer, laila.constant("beside")])
    assert len(group.wait()) == 2
    (commit,) = together.calls
    assert commit[-2:] == [inner.global_id, outer.global_id]
    assert len(commit) == 6
    assert {x.state for x in (a, b, c, inner, outer)} == {EntryState.POOLED}
    assert outer.memorize().result[-2:] == [inner.global_id, outer.global_id]
    assert laila.remember(outer).result.blueprint == outer.blueprint


def test_a_manifest_shares_a_commit_with_the_last_slice(together: Together) -> None:
    leaves = entries(5)
    m = laila.manifest({"l": leaves})
    assert len(m.memorize(batch_size=2).wait()) == 6
    assert [len(batch) for batch in together.calls] == [2, 2, 2]


def test_manifests_of_what_is_stored_share_a_commit(together: Together) -> None:
    a, b = entries(2)
    laila.memorize([a, b]).wait()
    laila.memorize([laila.manifest({"a": a}), laila.manifest({"b": b})]).wait()
    assert [len(batch) for batch in together.calls] == [2, 2]


def test_what_is_there_is_decided_entry_by_entry(together: Together) -> None:
    there, taken = laila.constant("same"), laila.constant("first")
    laila.memorize([there, taken]).wait()
    together.calls.clear()
    again = laila.manifest({"there": laila.constant("same", uuid=there.uuid), "new": laila.constant(1)})
    assert None not in laila.memorize(again).wait()
    assert [len(batch) for batch in together.calls] == [2, 1]
    other = laila.constant("second", uuid=taken.uuid)
    m = laila.manifest({"a": laila.constant(1), "b": other})
    errors = [laila.runtime.exception(child) for child in m.memorize().futures()]
    assert [type(error) for error in errors] == [type(None), ImmutableEntryError, ManifestError]
    assert m.global_id not in together
    assert (other.state, m.state) == (EntryState.READY, EntryState.READY)
    assert laila.remember(taken.global_id).data == "first"


def test_a_manifest_is_not_committed_after_a_slice_with_a_conflict(together: Together) -> None:
    taken = laila.constant("first")
    laila.memorize(taken).wait()
    m = laila.manifest({"taken": laila.constant("second", uuid=taken.uuid), "new": laila.constant(1)})
    kinds = [type(laila.runtime.exception(child)) for child in m.memorize(batch_size=1).futures()]
    assert kinds == [ImmutableEntryError, type(None), ManifestError]
    assert m.global_id not in together


def test_overwriting_goes_in_two_commits(together: Together) -> None:
    taken = laila.constant("first")
    laila.memorize(taken).wait()
    m = laila.manifest({"a": laila.constant("second", uuid=taken.uuid)})
    m.memorize(overwrite=True).wait()
    assert together.calls == []  # what replaces is no creation
    assert laila.remember(taken.global_id).data == "second"
    assert m.global_id in together


def test_a_commit_that_fails_stores_nothing_and_is_not_tried_again(together: Together) -> None:
    a, b = entries(2)
    m = laila.manifest({"a": a, "b": b})
    together.refuse = {b.global_id}
    errors = [laila.runtime.exception(child) for child in m.memorize().futures()]
    assert [type(error) for error in errors] == [OSError, OSError, ManifestError]
    assert errors[2] is not None
    assert errors[2].__cause__ is errors[0]
    assert together.calls == [["refused"]]
    assert list(together.keys()) == []
    assert {x.state for x in (a, b, m)} == {EntryState.READY}
    together.refuse.clear()
    assert len(m.memorize().wait()) == 3
    assert m.global_id in together


def test_a_manifest_is_not_committed_after_a_slice_that_failed(together: Together) -> None:
    leaves = entries(4)
    m = laila.manifest({"l": leaves})
    together.refuse = {leaves[0].global_id}
    kinds = [type(laila.runtime.exception(child)) for child in m.memorize(batch_size=2).futures()]
    assert kinds == [OSError, OSError, OSError, OSError, ManifestError]
    assert list(together.keys()) == []


def test_a_commit_passes_through_a_chain_that_is_one_store(together: Together) -> None:
    cache = laila.MemoryPool(transformations=["zlib"])
    laila.memory.extend(laila.tiers(cache, together))
    laila.memory.alpha_pool = cache
    m = laila.manifest({"a": laila.constant(1), "b": laila.constant(2)})
    keys = m.memorize().wait()
    assert together.calls == [keys]
    assert sorted(cache.keys()) == sorted(keys)
    again = laila.manifest({"a": laila.constant(3, uuid=m.remember().result[0].uuid)})
    assert isinstance(laila.memorize(again).exceptions[-1], ManifestError)
    assert again.global_id not in cache


def test_another_pool_by_name(pool: Recording) -> None:
    side = laila.memory.extend(laila.MemoryPool(nickname="side"))
    m = laila.manifest({"a": laila.constant(1)})
    assert m.memorize(pool_nickname="side").result[-1] in side
    assert m.memorize(pool_id=side.global_id).result[-1] not in pool
    assert [e.data for e in m.remember(pool_nickname="side").result] == [1]
    assert m.forget(pool_id=side.global_id).result == [None, None]
    with pytest.raises(KeyError, match="nowhere"):
        m.memorize(pool_nickname="nowhere")


def test_serialize_and_recover() -> None:
    m = laila.manifest({"a": laila.constant(1), "b": {"c": [laila.constant(2)]}}, nickname="run")
    import json

    back = laila.Manifest.recover(json.dumps(m.serialize(["base64"], exclude_private={"nothing"})))
    assert isinstance(back, Manifest)
    assert (back.global_id, back.blueprint, back.nickname) == (m.global_id, m.blueprint, "run")
    assert back.pending() == []


def test_a_damaged_stored_tree_is_corrupt(pool: Recording) -> None:
    from laila.codec import encode

    m = laila.manifest({"a": laila.constant(1)})
    forged: Blob = encode({"a": ["nonsense"]}, key=m.global_id)
    pool[m.global_id] = forged
    with pytest.raises(laila.errors.CorruptEntryError, match="no manifest"):
        laila.remember(m.global_id).wait()


trees = st.recursive(
    st.builds(laila.constant, st.integers()) | st.lists(st.builds(laila.constant, st.integers()), max_size=3),
    lambda inner: st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
).map(lambda tree: {"root": tree})


@given(trees)
def test_any_tree_comes_back(tree: dict[str, Any]) -> None:
    def ids(node: Any) -> Any:
        if isinstance(node, laila.Entry):
            return node.global_id
        if isinstance(node, list):
            return [ids(one) for one in node]
        return {key: ids(one) for key, one in node.items()}

    m = laila.manifest(tree)
    assert m.blueprint == ids(tree)
    laila.memorize(m).wait()
    back = laila.remember(m.global_id).result
    assert isinstance(back, Manifest)
    assert back.blueprint == m.blueprint
    assert [entry.data for entry in back.remember().result] == [entry.data for entry in m.remember().result]
