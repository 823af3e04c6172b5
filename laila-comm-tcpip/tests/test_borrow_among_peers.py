"""Leases among peers: one policy grants, whichever of them borrows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import laila
from laila.errors import InvalidArgumentError, LeaseTimeoutError, PeerError
from laila.leasing.lease import Lease
from laila.leasing.tables import MemoryLeases
from laila.peering.granting import PeerLeases, find_grantor, serve_leases
from servers.peers import SECRET, Node

SETUP = """
laila.memorize(laila.variable('there', nickname='n')).wait()
"""


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node(setup=SETUP)
    yield node
    node.close()
    laila.terminate()


def test_a_global_borrow_keeps_out_the_borrowers_of_peers(node: Node) -> None:
    """In both directions, whoever has the smaller id; each stores in a pool of its own."""
    laila.communication.add_connection(laila.DefaultTCPIPProtocol(listen=False))
    laila.memorize(laila.variable("here", nickname="n")).wait()
    peer = laila.add_peer(node.uri, SECRET)
    own = laila.active_policy.global_id
    node.wait_for(f"{own!r} in laila.peers")
    table, where = find_grantor(laila.communication)
    assert isinstance(table, PeerLeases) == (peer < own)
    assert where
    with laila.memory.borrow("n", global_borrow=True) as entries:
        entries[0].evolve(data="mine")
        node.run("error = None")
        node.run(
            'exec(\'try:\\n with laila.memory.borrow("n", True, timeout=0.05): pass\\n'
            "except Exception as e: error = e')"
        )
        node.run("assert type(error).__name__ == 'LeaseTimeoutError' and error.pid")
        node.run("exec('with laila.memory.borrow(\"n\") as entries: pass')")  # its own pool's alone
    assert laila.remember(nickname="n").wait().data == "mine"
    node.run("context = laila.memory.borrow('n', True)")
    node.run("context.__enter__()[0].evolve(data='theirs')")
    with pytest.raises(LeaseTimeoutError) as caught, laila.memory.borrow("n", True, timeout=0.05):
        pass
    assert caught.value.pid == node.process.pid
    node.run("context.__exit__(None, None, None)")
    with laila.memory.borrow("n", True):
        pass
    node.run("assert laila.remember(nickname='n').data == 'theirs'")


def test_a_peer_that_asks_for_something_else_is_refused(node: Node) -> None:
    laila.communication.add_connection(laila.DefaultTCPIPProtocol(listen=False))
    peer = laila.peers[laila.add_peer(node.uri, SECRET)]
    for arguments in (["read", "x"], ["what", []], ["swap", [["k", None, "text"]]], ["read", [5]]):
        with pytest.raises(InvalidArgumentError):
            peer.call("central.memory.leases", arguments).wait()
    lease = Lease(PeerLeases(peer), ["k"], 30, "the peer")
    lease.acquire(5, lambda _: None)
    lease.renew()
    lease.release()


def test_what_a_peer_asks_and_answers_is_checked() -> None:
    table = MemoryLeases()
    record = b"r" * 10
    assert serve_leases(table, "swap", [["k", None, record]]) == [True]
    assert serve_leases(table, "read", ["k", "other"]) == [record, None]
    wrong: list[tuple[object, object]] = [
        ("swap", [["k", record, record], ["k", record, record]]),
        ("swap", [["k", record, b"r" * 5000]]),
        ("swap", [["k" * 600, None, record]]),
        ("read", ["k"] * 1001),
        ("read", None),
    ]
    for what, items in wrong:
        with pytest.raises(InvalidArgumentError):
            serve_leases(table, what, items)

    class Peer:
        def __init__(self, answer: Any) -> None:
            self.answer = answer

        def call(self, *_: Any, **__: Any) -> Peer:
            return self

        def wait(self) -> Any:
            return self.answer

    for answer in (None, [], [5], ["text"]):
        with pytest.raises(PeerError):
            PeerLeases(Peer(answer)).read(["k"])  # type: ignore[arg-type]
    with pytest.raises(PeerError):
        PeerLeases(Peer([1])).swap([("k", None, record)])  # type: ignore[arg-type]
    with pytest.raises(PeerError):
        PeerLeases(Peer(["clock", "late"])).now()  # type: ignore[arg-type]
