"""Failure: peers that die or fall silent, links that break, readers that are slow, and ends in mid-call."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import laila
from laila.comm.tcpip import dialer
from laila.errors import FutureCancelledError, PeerDisconnectedError, PeerError, PeerTimeoutError
from servers.peers import SECRET, Node
from servers.plain import Plain
from servers.proxy import Proxy

FUNCTIONS = """
import threading, time
ran = []
gate = threading.Event()
@laila.export
def nap(seconds):
    ran.append(seconds)
    time.sleep(seconds)
    return len(ran)
@laila.export
def held():
    ran.append("held")
    gate.wait(200)
    return len(ran)
@laila.export(role="read")
def how_many():
    return len(ran)
"""


def connect(policy: laila.DefaultPolicy, uri: str, **options: Any) -> Any:
    """Connect by a protocol with options of its own; the peer."""
    policy.central.communication.add_connection(laila.DefaultTCPIPProtocol(listen=False, **options))
    return policy.central.communication.peers[policy.central.communication.add_peer(uri, SECRET)]


def until(true: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.01)


def answers(peer: Any) -> bool:
    """Whether the peer is connected, by now or again."""
    try:
        return bool(peer.describe())
    except PeerDisconnectedError:
        return False


def nap(peer: Any, seconds: float) -> laila.Future[Any]:
    future: laila.Future[Any] = peer.central.command.submit(peer.central.command.task("nap", seconds))
    return future


def held(peer: Any) -> laila.Future[Any]:
    """A call that ends after ``gate.set()`` over there."""
    future: laila.Future[Any] = peer.central.command.submit("held")
    return future


# -- peers that are gone -------------------------------------------------------------------------------------


def test_a_peer_killed_in_mid_call_fails_the_call_at_once(
    policy: laila.DefaultPolicy, start_node: Callable[..., Node]
) -> None:
    node = start_node(setup=FUNCTIONS)
    peer = connect(policy, node.uri)
    future = nap(peer, 200)
    until(lambda: peer.central.command.submit("how_many", wait=True) == 1)
    node.process.kill()
    with pytest.raises(PeerDisconnectedError) as gone:
        future.wait(60)  # which is before the call would have ended
    assert gone.value.peer == node.policy_id
    until(lambda: not laila.peers)
    with pytest.raises(PeerDisconnectedError):
        peer.describe()


@pytest.mark.parametrize("how", ["the link is silent", "the process stands still"])
def test_a_silent_peer_is_given_up_within_the_bound(
    policy: laila.DefaultPolicy, start_node: Callable[..., Node], how: str
) -> None:
    node = start_node(setup=FUNCTIONS)
    with Proxy(("127.0.0.1", node.port)) as proxy:
        peer = connect(
            policy, f"ws://127.0.0.1:{proxy.port}", heartbeat=0.2, heartbeat_timeout=3.0, reconnect=False
        )
        assert peer.describe()
        future = nap(peer, 200)
        time.sleep(3.5)  # an idle link is no silent one
        assert not future.error()
        if how == "the link is silent":
            proxy.stall = True
        else:
            node.process.send_signal(signal.SIGSTOP)
        with pytest.raises(PeerDisconnectedError, match="silent"):
            future.wait(60)  # which is before the call would have ended
        until(lambda: not laila.peers)


def test_the_other_side_gives_up_half_open_connections_too(
    policy: laila.DefaultPolicy, start_node: Callable[..., Node]
) -> None:
    node = start_node(heartbeat=0.2, heartbeat_timeout=3.0)
    with Proxy(("127.0.0.1", node.port)) as proxy:
        connect(policy, f"ws://127.0.0.1:{proxy.port}", reconnect=False)
        node.run("assert len(laila.peers) == 1")
        proxy.stall = True
        node.wait_for("not laila.peers")


def test_hooks_are_told_who_comes_and_goes(
    policy: laila.DefaultPolicy, start_node: Callable[..., Node]
) -> None:
    told: list[Any] = []
    policy._events.tell = lambda hook, **what: told.append((hook, what))  # type: ignore[method-assign]
    node = start_node()
    connect(policy, node.uri, reconnect=False)
    assert told == [("laila_peer_joined", {"peer": node.policy_id})]
    node.process.kill()
    until(lambda: len(told) == 2)
    hook, what = told[1]
    assert (hook, what["peer"]) == ("laila_peer_left", node.policy_id)
    assert isinstance(what["error"], PeerDisconnectedError)


# -- links that break ----------------------------------------------------------------------------------------


def test_a_broken_link_is_made_again_with_the_same_identity(
    policy: laila.DefaultPolicy, start_node: Callable[..., Node]
) -> None:
    node = start_node()
    with Proxy(("127.0.0.1", node.port)) as proxy:
        peer = connect(policy, f"ws://127.0.0.1:{proxy.port}")
        for _ in range(3):
            made = proxy.connections
            proxy.cut()
            until(lambda made=made: proxy.connections > made and answers(peer))  # type: ignore[misc]
            # The proxy that was kept works again, and the other side knows this one by its old id.
            node.run(f"assert list(laila.peers) == [{policy.global_id!r}], laila.peers")


@pytest.mark.parametrize("chance", [0.0, 0.999])
def test_attempts_have_pauses_that_grow_and_vary_by_chance(
    policy: laila.DefaultPolicy,
    start_node: Callable[..., Node],
    monkeypatch: pytest.MonkeyPatch,
    chance: float,
) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(seconds)

    node = start_node()
    connect(policy, node.uri)
    monkeypatch.setattr(dialer, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": sleep}))
    monkeypatch.setattr(dialer, "random", SimpleNamespace(random=lambda: chance))
    node.process.kill()
    until(lambda: len(pauses) >= 5)  # nothing listens at the port now
    assert pauses[:5] == pytest.approx([0.05 * 2**attempt * (0.5 + chance) for attempt in range(5)])


def test_another_policy_at_the_address_is_not_taken_for_the_peer(
    policy: laila.DefaultPolicy, start_node: Callable[..., Node], caplog: pytest.LogCaptureFixture
) -> None:
    node, other = start_node(), start_node()
    with Proxy(("127.0.0.1", node.port)) as proxy:
        connect(policy, f"ws://127.0.0.1:{proxy.port}")
        proxy.target = ("127.0.0.1", other.port)
        proxy.cut()
        until(lambda: "another policy now" in caplog.text)
        until(lambda: not laila.peers)


def test_a_write_is_never_sent_twice(policy: laila.DefaultPolicy, start_node: Callable[..., Node]) -> None:
    """The answer is lost: whether it was done is not known, so it fails, and is not repeated."""
    node = start_node(setup=FUNCTIONS)
    with Proxy(("127.0.0.1", node.port)) as proxy:
        peer = connect(policy, f"ws://127.0.0.1:{proxy.port}")
        assert peer.describe()
        proxy.cut_after = 1
        with pytest.raises(PeerDisconnectedError):
            nap(peer, 0).wait(60)
        until(lambda: answers(peer))
        assert peer.central.command.submit("how_many", wait=True) == 1


def test_with_a_key_a_write_is_sent_again_and_done_once(
    policy: laila.DefaultPolicy, start_node: Callable[..., Node]
) -> None:
    node = start_node(setup=FUNCTIONS)
    with Proxy(("127.0.0.1", node.port)) as proxy:
        peer = connect(policy, f"ws://127.0.0.1:{proxy.port}", retry_seconds=60.0)
        assert peer.describe()
        proxy.cut_after = 1
        assert nap(peer, 0).wait(60) == 1  # the answer that was lost, given again
        proxy.cut_after = None
        slow = held(peer)
        until(lambda: peer.central.command.submit("how_many", wait=True) == 2)
        proxy.cut()  # while it is being done
        until(lambda: answers(peer))
        node.run("gate.set()")
        assert slow.wait(60) == 2
        assert peer.central.command.submit("how_many", wait=True) == 2


def test_reads_are_repeated_where_they_may_wait(
    policy: laila.DefaultPolicy, start_node: Callable[..., Node]
) -> None:
    node = start_node()
    with Proxy(("127.0.0.1", node.port)) as proxy:
        peer = connect(policy, f"ws://127.0.0.1:{proxy.port}", retry_seconds=60.0)
        entry = laila.constant([1])
        peer.central.memory.memorize(entry).wait()
        proxy.cut_after = 1
        assert peer.central.memory.remember(entry.global_id).wait(60).data == [1]
        # And one that is made while there is no link.
        proxy.refuse = True
        proxy.cut()
        until(lambda: not laila.peers)
        future = peer.central.memory.remember(entry.global_id)
        proxy.refuse = False
        assert future.wait(60).data == [1]


def test_a_write_is_not_repeated_to_a_peer_that_was_started_anew(
    policy: laila.DefaultPolicy, start_node: Callable[..., Node]
) -> None:
    """It is the same policy, and knows nothing of the keys of its former life."""
    setup = "laila.active_policy = laila.DefaultPolicy(nickname='restarts')" + FUNCTIONS
    node = start_node(setup=setup)
    with Proxy(("127.0.0.1", node.port)) as proxy:
        peer = connect(policy, f"ws://127.0.0.1:{proxy.port}", retry_seconds=60.0)
        future = nap(peer, 200)
        until(lambda: peer.central.command.submit("how_many", wait=True) == 1)
        proxy.refuse = True
        node.close()
        again = start_node(setup=setup)
        assert again.policy_id == node.policy_id
        proxy.target = ("127.0.0.1", again.port)
        proxy.refuse = False
        with pytest.raises(PeerDisconnectedError, match="started anew"):
            future.wait(60)
        assert peer.central.command.submit("how_many", wait=True) == 0


# -- time ----------------------------------------------------------------------------------------------------


def test_a_time_limit_holds_on_both_sides(
    policy: laila.DefaultPolicy, start_node: Callable[..., Node]
) -> None:
    setup = "laila.command.add_taskforce(laila.DefaultTaskForce(workers=1), alpha=True)" + FUNCTIONS
    node = start_node(setup=setup)
    peer = connect(policy, node.uri)
    first = held(peer)
    peer.timeout = 0.2
    with pytest.raises(PeerTimeoutError, match=r"0\.2 s"):
        nap(peer, 0.0).wait(60)
    assert not first.finished()
    peer.timeout = None
    node.run("gate.set()")
    assert first.wait(60) == 1
    assert peer.central.command.submit("how_many", wait=True) == 1  # the second was never begun


def test_a_cancelled_call_is_not_begun_over_there(
    policy: laila.DefaultPolicy, start_node: Callable[..., Node]
) -> None:
    setup = "laila.command.add_taskforce(laila.DefaultTaskForce(workers=1), alpha=True)" + FUNCTIONS
    node = start_node(setup=setup)
    peer = connect(policy, node.uri)
    first, second = held(peer), nap(peer, 0.0)
    assert second.cancel()
    assert not second.cancel()
    with pytest.raises(FutureCancelledError):
        second.wait()
    assert peer.describe()  # the cancellation came before this call
    node.run("gate.set()")
    assert first.wait(60) == 1
    assert peer.central.command.submit("how_many", wait=True) == 1


# -- the end -------------------------------------------------------------------------------------------------


def test_stop_ends_within_a_second_or_two_with_calls_in_flight(
    policy: laila.DefaultPolicy, start_node: Callable[..., Node]
) -> None:
    before = set(threading.enumerate())
    peer = connect(policy, start_node(setup=FUNCTIONS).uri)
    futures = [nap(peer, 200) for _ in range(50)]
    assert peer.describe()  # they are over there by now
    began = time.monotonic()
    policy.central.communication.stop()
    assert time.monotonic() - began < 60
    for future in futures:
        assert isinstance(laila.runtime.exception(future), PeerDisconnectedError)
    assert not laila.peers
    assert not [one.name for one in threading.enumerate() if one.name == "laila-peers" and one not in before]


@pytest.mark.parametrize("silent", [False, True], ids=["", "over a silent link"])
def test_the_interpreter_ends_with_calls_in_flight(start_node: Callable[..., Node], silent: bool) -> None:
    node = start_node(setup=FUNCTIONS)
    code = f"""
