"""Texts that a peer sends in order to cost something: long JSON, many pieces, keys that are cancelled."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

import laila
from laila.codec import encode
from laila.comm.tcpip import messages
from laila.comm.tcpip.events import Called, Unread
from laila.comm.tcpip.guard import place_of
from laila.comm.tcpip.limits import Limits, Offer
from laila.comm.tcpip.messages import SMALL_TEXT, BadMessage
from laila.comm.tcpip.once import Once
from laila.comm.tcpip.session import Session
from servers.peers import SECRET, Node
from servers.plain import CHUNK, Plain

LONG = 2**20


def filled(item: str) -> str:
    return "[" + ",".join([item] * (LONG // (len(item) + 1))) + "]"


@pytest.mark.parametrize("item", ["1" * 299, "e1", '"e123"', "-" + "9" * 400, '"\\u0041"', "0.1e100"])
def test_a_text_is_read_in_linear_time(item: str) -> None:
    """Runs of digits that are no large number, and what looks like one, are looked at once."""
    began = time.thread_time()
    with suppress(BadMessage):
        messages.load(filled(item), 64)
    assert time.thread_time() - began < 10


@pytest.mark.parametrize("item", ["[]", "{}", "0", '{"":[]}'])
def test_a_text_of_very_many_values_is_refused_before_it_is_read(item: str) -> None:
    many = "[" + ",".join([item] * 300_000) + "]"
    began = time.thread_time()
    with pytest.raises(BadMessage, match="more than 250000 values"):
        messages.load(many, 64)
    assert time.thread_time() - began < 10


def test_what_only_looks_like_many_values_is_read() -> None:
    text = ",[{" * 200_000 + '"\\'
    assert messages.load(json.dumps([text, 1, {"a": None}]), 8) == [text, 1, {"a": None}]
    values = [{"a": [1, 2.5, -0.0, "ä", None, True]}] * 5000
    assert messages.load(json.dumps(values), 8) == values  # in the way of many values


@pytest.mark.parametrize(
    "bad", ["1e400", "1" * 401, "NaN", "-Infinity", '{"a":1', "[1,]", "[" * 100 + "]" * 100]
)
def test_a_long_text_is_held_to_the_same_rules(bad: str) -> None:
    for text in (f"[{bad}]", f"[{bad}," + "0," * 30_000 + "0]", f"[{bad}," + " " * SMALL_TEXT + "0]"):
        with pytest.raises(BadMessage):
            messages.load(text, 64)


def session_of(limits: Limits) -> Session:
    return Session(limits, Offer(**limits.offer()))


def call_of(number: int | None, size: int) -> str:
    tree: dict[str, object] = {"jsonrpc": "2.0", "method": "find", "params": ["x" * size]}
    return json.dumps(tree if number is None else {"id": number, **tree})


def arrive(session: Session, text: str) -> None:
    session.receive_text(text)
    unread = session.events.pop()
    assert isinstance(unread, Unread)  # it was not read here
    message = unread.read()
    session.receive_read(message)


def test_a_long_text_is_not_read_where_it_arrives() -> None:
    session = session_of(Limits())
    arrive(session, call_of(1, SMALL_TEXT))
    (event,) = session.events
    assert isinstance(event, Called)
    assert event.message.params == ["x" * SMALL_TEXT]
    session.receive_text("{" * (SMALL_TEXT + 1))
    unread = session.events.pop()
    assert isinstance(unread, Unread)
    session.receive_read(unread.read())
    assert '"code":-32700' in str(session.next_message())


@pytest.mark.parametrize("numbered", [True, False])
def test_the_texts_of_calls_in_flight_are_bounded_in_bytes(numbered: bool) -> None:
    session = session_of(Limits(max_json_bytes=100_000))
    for number in range(4):
        arrive(session, call_of(number if numbered else None, 90_000))
    with pytest.raises(BadMessage, match="bytes of JSON in calls in flight"):
        arrive(session, call_of(9, 90_000))
    session = session_of(Limits(max_json_bytes=100_000))
    for number in range(40):  # what was answered counts no more
        arrive(session, call_of(number if numbered else None, 90_000))
        event = session.events.pop()
        assert isinstance(event, Called)
        if numbered:
            session.answer(number, None)
        else:
            session.over(event.message.nbytes)


def test_a_caller_holds_long_texts_back() -> None:
    session = session_of(Limits(max_json_bytes=100_000))
    for _ in range(5):
        session.call("find", ["x" * 90_000])
    sent = []
    while (message := session.next_message()) is not None:
        sent.append(message)
    assert len(sent) == 2
    session.receive_text(json.dumps({"jsonrpc": "2.0", "id": 0, "result": None}))
    assert session.next_message() is not None


def test_others_are_served_while_long_texts_are_read(node: Node) -> None:
    """What comes after a long text waits for it, and nobody else does."""
    with Plain(node.uri, SECRET) as slow, Plain(node.uri, SECRET) as quick:
        text = '{"jsonrpc":"2.0","id":1,"method":"describe","params":{"x":[' + "[]," * 200_000 + "0]}}"
        for part in range(3):
            data = text.replace('"id":1', f'"id":{part}').encode()
            for start in range(0, len(data), CHUNK):
                last = start + CHUNK >= len(data)
                slow.socket.send(struct.pack(">BBHQ", 2, int(last), 0, part) + data[start : start + CHUNK])
        slow.send({"id": 7, "method": "describe"})
        longest = 0.0
        for _ in range(20):
            began = time.monotonic()
            assert quick.call("describe")
            longest = max(longest, time.monotonic() - began)
        assert longest < 10
        answered: list[object] = []
        while 7 not in answered:
            answer = slow.receive(30)
            if "method" not in answer:
                answered.append(answer["id"])
        assert answered.index(7) == 3, "the order of messages"


def test_a_message_in_very_many_pieces(node: Node) -> None:
    with Plain(node.uri, SECRET) as plain:
        first = Frame(Opcode.TEXT, b"", fin=False).serialize(mask=True)
        more = Frame(Opcode.CONT, b"", fin=False).serialize(mask=True)
        plain.socket.socket.sendall(first + more * 10_000)
        assert plain.socket.ping().wait(60)  # so many are taken
        plain.socket.socket.sendall(more * 10_000)
        with pytest.raises(ConnectionClosed):
            plain.socket.recv(10)


def test_pieces_without_data_are_put_together(node: Node) -> None:
    with Plain(node.uri, SECRET) as plain:
        plain.socket.send(["", '{"jsonrpc":"2.0",', "", '"id":5,"method":"describe"}', ""])
        assert plain.receive()["result"]


def test_blobs_of_a_call_that_will_not_be_done_are_not_kept(node: Node) -> None:
    session = session_of(Limits())
    session.admits = lambda message: message.method == "find"
    for number, method in enumerate(("find", "memorize")):
        message = {"jsonrpc": "2.0", "id": number, "method": method}
        session.receive_text(json.dumps({**message, "laila": {"stream": number, "sizes": [3 * CHUNK]}}))
        for part in range(3):
            session.receive_binary(struct.pack(">BBHQ", 1, part == 2, 0, number) + bytes(CHUNK))
        event = session.events.pop()
        assert isinstance(event, Called)
        assert len(event.data) == (0 if number else 3 * CHUNK)
        assert session.buffered == 3 * CHUNK
    last = {"jsonrpc": "2.0", "id": 7, "method": "forget", "laila": {"stream": 7, "sizes": [5]}}
    session.receive_text(json.dumps(last))
    with pytest.raises(BadMessage, match="longer than it may be"):  # it is held to what it announced
        session.receive_binary(struct.pack(">BBHQ", 1, 1, 0, 7) + bytes(6))
    with Plain(node.uri, "reads only, and is long enough for that") as reader:
        with pytest.raises(RuntimeError, match="needs the role"):
            reader.call("central.memory.memorize", [{"$blob": 0}], [bytes(3 * CHUNK)])
        assert reader.call("describe")


def test_a_value_is_decoded_once(node: Node) -> None:
    key = laila.constant(1).global_id
    with Plain(node.uri, SECRET) as plain:
        for kind in ("$value", "$entry"):
            blob = bytes(encode(["x" * 1000], key=key if kind == "$entry" else "value"))
            with pytest.raises(RuntimeError, match="another value"):
                plain.call("find", {"*": [[{kind: 0}] * 1000]}, [blob])
        stored = encode([1], key=key)
        many = {"entries": [{"$blob": 0}] * 1000}
        assert plain.call("central.memory.memorize", many, [bytes(stored)])[0] == [stored.key] * 1000


def flood(plain: Plain, data: bytes, times: int) -> None:
    """Send until the other side ends the connection; raises what tells that."""
    for _ in range(times):
        plain.socket.socket.sendall(data)
    while True:
        plain.socket.recv(10)


GONE = (ConnectionClosed, ConnectionError)


def test_somebody_who_was_not_let_in_has_little_room(node: Node) -> None:
    """Neither as one message that does not end, nor as lines of HTTP."""
    piece = Frame(Opcode.CONT, b"x" * 30_000, fin=False).serialize(mask=True)
    with Plain(node.uri, None) as stranger:
        stranger.socket.socket.sendall(Frame(Opcode.TEXT, b"", fin=False).serialize(mask=True))
        with pytest.raises(GONE):
            flood(stranger, piece, 10)
    lines = b"X: " + b"x" * 8000 + b"\r\n"
    with socket.create_connection(("127.0.0.1", node.port)) as half:
        half.settimeout(60)
        with suppress(ConnectionError):
            half.sendall(b"GET / HTTP/1.1\r\n" + lines * 50)
            while half.recv(1000):
                pass


@pytest.mark.parametrize("code", [Opcode.PING, Opcode.PONG])
def test_pings_and_pongs_are_bounded(code: Opcode, node: Node) -> None:
    with Plain(node.uri, SECRET) as plain:
        for _ in range(50):
            assert plain.socket.ping().wait(60)
        time.sleep(1.1)
        with pytest.raises(GONE):
            flood(plain, Frame(code, b"").serialize(mask=True) * 1000, 100)


def test_addresses_of_one_network_of_ipv6_are_one() -> None:
    same = [place_of(one) for one in ("2001:db8::1", "2001:db8::ffff:1:2:3", "2001:db8::1%eth0")]
    assert len(set(same)) == 1
    assert place_of("2001:db8:0:1::1") not in same
    assert place_of("::ffff:192.0.2.7") == place_of("192.0.2.7") == "192.0.2.7"
    assert place_of("unknown") == "unknown"
    assert place_of("no:address") == "no:address"


# -- keys ----------------------------------------------------------------------------------------------------


def test_calls_that_are_cancelled_again_and_again_leave_nothing() -> None:
    once = Once()
    sent: list[object] = []
    for i in range(4096):
        assert once.has_room(("peer", str(i)))
        assert once.begin(("peer", str(i)), sent.append, 0.0)
    assert not once.has_room(("peer", "one more"))
    assert once.has_room(("peer", "7"))
    assert once.has_room(("another peer", "7"))

    def again(answer: object) -> None:
        sent.append(answer)

    assert not once.begin(("peer", "7"), again, 0.0)
    once.leave(("peer", "7"), again)
    once.end(("peer", "7"), "cancelled", 0.0, kept="cancelled")
    once.end(("peer", "7"), "done", 0.0, kept="done")  # it had begun
    assert sent == ["cancelled"]
    assert once.has_room(("peer", "one more"))
    assert once.nbytes == 1024


def test_a_call_under_a_key_is_done_once_its_connection_is_gone(
    policy: laila.DefaultPolicy, start_node: Callable[..., Node]
) -> None:
    """Also where it had waited for a worker: whoever asks again gets its answer."""
    setup = """
import threading
gate = threading.Event()
class Slow(laila.MemoryPool):
    blocking = True
    def _delete(self, key):
        gate.wait(30)
        return super()._delete(key)
laila.active_policy = laila.DefaultPolicy(alpha_pool=Slow())
"""
    node = start_node(setup=setup)
    policy.central.communication.add_connection(laila.DefaultTCPIPProtocol(listen=False, retry_seconds=60.0))
    peer: Any = laila.peers[laila.add_peer(node.uri, SECRET)]
    keys = [laila.constant(i).global_id for i in range(100)]
    futures = [peer.central.memory.forget(key, missing_ok=True) for key in keys]
    assert peer.describe()
    (protocol,) = policy.central.communication.connections.values()
    link = protocol._registry.best(peer.global_id)  # type: ignore[attr-defined]
    protocol._background.soon(link._connection.abort)  # type: ignore[attr-defined]
    time.sleep(0.5)
    node.run("gate.set()")
    for future in futures:
        assert future.wait(60) is None
