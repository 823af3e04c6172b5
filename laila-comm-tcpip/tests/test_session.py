"""A session, without sockets: calls, streams, credit, limits, and what it says to what is no message."""

from __future__ import annotations

import gc
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laila.comm.tcpip import room as room_module
from laila.comm.tcpip.events import Answered, Called, Cancelled, Unread
from laila.comm.tcpip.limits import CHUNK_BYTES, HEADER_BYTES, Limits, Offer
from laila.comm.tcpip.messages import BLOBS, JSON, BadMessage, chunk_header
from laila.comm.tcpip.room import Room
from laila.comm.tcpip.session import Session
from laila.comm.tcpip.settings import TCPIPSettings


def pair(**limits: int) -> tuple[Session, Session]:
    """Two sessions that talk to each other, each with these limits."""
    mine = Limits(**limits)
    offer = Offer.read(mine.offer())
    return Session(mine, offer), Session(mine, offer)


def feed(session: Session, message: str | bytes) -> None:
    if isinstance(message, str):
        session.receive_text(message)
    else:
        session.receive_binary(message)
    while session.events and isinstance(session.events[-1], Unread):
        unread = session.events.pop()
        assert isinstance(unread, Unread)
        session.receive_read(unread.read())


def feed_all(session: Session, messages: list[str | bytes]) -> None:
    for message in messages:
        feed(session, message)


def pump(one: Session, other: Session) -> list[str | bytes]:
    """Pass messages both ways until there are none; return them."""
    passed: list[str | bytes] = []
    while True:
        message = one.next_message()
        if message is not None:
            passed.append(message)
            feed(other, message)
        answer = other.next_message()
        if answer is not None:
            passed.append(answer)
            feed(one, answer)
        if message is None and answer is None:
            return passed


def test_calls_run_at_the_same_time_and_are_answered_in_any_order() -> None:
    one, other = pair()
    numbers = [one.call("method", {"x": i}) for i in range(3)]
    pump(one, other)
    called = [event.message for event in other.events if isinstance(event, Called)]
    assert [message.params for message in called] == [{"x": 0}, {"x": 1}, {"x": 2}]
    for message in reversed(called):
        assert message.id is not None
        other.answer(message.id, {"got": message.params})
    pump(one, other)
    answers = [event for event in one.events if isinstance(event, Answered)]
    assert [answer.number for answer in answers] == numbers[::-1]
    assert answers[0].message.result == {"got": {"x": 2}}


def test_blobs_go_in_chunks_and_arrive_whole() -> None:
    one, other = pair()
    parts: list[bytes | memoryview] = [b"a" * 10, memoryview(bytes(3 * CHUNK_BYTES)), b"", b"z"]
    one.call("store", [1], parts, [sum(map(len, parts))])
    passed = pump(one, other)
    (event,) = other.events
    assert isinstance(event, Called)
    assert bytes(event.data) == b"".join(parts)
    chunks = [message for message in passed if isinstance(message, bytes)]
    assert max(map(len, chunks)) == CHUNK_BYTES + HEADER_BYTES
    other.done(event.data)
    assert other.buffered == 0


def test_small_messages_pass_between_the_chunks_of_a_large_one() -> None:
    one, _ = pair(window_bytes=64 * CHUNK_BYTES)
    one.call("store", None, [bytes(32 * CHUNK_BYTES)], [32 * CHUNK_BYTES])
    assert isinstance(one.next_message(), str)
    assert isinstance(one.next_message(), bytes)
    one.call("small", None)
    assert isinstance(one.next_message(), str)
    one.call("store", None, [b"x"], [1])
    assert isinstance(one.next_message(), str)
    kinds = [one.next_message() for _ in range(2)]
    assert min(len(chunk or b"") for chunk in kinds) == HEADER_BYTES + 1  # the other stream had its turn


def test_no_more_is_sent_than_there_is_credit_for() -> None:
    window = 4 * CHUNK_BYTES
    one, other = pair(window_bytes=window)
    one.call("store", None, [bytes(40 * CHUNK_BYTES)], [40 * CHUNK_BYTES])
    feed(other, one.next_message() or "")
    sent = 0
    while (chunk := one.next_message()) is not None:
        sent += len(chunk) - HEADER_BYTES
        assert isinstance(chunk, bytes)
    assert sent == window
    one.call("small", None)
    assert isinstance(one.next_message(), str)
    assert one.next_message() is None