import sys, laila
laila.add_peer("ws://127.0.0.1:" + sys.argv[1], {SECRET!r})
(peer,) = laila.peers.values()
futures = [peer.central.command.submit(peer.central.command.task("nap", 200)) for _ in range(20)]
peer.describe()
print("waiting", flush=True)
sys.stdin.readline()
"""
    with Proxy(("127.0.0.1", node.port)) as proxy:
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(proxy.port)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        proxy.stall = silent
        _, errors = process.communicate("\n", timeout=60)
        assert process.returncode == 0
        assert "Traceback" not in errors


def test_a_listening_process_ends_while_others_are_connected(
    policy: laila.DefaultPolicy, start_node: Callable[..., Node]
) -> None:
    node = start_node()
    peer = connect(policy, node.uri, reconnect=False)
    peer.describe()
    with Plain(node.uri, SECRET), Plain(node.uri, None):
        node.process.communicate("", timeout=60)
        assert node.process.returncode == 0
    until(lambda: not laila.peers)


def test_a_port_is_free_again_after_stop(policy: laila.DefaultPolicy) -> None:
    protocol = laila.DefaultTCPIPProtocol(port=0, peer_secret_key=SECRET)
    communication = policy.central.communication
    communication.add_connection(protocol)
    communication.add_connection(protocol)
    port = protocol.bound_port
    assert protocol.running
    for _ in range(3):
        communication.remove_connection(protocol)
        assert not protocol.running
        protocol = laila.DefaultTCPIPProtocol(port=port, peer_secret_key=SECRET)
        communication.add_connection(protocol)
        with Plain(protocol.uri, SECRET) as plain:
            assert plain.call("describe")[0]["policy"] == policy.global_id


def test_a_forked_child_has_no_connections_and_makes_its_own(
    policy: laila.DefaultPolicy, start_node: Callable[..., Node]
) -> None:
    node = start_node(setup=FUNCTIONS)
    listener = laila.DefaultTCPIPProtocol(port=0, peer_secret_key=SECRET)
    policy.central.communication.add_connection(listener)
    peer = connect(policy, node.uri)
    future = held(peer)
    until(lambda: peer.central.command.submit("how_many", wait=True) == 1)
    read, write = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            assert isinstance(laila.runtime.exception(future), PeerDisconnectedError)
            assert not laila.peers
            again = laila.peers[laila.add_peer(node.uri, SECRET)]
            assert again.central.command.submit("how_many", wait=True) == 1
            entry = laila.constant("of the child", nickname="child")
            again.central.memory.memorize(entry).wait(60)
            os.write(write, b"fine")
        except BaseException as error:  # noqa: BLE001 - it is shown by the parent
            os.write(write, repr(error).encode()[:1000])
        finally:
            os._exit(0)
    os.close(write)
    assert os.read(read, 1000) == b"fine"
    os.waitpid(pid, 0)
    node.run("gate.set()")
    # The parent's connections go on, the listener's too.
    assert future.wait(60) == 1
    assert peer.central.memory.remember(nickname="child").data == "of the child"
    with Plain(listener.uri, SECRET) as plain:
        assert plain.call("describe")[0]["policy"] == policy.global_id


# -- load ----------------------------------------------------------------------------------------------------


def test_ten_thousand_calls_in_flight(policy: laila.DefaultPolicy, start_node: Callable[..., Node]) -> None:
    setup = """
