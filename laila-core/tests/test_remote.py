"""Peers without a network: what the core brings to any protocol, here to one that is a dict."""

from __future__ import annotations

import json
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import laila
from dict_protocol import WIRES, DictProtocol
from laila import errors
from laila.contract import Request
from laila.contract.wire import (
    check_depth,
    pack,
    pack_error,
    unpack,
    unpack_error,
)
from laila.entry import to_blob
from laila.errors import (
    CorruptEntryError,
    EntryNotFoundError,
    LailaError,
    NotSupportedError,
    PeerDisconnectedError,
    PeerError,
    PeerRefusedError,
    PluginError,
    RemoteError,
    SettingsError,
)
from laila.futures import RemoteFuture
from laila.peering.exports import _functions
from laila.testing.payloads import assert_same, payloads


@pytest.fixture
def peer(policy: laila.DefaultPolicy) -> Iterator[Any]:
    """Another policy, as a peer of the active one."""
    other = laila.DefaultPolicy()
    for one in (policy, other):
        one.central.communication.add_connection(DictProtocol())
    yield laila.peers[laila.add_peer(f"dict://{other.global_id}", "secret")]
    other.close()
    WIRES.clear()


# -- values --------------------------------------------------------------------------------------------------


@given(payloads())
def test_any_value_crosses_exactly(payload: Any) -> None:
    tree, blobs = pack(payload)
    text = json.dumps(tree, allow_nan=False)
    back = unpack(json.loads(text), [laila.Blob.from_bytes(bytes(blob)) for blob in blobs])
    assert_same(back, payload)


NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.text().filter(lambda name: name[:1] != "$")
PLAIN = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner),
)


@given(PLAIN)
def test_plain_values_are_plain_json(payload: Any) -> None:
    tree, blobs = pack(payload)
    assert not blobs
    assert_same(tree, payload)


@pytest.mark.parametrize(
    "value", [{"$entry": 1}, {"$x": [1]}, (1,), 2**53, float("nan"), {1: 2}, b"x", {"a": {1}}]
)
def test_what_json_would_change_is_a_blob(value: Any) -> None:
    tree, blobs = pack(value)
    assert tree == {"$value": 0}
    assert len(blobs) == 1


def test_entries_blobs_and_errors_keep_what_they_are() -> None:
    entry = laila.constant({"a": 1}, nickname="one")
    _, (blob,) = pack(entry)
    tree, blobs = pack([entry, blob, ValueError("no"), 3, None])
    back = unpack(json.loads(json.dumps(tree)), blobs)
    assert back[0] == entry
    assert back[0].data == {"a": 1}
    assert isinstance(back[1], laila.Blob)
    assert isinstance(back[2], ValueError)
    assert back[3:] == [3, None]


@pytest.mark.parametrize(
    "tree", [{"$entry": 0}, {"$entry": "x"}, {"$entry": -1}, {"$nonsense": 0}, {"$value": 1.0}]
)
def test_a_reference_to_nothing_is_refused(tree: Any) -> None:
    with pytest.raises(ValueError, match=r"\$"):
        unpack(tree, [])


def test_depth_is_bounded() -> None:
    deep: Any = []
    for _ in range(100):
        deep = [deep]
    with pytest.raises(ValueError, match="deeper"):
        check_depth(deep, 64)
    check_depth(deep, 200)
    tree, blobs = pack(deep)  # nested deeper than JSON may be: a blob
    assert tree == {"$value": 0}
    assert unpack(tree, blobs) == deep


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_of_laila_crosses_with_its_parts(name: str) -> None:
    kind = getattr(errors, name)
    error = kind("what happened", key="k", pool="p", many=[1, 2], odd=object())
    back = unpack_error(json.loads(json.dumps(pack_error(error))))
    assert type(back) is kind
    assert str(back) == "what happened"
    assert (back.key, back.pool, back.many) == ("k", "p", [1, 2])  # type: ignore[attr-defined]
    assert not hasattr(back, "odd")