def test_a_stalled_stream_holds_up_no_other() -> None:
    one, other = pair(window_bytes=CHUNK_BYTES)
    one.call("large", None, [bytes(2 * CHUNK_BYTES)], [2 * CHUNK_BYTES])
    messages = [one.next_message(), one.next_message()]
    assert one.next_message() is None
    one.call("other", None, [b"abc"], [3])
    messages += [one.next_message(), one.next_message()]
    for message in messages:
        assert message is not None
        feed(other, message)
    (event,) = other.events
    assert isinstance(event, Called)
    assert event.message.method == "other"


def test_a_long_text_goes_as_a_stream_too() -> None:
    one, other = pair()
    params = ["x" * 100] * 20_000
    one.call("store", params, [b"blob"], [4])
    passed = pump(one, other)
    assert all(len(message) <= CHUNK_BYTES + HEADER_BYTES for message in passed)
    (event,) = other.events
    assert isinstance(event, Called)
    assert event.message.params == params
    assert bytes(event.data) == b"blob"
    assert other.buffered == 4


def test_more_calls_than_the_other_side_takes_wait_here() -> None:
    one, other = pair(max_in_flight=2)
    for i in range(5):
        one.call("m", [i])
    done = 0
    while done < 5:
        pump(one, other)
        assert len(other.events) <= 2
        while other.events:
            event = other.events.popleft()
            assert isinstance(event, Called)
            assert event.message.id is not None
            other.answer(event.message.id, None)
            done += 1
    pump(one, other)
    assert len(one.events) == 5


def test_more_streams_than_the_other_side_takes_wait_here() -> None:
    one, other = pair(max_streams=2, window_bytes=CHUNK_BYTES)
    for _ in range(5):
        one.call("m", "x" * CHUNK_BYTES, [bytes(3 * CHUNK_BYTES)], [3 * CHUNK_BYTES])
    pump(one, other)
    assert len(other.events) == 5


def test_what_a_peer_buffers_is_bounded_and_the_oldest_stream_goes_on() -> None:
    size = 8 * CHUNK_BYTES
    one, other = pair(window_bytes=CHUNK_BYTES, max_buffered_bytes=2 * CHUNK_BYTES)
    for _ in range(4):
        one.call("m", None, [bytes(size)], [size])
    most = done = 0
    for _ in range(1000):
        if (message := one.next_message()) is not None:
            feed(other, message)
        if (answer := other.next_message()) is not None:
            feed(one, answer)
        most = max(most, other.buffered)
        if message is answer is None and other.events:  # nothing moves until one is dealt with
            event = other.events.popleft()
            assert isinstance(event, Called)
            other.done(event.data)
            done += 1
    assert done == 4
    # What is allowed, one message, and a window of each other: not all four.
    assert most <= size + 5 * CHUNK_BYTES


def test_all_peers_together_fill_half_of_the_memory_and_the_largest_goes() -> None:
    size = 4 * CHUNK_BYTES
    room = Room(most=3 * size, counted_from=CHUNK_BYTES)
    limits = Limits(window_bytes=size)
    offer = Offer.read(limits.offer())
    takers = [Session(limits, offer, room) for _ in range(4)]
    for taker in takers[:3]:
        caller = Session(limits, offer, Room(most=2**40))
        caller.call("m", None, [bytes(size - CHUNK_BYTES)], [size - CHUNK_BYTES])
        pump(caller, taker)
    assert sum(taker.held for taker in takers) == 9 * CHUNK_BYTES
    caller = Session(limits, offer, Room(most=2**40))
    caller.call("m", None, [bytes(size)], [size])
    with pytest.raises(BadMessage, match="no memory for more"):
        pump(caller, takers[3])
    small = Session(limits, offer, room)  # who holds little goes on
    caller = Session(limits, offer, Room(most=2**40))
    caller.call("m", None, [b"x" * 100], [100])
    pump(caller, small)
    assert small.held == 100
    del taker, takers, small  # what has ended takes no room
    gc.collect()
    last = Session(limits, offer, room)
    caller = Session(limits, offer, Room(most=2**40))
    caller.call("m", None, [bytes(size)], [size])
    pump(caller, last)
    assert last.held == size