import threading
gate = threading.Event()
class Slow(laila.MemoryPool):
    blocking = True
    def _read_many(self, keys):
        gate.wait(280)
        return super()._read_many(keys)
laila.active_policy = laila.DefaultPolicy(alpha_pool=Slow())
"""
    node = start_node(setup=setup, max_in_flight=20_000)
    peer = connect(policy, node.uri)
    entry = laila.constant({"x": 1})
    peer.central.memory.memorize(entry).wait()
    futures = [peer.central.memory.remember(entry.global_id) for _ in range(10_000)]
    assert peer.describe()  # all of them wait over there, and this one passes
    assert not any(future.finished() for future in futures)
    node.run("gate.set()")
    assert all(future.wait(60).data == {"x": 1} for future in futures)


def test_two_hundred_peers_at_once(start_node: Callable[..., Node]) -> None:
    node = start_node()
    policies = [laila.DefaultPolicy() for _ in range(200)]
    failures: list[BaseException] = []

    def work(some: list[laila.DefaultPolicy]) -> None:
        try:
            for policy in some:
                communication = policy.central.communication
                peer = communication.peers[communication.add_peer(node.uri, SECRET)]
                peer.central.memory.memorize(laila.constant(policy.global_id)).wait(100)
        except BaseException as failure:  # noqa: BLE001 - shown below
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(policies[i::40],)) for i in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(200)
    assert not failures
    node.run("assert len(laila.peers) == 200, len(laila.peers)")
    node.run("done = [peer.describe()['policy'] for peer in laila.peers.values()]")
    node.run("assert done == list(laila.peers)")
    for policy in policies:
        policy.close()
    node.wait_for("not laila.peers")


def test_a_slow_link_delays_and_breaks_nothing(
    policy: laila.DefaultPolicy, start_node: Callable[..., Node]
) -> None:
    node = start_node()
    with Proxy(("127.0.0.1", node.port)) as proxy:
        peer = connect(policy, f"ws://127.0.0.1:{proxy.port}", heartbeat=0.3, heartbeat_timeout=3.0)
        entry = laila.constant(np.arange(500_000.0))
        peer.central.memory.memorize(entry).wait()
        # For each 16 KiB: 4 MB take five seconds, longer than the bound on silence.
        proxy.delay = 0.02
        large = peer.central.memory.remember(entry.global_id)
        time.sleep(0.3)
        assert peer.describe()
        assert not large.finished()  # the small call passed between the chunks
        assert np.array_equal(large.wait(60).data, entry.data)


def rss(process: subprocess.Popen[str]) -> int:
    """The memory of a process, in bytes."""
    with open(f"/proc/{process.pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_reader_that_stops_reading_costs_no_memory_and_holds_up_nobody(
    policy: laila.DefaultPolicy, start_node: Callable[..., Node]
) -> None:
    node = start_node()
    peer = connect(policy, node.uri)
    entry = laila.constant(np.zeros(8_000_000))
    peer.central.memory.memorize(entry).wait()
    before = rss(node.process)
    readers = [Plain(node.uri, SECRET) for _ in range(8)]
    for reader in readers:
        for number in range(20):
            reader.send({"id": number, "method": "central.memory.remember", "params": [entry.global_id]})
    time.sleep(1)
    assert rss(node.process) - before < 64 * 2**20  # of 10 GB that were asked for
    began = time.monotonic()
    assert peer.describe()
    assert time.monotonic() - began < 60
    for reader in readers:
        reader.socket.socket.close()
        reader.close()


def test_a_large_entry_passes_with_bounded_memory_on_both_sides(start_node: Callable[..., Node]) -> None:
    """LAILA_TEST_ENTRY_MIB=1024 for a gibibyte."""
    size = int(os.environ.get("LAILA_TEST_ENTRY_MIB", "128")) * 2**20
    node = start_node()
    code = f"""