def test_other_errors_cross_as_what_can_be_caught() -> None:
    for error in (ValueError("a", "b"), KeyError("k"), OSError(2, "no"), ZeroDivisionError()):
        back = unpack_error(pack_error(error))
        assert type(back) is type(error)

    class Own(Exception): ...

    back = unpack_error(pack_error(Own("mine")))
    assert isinstance(back, RemoteError)
    assert "Own" in back.type_name
    assert str(back) == "mine"


@pytest.mark.parametrize(
    "given",
    [None, 3, [], {}, {"type": 1}, {"type": "SystemExit"}, {"type": "os.system"}, {"type": "exit"},
     {"type": "__import__"}, {"type": "LailaError", "parts": {"__class__": 1, "args": 2, "_x": 3, "a b": 4}},
     {"type": "LailaError", "parts": 7}, {"type": "OSError", "message": ["x"] * 10_000}],
)  # fmt: skip
def test_a_hostile_error_is_an_error_and_nothing_else(given: Any) -> None:
    back = unpack_error(given)
    assert isinstance(back, (LailaError, OSError))
    assert len(str(back)) < 10_000
    assert not hasattr(back, "_x")
    pickle.loads(pickle.dumps(back))


# -- what a policy shows -------------------------------------------------------------------------------------


@pytest.fixture
def exporting() -> Iterator[None]:
    before = dict(_functions)  # of other tests of this process
    _functions.clear()
    yield
    _functions.clear()
    _functions.update(before)


def test_the_verbs_reach_the_other_policy(peer: Any) -> None:
    entry = laila.constant((1, 2), nickname="pair")
    assert peer.central.memory.memorize(entry).result == entry.global_id
    assert laila.remember(nickname="pair", missing_ok=True).result is None
    laila.active_policy = peer
    assert laila.remember(nickname="pair").data == (1, 2)
    group = laila.remember([entry, laila.constant(0)], missing_ok=True, refresh=True)
    assert group.result[1] is None
    laila.memorize(laila.Manifest({"x": entry}, nickname="tree")).wait()
    assert laila.remember(nickname="tree").result.resolved["x"].data == (1, 2)
    assert laila.peers[peer.global_id] is peer  # the communication is that of this side
    with pytest.raises(EntryNotFoundError):
        laila.forget("LAILA:ENTRY:GLOBAL_ID:00000000-0000-4000-8000-000000000000").wait()


def test_what_is_no_verb_runs_here_while_a_peer_is_active(peer: Any, policy: laila.DefaultPolicy) -> None:
    source, dest = laila.MemoryPool(), laila.MemoryPool()
    entry = laila.constant(1)
    source[entry.global_id] = entry
    laila.active_policy = peer
    (dest <= source).wait()
    assert entry.global_id in dest
    policy.close()
    assert laila.active_policy is not peer  # it went with the policy that it belongs to


def test_an_active_policy_is_a_policy_or_a_peer(peer: Any) -> None:
    with pytest.raises(TypeError):
        laila.active_policy = "a text"  # type: ignore[assignment]


def test_functions_are_exported_by_name(peer: Any, exporting: None) -> None:
    @laila.export
    def twice(x: Any) -> Any:
        "Give it twice."
        return [x, x]

    @laila.export(name="also", role="admin")
    def other() -> int:
        return 1

    command = peer.central.command
    entry = laila.constant(5)
    (first, _) = command.submit(command.task("twice", entry), wait=True)
    assert first == entry
    assert first.data == 5
    assert peer.describe()["functions"] == [{"name": "twice", "role": "write", "summary": "Give it twice."}]
    for name in ("also", "none", "_x", "describe"):
        with pytest.raises(PeerRefusedError, match="exported"):
            command.submit(name, wait=True)
    assert twice(1) == [1, 1]
    assert other() == 1


