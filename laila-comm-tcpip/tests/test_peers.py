"""What a user does: two processes, each using what the other has, exactly as its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import laila
from laila.errors import (
    EntryNotFoundError,
    EvolutionConflictError,
    ImmutableEntryError,
    InvalidArgumentError,
    InvalidTaskError,
    ManifestError,
    NotSupportedError,
    PeerRefusedError,
    RemoteError,
)
from servers.peers import SECRET, Node

PAYLOADS: list[Any] = [
    {"nested": [1, 2.5, (3, "x"), {4: b"bytes"}], "nan": float("inf")},
    None,
    "",
    -0.0,
    10**40,
    {"set": {1, 2}, "frozen": frozenset("ab")},
    [[]],
    np.arange(12, dtype=">i2").reshape(3, 4),
    np.asfortranarray(np.ones((3, 4))),
]


@pytest.mark.parametrize("payload", PAYLOADS, ids=[str(i) for i in range(len(PAYLOADS))])
def test_an_entry_comes_back_exactly_as_from_a_pool_of_ones_own(peer: Any, payload: Any) -> None:
    entry = laila.constant(payload, nickname=f"exact {payload!r:.20}", metadata={"note": "mine"})
    assert peer.central.memory.memorize(entry).result == entry.global_id
    assert entry.state is laila.EntryState.POOLED
    got = peer.central.memory.remember(entry.global_id).result
    local = laila.MemoryPool()
    local[entry.global_id] = entry
    assert type(got) is laila.Entry
    assert got == entry
    assert got.nickname == entry.nickname
    assert got.metadata["user"] == {"note": "mine"}
    assert type(got.data) is type(payload)
    if isinstance(payload, np.ndarray):
        assert got.data.dtype == payload.dtype
        assert got.data.flags.f_contiguous == payload.flags.f_contiguous
        assert got.data.flags.writeable
        assert np.array_equal(got.data, payload)
    else:
        assert got.data == payload
    peer.central.memory.forget(entry).wait()


def test_every_verb_runs_over_there_while_the_peer_is_the_active_policy(peer: Any, node: Node) -> None:
    laila.active_policy = peer
    entry = laila.constant({"lr": 0.1}, nickname="settings")
    laila.memorize(entry).wait()
    assert laila.remember(nickname="settings").data == {"lr": 0.1}
    assert laila.remember(entry.global_id).data == {"lr": 0.1}
    assert laila.remember(
        ["LAILA:ENTRY:GLOBAL_ID:" + "0" * 8 + "-0000-4000-8000-" + "0" * 12], missing_ok=True
    ).result == [None]
    manifest = laila.Manifest({"a": entry, "b": [laila.constant(1), laila.constant(2)]}, nickname="tree")
    assert laila.memorize(manifest).result[-1] == manifest.global_id
    found = laila.remember(nickname="tree").result
    assert found.resolved["b"][1].data == 2
    assert [one.data for one in found.remember(batch_size=2).result] == [{"lr": 0.1}, 1, 2]
    found.forget().wait()
    assert laila.remember(nickname="tree", missing_ok=True).result is None
    with pytest.raises(EntryNotFoundError) as missing:
        laila.forget(entry).wait()
    assert missing.value.key == entry.global_id
    assert "MemoryPool" in missing.value.pool


def test_futures_of_a_peer_are_futures(peer: Any) -> None:
    laila.active_policy = peer
    entry = laila.constant(7)
    stored = laila.memorize(entry)
    assert isinstance(stored, laila.RemoteFuture)
    assert stored.wait(10) == entry.global_id
    assert laila.status(stored.global_id) == "finished"

    async def awaited() -> Any:
        return (await laila.remember(entry.global_id)).data

    assert asyncio.run(awaited()) == 7
    with laila.guarantee:
        futures = [laila.memorize(laila.constant(i)) for i in range(50)]
    assert all(future.finished() for future in futures)
    group = laila.remember([entry.global_id, laila.constant(0).global_id])
    (error,) = group.exceptions
    assert isinstance(error, EntryNotFoundError)
    assert group[0].data == 7
    seen: list[Any] = []
    # A callback may wait for the very peer: it does not run on the thread that reads the network.
    future = laila.remember(entry.global_id)
    future.add_callback("finished", lambda done: seen.append(laila.remember(done.result.global_id).data))
    future.wait()
    list(laila.as_completed([laila.remember(entry.global_id) for _ in range(5)]))
    for _ in range(1000):
        if seen:
            break
        laila.remember(entry.global_id).wait()
    assert seen == [7]


def test_conflicts_are_those_of_a_pool_of_ones_own(peer: Any) -> None:
    laila.active_policy = peer
    laila.memorize(laila.constant(1, nickname="fixed")).wait()
    laila.memorize(laila.constant(1, nickname="fixed")).wait()
    with pytest.raises(ImmutableEntryError, match="overwrite=True"):
        laila.memorize(laila.constant(2, nickname="fixed")).wait()
    laila.memorize(laila.constant(2, nickname="fixed"), overwrite=True).wait()
    assert laila.remember(nickname="fixed").data == 2
    variable = laila.variable("first", nickname="moves")
    laila.memorize(variable).wait()
    rival = laila.variable("rival", nickname="moves")
    with pytest.raises(EvolutionConflictError):
        laila.memorize(rival).wait()
    assert laila.memorize(rival, on_conflict="next").result == f"{variable.global_id[:-2]}-1"
    assert rival.evolution == 1
    assert laila.history(nickname="moves") == [0, 1] == laila.history(variable)
    assert laila.remember(nickname="moves").data == "rival"
    laila.forget(nickname=["moves", "fixed"]).wait()


def test_a_manifest_is_not_stored_without_its_entries(peer: Any) -> None:
    laila.active_policy = peer
    laila.memorize(laila.constant("there", nickname="taken")).wait()
    manifest = laila.Manifest({"good": laila.constant(1), "bad": laila.constant("other", nickname="taken")})
    errors = laila.memorize(manifest).exceptions
    assert [type(error) for error in errors] == [ImmutableEntryError, ManifestError]
    assert laila.remember(manifest.global_id, missing_ok=True).result is None


def test_both_sides_see_each_other_and_either_calls(start_node: Callable[..., Node]) -> None:
    other = start_node()
    mine = laila.DefaultPolicy()
    laila.active_policy = mine
    assert laila.add_peer(other.uri, SECRET) == other.policy_id
    assert list(laila.peers) == [other.policy_id] == list(laila.remote_policies)
    assert {mine.global_id, other.policy_id} <= set(laila.universe)
    entry = laila.constant("here", nickname="mine alone")
    laila.memorize(entry).wait()
    other.run(f"assert list(laila.peers) == [{mine.global_id!r}], laila.peers")
    other.run("(me,) = laila.peers.values()")
    other.run("assert me.central.memory.remember(nickname='mine alone').data == 'here'")
    other.run("me.central.memory.memorize(laila.constant('there', nickname='sent')).wait()")
    assert laila.remember(nickname="sent").data == "there"
    mine.close()


def test_an_entry_is_found_on_any_peer(policy: laila.DefaultPolicy, start_node: Callable[..., Node]) -> None:
    nodes = [start_node(), start_node()]
    peers = [laila.peers[laila.add_peer(node.uri, SECRET)] for node in nodes]
    entry = laila.constant([1, 2])
    # Not in the alpha pool over there, and of the second peer alone.
    nodes[1].run("side = laila.memory.extend(laila.MemoryPool(), pool_nickname='side')")
    peers[1].central.memory.memorize(entry, pool_nickname="side").wait()
    assert policy.remember(entry.global_id) is None
    found = policy.remember(entry.global_id, global_fetch=True)
    assert found is not None
    assert found.data == [1, 2]
    # A peer that is gone keeps nobody from finding it at another.
    nodes[0].close()
    assert policy.remember(entry.global_id, global_fetch=True) is not None


def test_a_global_update_reaches_all(policy: laila.DefaultPolicy, start_node: Callable[..., Node]) -> None:
    nodes = [start_node(), start_node()]
    peers = [laila.peers[laila.add_peer(node.uri, SECRET)] for node in nodes]
    entry = laila.constant("everywhere")
    future = policy.memorize(entry, require_global_update=True)
    assert future.finished()
    for peer in peers:
        assert peer.central.memory.remember(entry.global_id).data == "everywhere"
        found = peer.remember(entry.global_id)
        assert found is not None
        assert found.data == "everywhere"


def test_exported_functions_are_called_by_name(peer: Any) -> None:
    command = peer.central.command
    assert command.submit(command.task("double", 4), wait=True) == 8
    assert command.submit([command.task("double", i) for i in range(3)], wait=True) == [0, 2, 4]
    assert np.array_equal(command.submit(command.task("double", np.ones(3)), wait=True), [2, 2, 2])
    assert command.submit(command.task("double", x=(1, "a")), wait=True) == (1, "a", 1, "a")
    entry = command.submit(command.task("double", 1), wait=False)
    assert entry.result == 2

    @laila.export(name="double")
    def here(x: int) -> int:
        raise AssertionError("this must not run here")

    assert command.submit(partial(here, 21), wait=True) == 42
    assert list(command.map([partial(here, 1), partial(here, 2)])) == [2, 4]
    laila.active_policy = peer
    assert laila.command.submit(partial(here, 5), wait=True) == 10


def test_errors_of_functions_come_back(peer: Any) -> None:
    command = peer.central.command
    with pytest.raises(ZeroDivisionError, match="divided"):
        command.submit(command.task("fail", "known"), wait=True)
    with pytest.raises(RemoteError, match="only this side has") as other:
        command.submit(command.task("fail", "own"), wait=True)
    assert "Own" in other.value.type_name
    with pytest.raises(TypeError):
        command.submit(command.task("double", 1, 2), wait=True)


def test_code_is_not_shipped(peer: Any) -> None:
    with pytest.raises(InvalidTaskError, match="not exported"):
        peer.central.command.submit(lambda: 1)
    with pytest.raises(PeerRefusedError, match="admin"):
        peer.central.command.submit(lambda: 1, ship=True, wait=True)


def test_code_is_shipped_where_both_sides_ask_for_it_and_share_the_key(
    policy: laila.DefaultPolicy, start_node: Callable[..., Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = "administers, and is long enough for that"
    monkeypatch.setenv("LAILA_SECRET_KEY", "s" * 40)  # the node has it, too
    node = start_node(secrets={admin: "admin"})
    peer = laila.peers[laila.add_peer(node.uri, admin)]
    mine = 20
    with pytest.raises(PeerRefusedError, match="run_signed_code"):
        peer.central.command.submit(lambda: mine + 1, ship=True, wait=True)
    node.run("laila.communication.run_signed_code = True")
    assert peer.central.command.submit(lambda: mine + 1, ship=True, wait=True) == 21
    # Signed with a key that the node does not have: nothing is run.
    monkeypatch.setenv("LAILA_SECRET_KEY", "k" * 40)
    with pytest.raises(PermissionError, match="Nothing was imported or run"):
        peer.central.command.submit(lambda: mine + 1, ship=True, wait=True)


def test_what_stays_over_there_says_so(peer: Any) -> None:
    with pytest.raises(NotSupportedError):
        peer.extend(laila.MemoryPool())
    with pytest.raises(NotSupportedError):
        _ = peer.central.memory.alpha_pool
    with pytest.raises(NotSupportedError):
        peer.central.memory.borrow([])


def test_wrong_arguments_are_refused_before_anything_is_sent(peer: Any) -> None:
    laila.active_policy = peer
    with pytest.raises(InvalidArgumentError, match="constant"):
        laila.memorize({"no": "entry"})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="global id"):
        laila.remember("nonsense")


def test_a_protocol_starts_again_with_its_last_node() -> None:
    protocol = laila.DefaultTCPIPProtocol(port=0, peer_secret_key=SECRET)
    with pytest.raises(NotSupportedError, match="add_connection"):
        protocol.start()
    with laila.DefaultPolicy() as policy:
        policy.central.communication.add_connection(protocol)
        protocol.stop()
        assert not protocol.running
        protocol.start()
        assert protocol.running
        protocol.start()  # a no-op
        assert protocol.peer_secret_key == SECRET
        assert SECRET not in repr(protocol) + repr(protocol.options())