import resource, sys, threading, time
import numpy as np, laila
size = {size}
peer = laila.peers[laila.add_peer(sys.argv[1], {SECRET!r})]
data = np.frombuffer(np.random.default_rng(0).bytes(1 << 20) * (size >> 20), "u1")
entry = laila.constant(data)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
future = peer.central.memory.memorize(entry, copy=False)
waits = []
while not future.finished() and not future.error():
    began = time.perf_counter()
    peer.describe()
    waits.append(time.perf_counter() - began)
future.wait()
sent = peak() - before
print(sent, max(waits), len(waits), flush=True)
del data
key, entry, future = entry.global_id, None, None
before = peak()
got = peer.central.memory.remember(key).result
assert got.data.nbytes == size
print(peak() - before, flush=True)
"""
    before = rss(node.process)
    process = subprocess.Popen([sys.executable, "-c", code, node.uri], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    sent, longest, count = process.stdout.readline().split()
    remembered, _ = process.communicate()
    assert int(remembered) < 2.3 * size + 64 * 2**20, (
        "who remembers: what arrives, and the copy that is his own"
    )
    assert int(sent) < 64 * 2**20, "the sender"
    with open(f"/proc/{node.process.pid}/status", encoding="ascii") as file:
        (peak,) = (int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
    assert peak - before < 1.3 * size + 64 * 2**20, "the receiver, which keeps the entry once"
    assert int(count) > 3
    assert float(longest) < 20, "a small call that waited"


def test_a_peer_error_is_a_connection_error() -> None:
    assert issubclass(PeerError, ConnectionError)
    assert issubclass(PeerTimeoutError, TimeoutError)