def test_a_name_means_one_function(exporting: None) -> None:
    def make() -> Callable[[], int]:
        def same() -> int:
            return 1

        return same

    laila.export(make())
    laila.export(make())  # defined again, as in a notebook
    with pytest.raises(SettingsError, match="exported already"):
        laila.export(lambda: 2, name="same")
    with pytest.raises(TypeError):
        laila.export(3)  # type: ignore[call-overload]


def test_a_function_that_gives_a_future_gives_its_result(peer: Any, exporting: None) -> None:
    @laila.export
    def later() -> Any:
        return laila.Future.completed(7)

    @laila.export
    async def never() -> int:
        return 1

    command = peer.central.command
    assert command.submit("later", wait=True) == 7
    with pytest.raises(RemoteError, match="coroutine, which cannot be sent"):
        command.submit("never", wait=True)


def test_a_peer_may_do_what_its_role_says(policy: laila.DefaultPolicy) -> None:
    dispatch = policy.central.communication.dispatch
    with pytest.raises(PeerRefusedError, match="needs the role 'admin'"):
        dispatch("peer", Request(["environment"]))
    assert dispatch("peer", Request(["environment"], role="admin")) == laila.environment
    with pytest.raises(TypeError, match=r"central\.memory\.history"):
        dispatch("peer", Request(["central", "memory", "history"], kwargs={"nonsense": 1}))


def test_a_blob_that_is_no_plain_entry_is_not_filed(policy: laila.DefaultPolicy) -> None:
    pool = laila.MemoryPool(transformations=["zlib"])
    entry = laila.constant([1])
    pool[entry.global_id] = entry
    (transformed,) = pool._read_many([entry.global_id])
    request = Request(["central", "memory", "memorize"], [[transformed]])
    with pytest.raises(TypeError, match="transformed"):
        policy.central.communication.dispatch("peer", request)
    other = laila.Blob("LAILA:POOL:GLOBAL_ID:00000000-0000-4000-8000-000000000000", b"\xc0")
    with pytest.raises(ValueError, match="POOL"):
        policy.central.communication.dispatch("peer", Request(["central", "memory", "memorize"], [[other]]))


def test_a_manifest_that_is_damaged_fails_alone(policy: laila.DefaultPolicy) -> None:
    manifest = laila.Blob("LAILA:MANIFEST:GLOBAL_ID:00000000-0000-4000-8000-000000000000", b"\x07")
    _, (entry,) = pack(laila.constant(1))
    request = Request(["central", "memory", "memorize"], [[manifest, entry]])
    outcomes = policy.central.communication.dispatch("peer", request).wait()  # type: ignore[attr-defined]
    assert isinstance(outcomes[0], CorruptEntryError)
    assert outcomes[1] == entry.key


def test_what_a_peer_sends_with_a_manifest_shares_a_commit(policy: laila.DefaultPolicy) -> None:
    commits: list[list[str]] = []

    class Together(laila.MemoryPool):
        def _create_together(self, items: Any) -> bool:
            if any(self._exists(key) for key, _ in items):
                return False
            commits.append([key for key, _ in items])
            return all(self._create(key, blob) for key, blob in items)

    pool = laila.memory.extend(Together())
    laila.alpha_pool = pool

    def memorize(*given: laila.Entry) -> list[Any]:
        request = Request(["central", "memory", "memorize"], [[to_blob(one) for one in given]])
        return policy.central.communication.dispatch("peer", request).wait()  # type: ignore[attr-defined, no-any-return]

    a, b = laila.constant(1), laila.constant(2)
    inner = laila.manifest({"a": a})
    outer = laila.manifest({"inner": inner, "b": b})
    ids = [one.global_id for one in (outer, a, inner, b)]
    # In the order that was sent an outer manifest comes too early: it is refused, as it always was.
    first, *rest = memorize(outer, a, inner, b)
    assert isinstance(first, errors.ManifestError)
    assert rest == ids[1:]
    assert commits == []
    pool.empty()
    assert memorize(inner, a, outer, b) == [ids[2], ids[1], ids[0], ids[3]]
    assert commits == [[ids[1], ids[3], ids[2], ids[0]]]
    assert memorize(inner, a) == [ids[2], ids[1]]
    assert len(commits) == 1
    taken = laila.constant("other", uuid=a.uuid)
    new = laila.constant(3)
    again = laila.manifest({"taken": taken, "new": new})
    outcomes = [type(one).__name__ for one in memorize(taken, new, again)]
    assert outcomes == ["ImmutableEntryError", "str", "ManifestError"]
    lacking = laila.manifest({"new": new, "gone": laila.constant(4)})
    stored, refused = memorize(new, lacking)
    assert stored == new.global_id
    assert isinstance(refused, errors.EntryNotFoundError)
    assert refused.missing == [lacking["gone"]]
    assert again.global_id not in pool


