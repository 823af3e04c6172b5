"""What the tests of this package share: nodes in processes of their own, and policies in this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import laila
from servers.peers import SECRET, Node


@pytest.fixture(scope="module", autouse=True)
def patience() -> Iterator[None]:
    """Handshakes and heartbeats have time on a machine that is busy; what is about time says so itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAILA_TCPIP_CONNECT_TIMEOUT", "100")
        patch.setenv("LAILA_TCPIP_HEARTBEAT_TIMEOUT", "100")
        yield


@pytest.fixture
def start_node() -> Iterator[Callable[..., Node]]:
    """Start nodes with options; they end with the test."""
    nodes: list[Node] = []

    def start(**options: Any) -> Node:
        nodes.append(Node(**options))
        return nodes[-1]

    yield start
    for node in nodes:
        node.close()


@pytest.fixture(scope="module")
def node(patience: None) -> Iterator[Node]:
    """A node that the tests of a module share, with some exported functions."""
    setup = """
import threading, time
@laila.export(role="read")
def double(x):
    "Give twice as much."
    return x * 2
@laila.export
def fail(kind):
    if kind == "own":
        class Own(Exception): pass
        raise Own("of a class that only this side has")
    raise ZeroDivisionError("divided")
@laila.export
def nap(seconds):
    time.sleep(seconds)
    return seconds
counter = [0]
@laila.export
def count():
    counter[0] += 1
    return counter[0]
@laila.export(role="admin")
def secret_thing(): return 1
laila.alpha_pool.nickname
laila.memory.extend(laila.MemoryPool(), pool_nickname="side", affinity=2)
"""
    started = Node(
        setup=setup,
        secrets={
            "reads only, and is long enough for that": "read",
            "administers, and is long enough": "admin",
        },
    )
    yield started
    started.close()


@pytest.fixture
def policy() -> Iterator[laila.DefaultPolicy]:
    """A fresh policy, active until the test ends."""
    made = laila.DefaultPolicy()
    laila.active_policy = made
    yield made
    made.close()


@pytest.fixture
def peer(policy: laila.DefaultPolicy, node: Node) -> Any:
    """The shared node, as a peer of ``policy``."""
    return laila.peers[laila.add_peer(node.uri, SECRET)]