def test_no_peer_holds_more_than_a_quarter_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_module, "memory_limit", lambda: 2**30)
    limits = TCPIPSettings().limits()
    assert limits.max_buffered_bytes == limits.max_message_bytes == 2**28
    assert TCPIPSettings(max_buffered_bytes=2**21).limits().max_buffered_bytes == 2**21


def test_cancelling_crosses() -> None:
    one, other = pair()
    number = one.call("slow", None, timeout=2.5, key="abc")
    pump(one, other)
    event = other.events.popleft()
    assert isinstance(event, Called)
    assert (event.message.timeout, event.message.key) == (2.5, "abc")
    one.cancel(number)
    pump(one, other)
    assert other.events.popleft() == Cancelled(number)
    other.answer_error(number, -32004, "cancelled")
    pump(one, other)
    (answer,) = one.events
    assert isinstance(answer, Answered)
    one.cancel(number)  # it is over: nothing is sent
    assert one.next_message() is None


def announce(stream: int, *sizes: int, number: int = 0, method: str = "m") -> str:
    return json.dumps(
        {"jsonrpc": "2.0", "id": number, "method": method, "laila": {"stream": stream, "sizes": sizes}}
    )


def chunk(stream: int, data: bytes, *, last: bool = False, kind: int = BLOBS) -> bytes:
    return chunk_header(kind, stream, last=last) + data


VIOLATIONS: dict[str, list[str | bytes]] = {
    "a chunk of nothing announced": [chunk(7, b"x")],
    "more than announced": [announce(1, 3), chunk(1, b"xxxx", last=True)],
    "less than announced": [announce(1, 3), chunk(1, b"x", last=True)],
    "the last is not marked": [announce(1, 3), chunk(1, b"xxx")],
    "more than there is credit for": [
        announce(1, 2**20),
        chunk(1, bytes(CHUNK_BYTES)),
        announce(2, 2**20, number=1),
        *[chunk(2, bytes(CHUNK_BYTES))] * 3,
    ],
    "a message too large": [announce(1, 2**40)],
    "too many streams": [announce(i, 9, number=i) for i in range(9)],
    "one stream twice": [announce(1, 9), announce(1, 9, number=1)],
    "one id twice": [announce(1, 9), json.dumps({"jsonrpc": "2.0", "id": 0, "method": "m"})],
    "too many calls": [json.dumps({"jsonrpc": "2.0", "id": i, "method": "m"}) for i in range(9)],
    "an answer to nothing": [json.dumps({"jsonrpc": "2.0", "id": 3, "result": 1})],
    "an unknown kind": [b"\x07" + chunk(1, b"x")[1:]],
    "unknown flags": [chunk(1, b"x")[:1] + b"\x80" + chunk(1, b"x")[2:]],
    "an empty chunk": [announce(1, 9), chunk(1, b"")],
    "a chunk too long": [announce(1, 2**20), chunk(1, bytes(CHUNK_BYTES + 1))],
    "no header": [b"abc"],
    "a text too long": ['"' + "x" * 2**21 + '"'],
    "JSON without end": [chunk(1, b"[" * CHUNK_BYTES, kind=JSON)] * 9,
    "no sizes": [json.dumps({"jsonrpc": "2.0", "id": 0, "method": "m", "laila": {"stream": 1}})],
    "negative sizes": [announce(1, -4)],
    "nonsense without end": ["nonsense"] * 40,
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_violation_ends_the_connection(name: str) -> None:
    session, _ = pair(
        max_in_flight=8,
        max_streams=8,
        window_bytes=2 * CHUNK_BYTES,
        max_json_bytes=2**20,
        max_message_bytes=2**30,
        max_buffered_bytes=CHUNK_BYTES,
    )
    with pytest.raises(BadMessage):
        feed_all(session, VIOLATIONS[name])
    assert session.buffered <= 2**21


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("nonsense", -32700),
        ("[1,", -32700),
        ("[" * 100_000, -32700),
        ('{"a":' * 100 + "1" + "}" * 100, -32700),
        ("NaN", -32700),
        ("9" * 10_000, -32700),
        ("1", -32600),
        ("[]", -32600),
        ("{}", -32600),
        ('{"jsonrpc":"1.0","id":1,"method":"m"}', -32600),
        ('{"jsonrpc":"2.0","id":1.5,"method":"m"}', -32600),
        ('{"jsonrpc":"2.0","id":1,"method":7}', -32600),
        ('{"jsonrpc":"2.0","id":1}', -32600),
        ('{"jsonrpc":"2.0","id":1,"method":"m","laila":{"timeout":"x"}}', -32600),
        ('{"jsonrpc":"2.0","method":"laila.cancel","params":[]}', -32602),
        ('{"jsonrpc":"2.0","method":"laila.credit","params":{"stream":1,"bytes":-1}}', -32602),
    ],
)
def test_what_is_no_message_is_answered_so(text: str, code: int) -> None:
    session, _ = pair()
    feed(session, text)
    answer = session.next_message()
    assert isinstance(answer, str)
    assert json.loads(answer)["error"]["code"] == code
    assert not session.events