def test_an_entry_is_found_at_the_first_peer_that_has_it(peer: Any, policy: laila.DefaultPolicy) -> None:
    entry = laila.constant("over there")
    peer.central.memory.memorize(entry).wait()
    found = policy.remember(entry.global_id, global_fetch=True)
    assert found is not None
    assert found.data == "over there"
    WIRES[peer.global_id][0].open = False
    with pytest.raises(PeerDisconnectedError):
        policy.remember(entry.global_id, global_fetch=True)


# -- protocols and peers -------------------------------------------------------------------------------------


def test_a_protocol_that_must_be_told_how_says_so(policy: laila.DefaultPolicy) -> None:
    with pytest.raises(NotSupportedError):
        DictProtocol.outbound()
    with pytest.raises(PluginError):
        laila.add_peer("dict://nobody", "secret")


def test_a_peer_with_two_ways_stays_while_one_is_left(policy: laila.DefaultPolicy) -> None:
    communication = policy.central.communication
    first, second = DictProtocol(), DictProtocol()
    gid = laila.DefaultPolicy().global_id
    communication.peer_joined(gid, first)
    communication.peer_joined(gid, second)
    assert laila.peers[gid].protocol is second
    communication.peer_left(gid, second)
    assert laila.peers[gid].protocol is first
    communication.peer_left(gid, second)
    communication.peer_left(gid, first)
    assert not laila.peers


# -- futures -------------------------------------------------------------------------------------------------


def test_a_remote_future_is_settled_once() -> None:
    told: list[str] = []
    future: RemoteFuture[int] = RemoteFuture(lambda answer: answer + 1)
    future.on_cancel(lambda: told.append("cancelled"))
    assert future.status == "running"
    future.deliver(1)
    future.deliver(5)
    future.fail(ValueError())
    assert future.result == 2
    assert not future.cancel()
    assert not told
    other: RemoteFuture[int] = RemoteFuture()
    assert other.cancel()
    other.on_cancel(lambda: told.append("late"))
    other.deliver(1)
    assert other.cancelled()
    assert told == ["late"]


def test_an_answer_that_cannot_be_taken_fails_the_future() -> None:
    future: RemoteFuture[int] = RemoteFuture(int)
    future.deliver("nonsense")
    assert isinstance(laila.runtime.exception(future), ValueError)
    assert not future.has_callbacks
    waiting: RemoteFuture[int] = RemoteFuture()
    waiting.add_callback("finished", lambda _: None)
    assert waiting.has_callbacks
    waiting.fail(PeerError("over", peer="x"))
    assert isinstance(laila.runtime.exception(waiting), PeerError)


def test_a_forked_child_does_not_wait_for_the_answers_of_its_parent() -> None:
    future: RemoteFuture[int] = RemoteFuture()
    if (pid := os.fork()) == 0:
        os._exit(0 if isinstance(laila.runtime.exception(future), PeerDisconnectedError) else 1)
    assert os.waitpid(pid, 0)[1] == 0
    threading.Timer(0.05, future.deliver, (1,)).start()
    assert future.wait(150) == 1
