"""The wire page is enough: a client of JSON, hashlib and a WebSocket drives a node, without laila."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import laila
from servers.peers import SECRET, Node
from servers.plain import Plain

READER = "reads only, and is long enough for that"


def test_a_plain_client_calls_a_function_and_reads_and_writes(peer: Any, node: Node) -> None:
    entry = laila.constant(np.arange(200_000.0), nickname="for everybody")
    peer.central.memory.memorize(entry).wait()
    with Plain(node.uri, SECRET) as plain:
        assert plain.role == "write"
        result, _ = plain.call("describe")
        assert result["policy"] == node.policy_id
        result, _ = plain.call("central.command.submit", {"function": "double", "args": [21]})
        assert result == 42
        result, blobs = plain.call("central.memory.remember", [entry.global_id])
        assert result == {"$blob": 0}
        # It is the blob as the page on its format says; here laila may read it.
        blob = laila.Blob.from_bytes(blobs[0])
        assert blob.key == entry.global_id
        assert blob.buffers[0].nbytes == 1_600_000
        assert plain.call("central.memory.forget", [entry.global_id])[0] is None
        with pytest.raises(RuntimeError, match="EntryNotFoundError"):
            plain.call("central.memory.remember", {"*": [entry.global_id]})
        stored, _ = plain.call(
            "central.memory.memorize", [[{"$blob": 0}, {"$blob": 1}]], [blobs[0], blobs[0]]
        )
        assert stored == [entry.global_id, entry.global_id]
    assert np.array_equal(peer.central.memory.remember(nickname="for everybody").data, np.arange(200_000.0))
    peer.central.memory.forget(entry).wait()


def test_several_calls_are_answered_as_they_are_done(node: Node) -> None:
    with Plain(node.uri, SECRET) as plain:
        plain.send(
            {"id": "slow", "method": "central.command.submit", "params": {"function": "nap", "args": [0.5]}}
        )
        plain.send({"id": "quick", "method": "describe"})
        assert plain.receive()["id"] == "quick"
        assert plain.receive() == {"jsonrpc": "2.0", "id": "slow", "result": 0.5}


def test_a_time_limit_and_a_cancellation_cross(node: Node) -> None:
    nap = {"method": "central.command.submit", "params": {"function": "nap", "args": [2]}}
    with Plain(node.uri, SECRET) as plain:
        plain.send({"id": 1, **nap, "laila": {"timeout": 0.1}})
        assert plain.receive(1.5)["error"]["code"] == -32003
        plain.send({"id": 2, **nap})
        plain.send({"method": "laila.cancel", "params": {"id": 2}})
        assert plain.receive(1.5)["error"]["code"] == -32004


def test_an_idempotency_key_is_honoured_for_those_with_an_identity_alone(node: Node) -> None:
    """Without one, two clients could mean the same key."""
    with Plain(node.uri, SECRET) as plain:
        call = {"method": "central.command.submit", "params": {"function": "count"}, "laila": {"key": "once"}}
        plain.send({"id": 1, **call})
        first = plain.receive()["result"]
        plain.send({"id": 2, **call})
        assert plain.receive()["result"] == first + 1


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({"id": 1, "method": "central.memory.remember", "params": "x"}, "params"),
        ({"id": 1, "method": "central.memory.remember", "params": {"*": 3}}, "array"),
        (
            {"id": 1, "method": "central.memory.remember", "params": [{"$entry": 7}]},
            "no blob of this message",
        ),
        ({"id": 1, "method": "central.memory.remember", "params": {"nonsense": 1}}, "nonsense"),
        ({"id": 1, "method": "central.memory.remember", "params": ["nonsense"]}, "global id"),
        ({"id": 1, "method": "central.memory.remember", "params": [[1, 2]]}, "int"),
        ({"id": 1, "method": "central.memory.memorize", "params": [{"a": 1}]}, "dict|str"),
        ({"id": 1, "method": "central.memory.remember", "params": {"pool_id": 4, "*": ["x"]}}, "text"),
        ({"id": 1, "method": "no.such.method"}, "not exported"),
        ({"id": 1, "method": ""}, "not exported"),
    ],
)
def test_wrong_params_are_answered_and_hurt_nobody(message: dict[str, Any], error: str, node: Node) -> None:
    with Plain(node.uri, SECRET) as plain:
        plain.send(message)
        answer = plain.receive()
        assert answer["id"] == 1
        assert any(part in answer["error"]["message"] for part in error.split("|")), answer
        assert plain.call("describe")[0]["policy"] == node.policy_id


def test_damaged_blobs_are_answered_and_hurt_nobody(node: Node) -> None:
    entry = laila.constant(b"x" * 100_000)
    pool = laila.MemoryPool()
    pool[entry.global_id] = entry
    whole = bytes(pool[entry.global_id])
    with Plain(node.uri, SECRET) as plain:
        for bad in (whole[:-1], whole + b"x", os.urandom(200), b"LAILABLB", whole[:500] + b"!" + whole[501:]):
            with pytest.raises(RuntimeError, match="CorruptEntryError"):
                plain.call("central.memory.memorize", [{"$blob": 0}], [bad])
        assert plain.call("central.memory.memorize", [{"$blob": 0}], [whole])[0] == entry.global_id
        assert plain.call("central.memory.forget", [entry.global_id])[0] is None


def test_a_notification_is_done_without_an_answer(node: Node) -> None:
    with Plain(node.uri, SECRET) as plain:
        plain.send({"method": "central.command.submit", "params": {"function": "count"}})
        first = plain.call("central.command.submit", {"function": "count"})[0]
        assert first >= 2


def test_the_errors_say_their_parts(node: Node) -> None:
    missing = laila.constant(1).global_id
    with Plain(node.uri, SECRET) as plain, pytest.raises(RuntimeError) as raised:
        plain.call("central.memory.remember", [missing])
    error = json.loads(str(raised.value))
    assert error["code"] == -32000
    assert error["data"]["type"] == "EntryNotFoundError"
    assert error["data"]["parts"]["key"] == missing


def test_a_reader_may_read(node: Node, start_node: Callable[..., Node]) -> None:
    with Plain(node.uri, READER) as plain:
        assert plain.role == "read"
        assert plain.call("describe")[0]["role"] == "read"
        assert plain.call("central.command.submit", {"function": "double", "args": ["ab"]})[0] == "abab"
        with pytest.raises(RuntimeError, match="needs the role 'write'"):
            plain.call("central.memory.forget", [laila.constant(1).global_id])
