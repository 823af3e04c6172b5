"""memorize, remember, forget and history: what they take, give and refuse."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import laila
from laila.contract import Blob
from laila.entry import EntryState
from laila.errors import (
    EntryNotFoundError,
    EvolutionConflictError,
    IdentityError,
    ImmutableEntryError,
    LailaError,
    PayloadError,
    PoolNotFoundError,
    SettingsError,
    UntrustedPayloadError,
)
from laila.testing.payloads import assert_same, payloads

pytestmark = pytest.mark.usefixtures("policy")

STEM = "LAILA:ENTRY:GLOBAL_ID:"


class Blocking(laila.Pool):
    """Six methods on a dict; the verbs hand its calls to the task force. ``gate`` holds writes up."""

    def __init__(self, nickname: str | None = None) -> None:
        super().__init__(nickname=nickname)
        self.files: dict[str, bytes] = {}
        self.gate = threading.Event()
        self.gate.set()
        self.threads: set[int] = set()
        self.calls = 0

    def _read(self, key: str) -> bytes | None:
        return self.files.get(key)

    def _read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        self.calls += 1
        return [self._read(key) for key in keys]

    def _write(self, key: str, blob: Blob) -> None:
        self.gate.wait(150)
        self.threads.add(threading.get_ident())
        self.files[key] = bytes(blob)

    def _delete(self, key: str) -> bool:
        return self.files.pop(key, None) is not None

    def _exists(self, key: str) -> bool:
        return key in self.files

    def _keys(self) -> Iterator[str]:
        return iter(list(self.files))

    def _empty(self) -> None:
        self.files.clear()


@pytest.fixture(params=["memory", "blocking"])
def pool(request: pytest.FixtureRequest) -> laila.Pool:
    made: laila.Pool = laila.MemoryPool() if request.param == "memory" else Blocking()
    laila.memory.alpha_pool = made
    return made


# -- what they give ------------------------------------------------------------------------------------------


def test_one_gives_a_future_and_many_a_group(pool: laila.Pool) -> None:
    entry = laila.constant(1)
    one = laila.memorize(entry)
    assert isinstance(one, laila.Future)
    assert one.result == entry.global_id
    for many in ([entry], (entry,), {entry}, iter([entry]), (e for e in [entry])):
        group = laila.memorize(many)
        assert isinstance(group, laila.GroupFuture)
        assert group.result == [entry.global_id]
    assert isinstance(laila.remember(entry), laila.Future)
    assert isinstance(laila.remember([entry]), laila.GroupFuture)
    for nothing in (laila.memorize([]), laila.remember([]), laila.forget([]), laila.remember(nickname=[])):
        assert isinstance(nothing, laila.GroupFuture)
        assert nothing.result == []
    assert laila.forget(entry).result is None
    with pytest.raises(RuntimeError, match="Entry"):
        _ = laila.memorize(entry).data


@given(payloads())
@settings(max_examples=60, deadline=None)
def test_what_you_memorize_is_what_you_get_back(payload: Any) -> None:
    assert_same(payload, laila.remember(laila.memorize(laila.constant(payload)).result).data)


def test_remember_gives_each_caller_its_own_writable_data(pool: laila.Pool) -> None:
    entry = laila.constant({"a": np.zeros(3), "l": [1]})
    laila.memorize(entry).wait()
    first, second = laila.remember(entry).data, laila.remember(entry).data
    first["a"][0] = 5
    first["l"].append(2)
    assert second["a"][0] == 0
    assert second["l"] == [1]
    assert laila.remember(entry).data["l"] == [1]
    both = laila.remember([entry, entry]).data
    both[0]["l"].append(9)
    assert both[1]["l"] == [1]


def test_memorize_takes_a_snapshot(pool: laila.Pool) -> None:
    data = {"a": np.zeros(3), "l": [1], "b": bytearray(b"x" * 100_000)}
    entry = laila.constant(data)
    if isinstance(pool, Blocking):
        pool.gate.clear()
    future = laila.memorize(entry)
    data["a"][:] = 7  # type: ignore[index]
    data["l"].append(2)  # type: ignore[attr-defined]
    data["b"][0] = 0  # type: ignore[index]
    if isinstance(pool, Blocking):
        assert entry.state is EntryState.POOLING
        pool.gate.set()
    future.wait()
    back = laila.remember(entry).data
    assert back["a"].tolist() == [0, 0, 0]
    assert back["l"] == [1]
    assert back["b"] == b"x" * 100_000


def test_copy_false_gives_read_only_views(pool: laila.Pool) -> None:
    entry = laila.constant(np.arange(1000.0))
    laila.memorize(entry).wait()
    view = laila.remember(entry, copy=False).data
    assert not view.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1
    with pytest.raises(ValueError):  # noqa: PT011 - the codec's: it says writable
        laila.memorize(laila.constant(np.zeros(3)), copy=False)
    frozen = np.arange(5.0)
    frozen.flags.writeable = False
    laila.memorize(laila.constant(frozen, nickname="frozen"), copy=False).wait()
    assert laila.remember(nickname="frozen").data.tolist() == frozen.tolist()


def test_metadata_is_kept(pool: laila.Pool) -> None:
    entry = laila.variable([1], metadata={"who": "me"})
    created = entry.metadata["created"]
    laila.memorize(entry).wait()
    back = laila.remember(entry).result
    assert back.metadata["created"] == created
    assert back.metadata["user"] == {"who": "me"}
    assert {"created", "type", "size", "codec", "transformations", "user"} <= set(back.metadata)
    laila.memorize(back.evolve(data=[2])).wait()
    again = laila.remember(back).result
    assert again.metadata["user"] == {"who": "me"}
    side = laila.memory.extend(laila.MemoryPool(nickname="side"))
    laila.memorize(again, pool_nickname="side").wait()
    assert (
        laila.remember(again, pool_id=side.global_id).result.metadata["created"] == again.metadata["created"]
    )


def test_states(pool: laila.Pool) -> None:
    entry = laila.variable(1)
    states = [entry.state]
    laila.memorize(entry).wait()
    states.append(entry.state)
    assert states == [EntryState.READY, EntryState.POOLED]
    assert entry.evolve(data=2).state is EntryState.READY
    assert laila.remember(f"{STEM}{entry.uuid}-0").result.state is EntryState.READY
    entry.state = EntryState.STALE
    laila.memorize(entry).wait()
    assert entry.state is EntryState.POOLED
    loser = laila.variable("x", uuid=entry.uuid)
    assert isinstance(laila.runtime.exception(laila.memorize(loser)), EvolutionConflictError)
    assert loser.state is EntryState.READY


def test_an_entry_that_evolves_while_it_is_written_is_not_pooled() -> None:
    pool = Blocking()
    laila.memory.alpha_pool = pool
    pool.gate.clear()
    entry = laila.variable(0)
    future = laila.memorize(entry)
    while future.status != "running":
        time.sleep(0.001)
    laila.command.pause()
    entry.evolve(data=1)
    later = laila.memorize(entry)
    pool.gate.set()
    future.wait()
    states = [entry.state]
    laila.command.start()
    later.wait()
    states.append(entry.state)
    assert laila.history(entry) == [0, 1]
    pool.gate.clear()
    future = laila.memorize(entry.evolve(data=2))
    entry.evolve(data=3)
    pool.gate.set()
    future.wait()
    assert [*states, entry.state] == [EntryState.POOLING, EntryState.POOLED, EntryState.READY]


def test_a_cancelled_memorize_leaves_the_entry_ready() -> None:
    pool = Blocking()
    laila.memory.alpha_pool = pool
    laila.command.pause()
    try:
        one, many = laila.constant(1), [laila.constant(2), laila.constant(3)]
        future, group = laila.memorize(one), laila.memorize(many)
        assert future.cancel()
        assert group.cancel()
        assert {entry.state for entry in (one, *many)} == {EntryState.READY}
    finally:
        laila.command.start()
    assert list(pool.keys()) == []


# -- constants and variables ---------------------------------------------------------------------------------


def test_a_constant_is_never_changed_unless_asked(pool: laila.Pool) -> None:
    entry = laila.constant({"x": 1}, nickname="c")
    laila.memorize(entry).wait()
    laila.memorize(laila.constant({"x": 1}, nickname="c", metadata={"other": 1})).wait()
    assert laila.remember(nickname="c").result.metadata["user"] == {}  # nothing was written
    for other in ({"x": 2}, {"x": 1.0}, {"x": True}, None, {"x": 1, "y": 2}):
        error = laila.runtime.exception(laila.memorize(laila.constant(other, nickname="c")))
        assert isinstance(error, ImmutableEntryError)
        assert error.key == entry.global_id
        assert "overwrite=True" in str(error)
    assert laila.remember(nickname="c").data == {"x": 1}
    laila.memorize(laila.constant("new", nickname="c"), overwrite=True).wait()
    assert laila.remember(nickname="c").data == "new"


def test_overwrite_never_replaces_an_evolution(pool: laila.Pool) -> None:
    v, c = laila.variable("first"), laila.constant("first")
    laila.memorize([v, c]).wait()
    group = laila.memorize(
        [
            laila.variable("second", uuid=v.uuid),
            laila.constant("second", uuid=c.uuid),
            laila.constant("third"),
        ],
        overwrite=True,
    )
    assert [type(e) for e in group.exceptions] == [EvolutionConflictError]
    assert laila.remember([v, c]).data == ["first", "second"]


def test_evolutions_have_keys_of_their_own(pool: laila.Pool) -> None:
    v = laila.variable(0, nickname="v")
    ids = [laila.memorize(v).result]
    for i in range(1, 12):
        ids.append(laila.memorize(v.evolve(data=i)).result)
    assert laila.history(v) == laila.history(ids[0]) == laila.history(nickname="v") == list(range(12))
    assert laila.remember(ids).data == list(range(12))
    assert laila.remember(nickname="v").data == 11
    assert laila.memorize(v).result == ids[-1]
    error = laila.runtime.exception(laila.memorize(laila.variable("other", nickname="v", evolution=3)))
    assert isinstance(error, EvolutionConflictError)
    assert all(word in str(error) for word in ("remember", "evolve", 'on_conflict="next"'))
    assert laila.forget(ids[5]).result is None
    assert laila.history(v) == [*range(5), *range(6, 12)]
    assert laila.forget(nickname="v").result is None
    assert laila.history(v) == []
    assert list(pool.keys()) == []


def test_an_id_without_evolution_means_the_constant_first(pool: laila.Pool) -> None:
    c = laila.constant("constant")
    v = laila.variable("variable", uuid=c.uuid)
    laila.memorize([c, v]).wait()
    assert laila.remember(c).data == "constant"
    laila.forget(c).wait()
    assert laila.remember(c.global_id).data == "variable"
    laila.forget(c.global_id).wait()
    with pytest.raises(KeyError):
        laila.remember(c).wait()


def test_on_conflict_next(pool: laila.Pool) -> None:
    v = laila.variable("a")
    laila.memorize(v).wait()
    twin = laila.variable("b", uuid=v.uuid, metadata={"k": 1})
    gid = laila.memorize(twin, on_conflict="next").result
    assert gid == f"{STEM}{v.uuid}-1"
    assert (twin.global_id, twin.evolution, twin.state) == (gid, 1, EntryState.POOLED)
    assert laila.remember(gid).result.metadata["user"] == {"k": 1}
    assert laila.memorize(laila.variable("a", uuid=v.uuid), on_conflict="next").result == v.global_id
    c = laila.constant(1)
    laila.memorize(c).wait()
    with pytest.raises(ImmutableEntryError):
        laila.memorize(laila.constant(2, uuid=c.uuid), on_conflict="next").wait()
    with pytest.raises(ValueError, match="on_conflict"):
        laila.memorize(v, on_conflict="last")  # type: ignore[call-overload]


def test_of_threads_that_race_for_an_evolution_one_wins(pool: laila.Pool) -> None:
    for number in range(5):
        base = laila.variable(0)
        with ThreadPoolExecutor(12) as threads:
            errors = list(
                threads.map(
                    lambda i, base=base: laila.runtime.exception(
                        laila.memorize(laila.variable(i, uuid=base.uuid))
                    ),
                    range(12),
                )
            )
        assert errors.count(None) == 1, number
        assert {type(e) for e in errors if e is not None} == {EvolutionConflictError}
        assert laila.remember(base).data == errors.index(None)


def test_with_on_conflict_next_all_get_in(pool: laila.Pool) -> None:
    base = laila.variable("base")
    laila.memorize(base).wait()
    with ThreadPoolExecutor(12) as threads:
        ids = list(
            threads.map(
                lambda i: laila.memorize(laila.variable(i, uuid=base.uuid), on_conflict="next").result,
                range(60),
            )
        )
    assert len(set(ids)) == 60
    assert laila.history(base) == list(range(61))
    assert laila.remember(ids).data == list(range(60))


# -- names ---------------------------------------------------------------------------------------------------


def test_a_nickname_means_an_entry_then_a_manifest(pool: laila.Pool) -> None:
    entry = laila.constant("entry", nickname="both")
    m = laila.manifest({"a": laila.constant(1)}, nickname="both")
    laila.memorize(m).wait()
    assert laila.remember(nickname="both").result == m
    laila.memorize(entry).wait()
    for verb in (laila.remember, laila.forget):
        with pytest.raises(ValueError, match="scope="):
            verb(nickname="both").wait()
    assert laila.remember(nickname="both", scope="ENTRY").data == "entry"
    assert laila.remember(nickname="both", scope="MANIFEST").result == m
    laila.forget(nickname="both", scope="ENTRY").wait()
    assert laila.remember(nickname="both").result == m
    laila.forget(nickname="both").wait()
    with pytest.raises(EntryNotFoundError, match="both"):
        laila.remember(nickname="both").wait()


def test_nicknames_in_one_batch() -> None:
    pool = Blocking()
    laila.memory.alpha_pool = pool
    laila.memorize([laila.constant(i, nickname=f"n{i}") for i in range(20)]).wait()
    pool.calls = 0
    group = laila.remember(nickname=[f"n{i}" for i in range(20)])
    assert group.data == list(range(20))
    assert pool.calls == 1
    group = laila.remember(nickname=["n1", "nobody", "n1"])
    assert [laila.runtime.exception(f) and type(f.exception) for f in group.futures()] == [
        None,
        EntryNotFoundError,
        None,
    ]
    assert [e and e.data for e in laila.remember(nickname=["n1", "nobody"], missing_ok=True).result] == [
        1,
        None,
    ]
    group = laila.forget(nickname=["n1", "nobody", "n2"])
    assert [laila.runtime.exception(f) and type(f.exception) for f in group.futures()] == [
        None,
        EntryNotFoundError,
        None,
    ]
    assert laila.forget(nickname=["n1"], missing_ok=True).result == [None]
    assert len(list(pool.keys())) == 18


def test_a_variable_by_its_nickname_is_the_newest(pool: laila.Pool) -> None:
    v = laila.variable("zero", nickname="v")
    laila.memorize(v).wait()
    laila.memorize(v.evolve(data="one")).wait()
    assert laila.remember(nickname="v").data == "one"
    assert laila.remember(nickname=["v"]).data == ["one"]


def test_the_namespace_of_the_call_counts(pool: laila.Pool) -> None:
    laila.memorize(laila.constant(1, nickname="n")).wait()
    laila.command.pause()
    try:
        future = laila.remember(nickname="n")
        laila.set_active_namespace("elsewhere")
    finally:
        laila.command.start()
        assert future.data == 1
        assert isinstance(laila.runtime.exception(laila.remember(nickname="n")), EntryNotFoundError)
        laila.set_active_namespace("laila")


# -- bad input: a clear error at once, and nothing written ---------------------------------------------------


def cycle() -> list[Any]:
    made: list[Any] = []
    made.append({"x": made})
    return made


@pytest.mark.parametrize(
    "thing",
    [
        3,
        None,
        "text",
        b"bytes",
        {"a": 1},
        {"a": laila.constant(1)},
        [1],
        [laila.constant(1), 2],
        object(),
        1.5,
    ],
)
def test_what_is_no_entry_is_a_type_error(pool: laila.Pool, thing: Any) -> None:
    with pytest.raises(TypeError, match=r"laila\.constant") as caught:
        laila.memorize(thing)
    assert isinstance(caught.value, LailaError)
    assert list(pool.keys()) == []


def test_a_payload_that_cannot_round_trip_names_the_place(pool: laila.Pool) -> None:
    good = laila.constant(1)
    with open(__file__, encoding="utf-8") as file:
        for payload, place in (
            ({"a": [0, file]}, r"\['a'\]\[1\]"),
            (cycle(), r"\[0\]\['x'\]"),
            (threading.Lock(), "payload"),
        ):
            bad = laila.constant(payload)
            with pytest.raises(PayloadError, match=place):
                laila.memorize([good, bad])
            assert bad.state is EntryState.READY
    assert good.state is EntryState.READY
    assert list(pool.keys()) == []


@pytest.mark.parametrize("verb", [laila.remember, laila.forget])
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("nonsense",), ValueError),
        ((["nonsense"],), ValueError),
        ((f"{STEM}3c78a603-2d6f-58e2-a9f1-3c235d037ee7-01",), ValueError),
        (("LAILA:POOL:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7",), ValueError),
        ((3,), TypeError),
        (([3],), TypeError),
        ((b"x",), TypeError),
        (({"a": 1},), TypeError),
        ((), TypeError),
        ((None,), TypeError),
    ],
)
def test_malformed_ids_are_refused_at_once(
    pool: laila.Pool, verb: Any, arguments: tuple[Any, ...], error: type
) -> None:
    with pytest.raises(error) as caught:
        verb(*arguments)
    assert isinstance(caught.value, LailaError)


@pytest.mark.parametrize("verb", [laila.remember, laila.forget])
def test_bad_names_are_refused_at_once(verb: Any) -> None:
    for arguments in (
        {"nickname": ""},
        {"nickname": ["a", ""]},
        {"nickname": "a", "scope": "POOL"},
        {"entry_ids": laila.constant(1), "nickname": "a"},
    ):
        with pytest.raises(ValueError):  # noqa: PT011 - several, all at once
            verb(**arguments)
    for wrong in (
        {"nickname": 3},
        {"nickname": b"a"},
        {"entry_ids": laila.constant(1), "scope": "ENTRY"},
        {"nickname": [3]},
    ):
        with pytest.raises((TypeError, IdentityError)):
            verb(**wrong)


def test_an_unknown_pool_is_refused_at_once_and_lists_the_registered(pool: laila.Pool) -> None:
    laila.memory.extend(laila.MemoryPool(nickname="known"))
    entry = laila.constant(1)
    for where in ({"pool_nickname": "nowhere"}, {"pool_id": "LAILA:POOL:GLOBAL_ID:x"}, {"affinity": 99.0}):
        for call in (
            lambda where=where: laila.memorize(entry, **where),
            lambda where=where: laila.remember(entry, **where),
            lambda where=where: laila.forget(entry, **where),
            lambda where=where: laila.history(entry, **where),
        ):
            with pytest.raises(KeyError, match="known") as caught:
                call()
            assert isinstance(caught.value, PoolNotFoundError)
            assert "known" in caught.value.registered
    assert entry.state is EntryState.READY


def test_missing_entries(pool: laila.Pool) -> None:
    there, gone = laila.constant(1), laila.constant(2)
    laila.memorize(there).wait()
    for verb in (laila.remember, laila.forget):
        error = laila.runtime.exception(verb(gone))
        assert isinstance(error, EntryNotFoundError)
        assert isinstance(error, KeyError)
        assert gone.uuid in str(error)
        assert pool.label in str(error)
        assert (error.key, error.pool) == (gone.global_id, pool.label)
        assert verb(gone, missing_ok=True).result is None
    group = laila.remember([gone, there, gone])
    assert [laila.runtime.exception(f) and type(f.exception) for f in group.futures()] == [
        EntryNotFoundError,
        None,
        EntryNotFoundError,
    ]
    assert len(group.exceptions) == 2
    assert [e and e.data for e in laila.remember([gone, there], missing_ok=True).result] == [None, 1]
    with pytest.raises(EntryNotFoundError):
        laila.forget([there, gone]).wait()
    assert list(pool.keys()) == []
    assert laila.forget([there, gone], missing_ok=True).result == [None, None]
    assert laila.history(gone) == []


def test_history_takes_one(pool: laila.Pool) -> None:
    with pytest.raises(TypeError, match="one"):
        laila.history([laila.variable(1)])  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        laila.history()
    with pytest.raises(SettingsError):
        laila.history(laila.variable(1), nickname="a")


class Mine:
    """A class of the user's that needs a signature."""

    def __init__(self, x: int) -> None:
        self.x = x