MEMBERS = ["stream", "sizes", "timeout", "key", "id", "bytes", "x"]
TEXTS = st.text() | st.builds(
    lambda members: json.dumps({"jsonrpc": "2.0", **members}),
    st.dictionaries(
        st.sampled_from(["id", "method", "params", "result", "error", "laila"]),
        st.recursive(
            st.none() | st.booleans() | st.integers(-5, 2**64) | st.text(max_size=5)
            | st.sampled_from(["laila.credit", "laila.cancel", "m"]),
            lambda inner: st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(MEMBERS), inner),
            max_leaves=8,
        ),
        max_size=5,
    ),
)  # fmt: skip
BINARIES = st.binary(max_size=40) | st.builds(
    lambda kind, stream, last, data: chunk_header(kind, stream, last=last) + data,
    st.sampled_from([BLOBS, JSON]),
    st.integers(0, 3),
    st.booleans(),
    st.binary(min_size=1, max_size=20) | TEXTS.map(str.encode).filter(bool),
)


ANNOUNCED = st.builds(announce, st.integers(0, 3), st.integers(1, 40), number=st.integers(0, 9))


@given(st.lists(TEXTS | BINARIES | ANNOUNCED, max_size=30))
def test_whatever_arrives_does_no_harm(messages: list[str | bytes]) -> None:
    """No crash, no hang, no growth: a message is taken, or the connection ends."""
    session, _ = pair(max_in_flight=4, max_streams=2, max_json_bytes=256)
    received = 0
    try:
        for message in messages:
            received += len(message)
            feed(session, message)
            while (sent := session.next_message()) is not None:
                assert len(sent) < 1000
    except BadMessage:
        pass
    assert session.buffered <= received
    assert len(session._arriving) <= 2
    assert len(session._serving) <= 4


SIZES = st.sampled_from([1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES + 7])


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.text(), st.lists(SIZES, max_size=2)), max_size=4), st.integers())
def test_two_sessions_understand_each_other(calls: list[tuple[str, list[int]]], seed: int) -> None:
    """Any calls with any blobs, passed in any order of turns, arrive as they were sent."""
    turns = random.Random(seed)
    one, other = pair(
        max_in_flight=3, max_streams=2, window_bytes=CHUNK_BYTES, max_buffered_bytes=CHUNK_BYTES
    )
    for text, sizes in calls:
        one.call("m", [text], [bytes([i % 256]) * size for i, size in enumerate(sizes)], sizes)
    arrived: dict[Any, tuple[str, int]] = {}
    quiet = 0
    while quiet < 2:
        first, second = (one, other) if turns.random() < 0.5 else (other, one)
        message = first.next_message()
        quiet = quiet + 1 if message is None and one.idle and other.idle else 0
        if message is not None:
            feed(second, message)
        while other.events:
            event = other.events.popleft()
            assert isinstance(event, Called)
            assert isinstance(event.message.params, list)
            assert event.message.id is not None
            arrived[event.message.id] = (event.message.params[0], len(event.data))
            other.done(event.data)
            other.answer(event.message.id, None)
    assert arrived == {i: (text, sum(sizes)) for i, (text, sizes) in enumerate(calls)}
    assert other.buffered == one.buffered == 0
    assert len(one.events) == len(calls)