def test_a_policy_may_refuse_what_needs_code() -> None:
    strict = laila.DefaultPolicy(pickle=False)
    try:
        with pytest.raises((PayloadError, UntrustedPayloadError)):
            strict.central.memory.memorize(laila.constant(Mine(1)))
        assert list(strict.central.memory.alpha_pool.keys()) == []
        assert strict.central.memory.memorize(laila.constant([1])).result
    finally:
        strict.close()


# -- where the work runs -------------------------------------------------------------------------------------


def test_memory_runs_in_the_caller_and_a_blocking_pool_in_the_task_force() -> None:
    entry = laila.constant(1)
    future = laila.memorize(entry)
    assert future.finished()
    pool = Blocking()
    laila.memory.alpha_pool = pool
    laila.memorize([entry, laila.constant(2)]).wait()
    assert threading.get_ident() not in pool.threads
    assert len(pool.threads) == 1
    cache = laila.MemoryPool()
    cache << pool
    laila.memory.alpha_pool = cache
    assert laila.remember(entry).data == 1
    local = laila.constant(3)
    assert laila.memorize(local).finished()  # a read cache alone never blocks a write


def test_after_the_task_force_was_shut_down_the_caller_does_the_work() -> None:
    pool = Blocking()
    laila.memory.alpha_pool = pool
    laila.command.shutdown()
    entry = laila.constant(1)
    assert laila.memorize(entry).finished()
    assert laila.remember([entry]).data == [1]
    assert pool.threads == {threading.get_ident()}


def test_a_guarantee_waits_for_the_verbs() -> None:
    pool = Blocking()
    laila.memory.alpha_pool = pool
    entries = [laila.constant(i) for i in range(5)]
    with laila.guarantee:
        for entry in entries:
            laila.memorize(entry)
    assert len(pool.files) == 5
    with pytest.raises(EntryNotFoundError), laila.guarantee:
        laila.remember(laila.constant(1))


def test_twenty_thousand_cycles_leave_nothing() -> None:
    pool = laila.alpha_pool
    bank = laila.active_policy.future_bank
    before = len(bank)
    for i in range(20_000):
        gid = laila.memorize(laila.constant(i)).result
        laila.forget(gid).wait()
    assert list(pool.keys()) == []
    assert len(bank) <= max(before, 1024)
    assert not pool._flights._under_way
    assert laila.alpha_pool._numbers == {}  # type: ignore[attr-defined]
