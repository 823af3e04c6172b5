"""Feed the decoders of peers with what a fuzzer finds: no crash, no hang, no growth.

    python laila-comm-tcpip/fuzz/decode.py CORPUS -max_total_time=60

Whatever arrives is a message, or a BadMessage; a stranger's handshake is refused; a value decodes, or raises
one of laila's errors; what a peer answers is an outcome, or an error. And that takes no more than so many
seconds, and so much memory, in any case and a byte.
"""

from __future__ import annotations

import json
import sys
import time
import tracemalloc

import atheris

with atheris.instrument_imports(include=["laila"]):
    from laila.blob import Blob
    from laila.comm.tcpip.codec import error_of, split
    from laila.comm.tcpip.events import Answered, Called, Unread
    from laila.comm.tcpip.handshake import ClientHandshake, Refused, ServerHandshake
    from laila.comm.tcpip.identity import Identity
    from laila.comm.tcpip.limits import CHUNK_BYTES, Limits, Offer
    from laila.comm.tcpip.messages import BadMessage, chunk_header
    from laila.comm.tcpip.session import Session
    from laila.contract.wire import unpack, unpack_call
    from laila.errors import LailaError, PeerError
    from laila.peering.answers import forgotten, opened_all, stored

LIMITS = Limits(max_in_flight=8, max_streams=4, max_json_bytes=2**16, max_message_bytes=2**16)
POLICY = "LAILA:POLICY:GLOBAL_ID:00000000-0000-4000-8000-000000000000"
ENTRY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"
ME, SALT = Identity(), bytes(32)
NAMES = [
    "jsonrpc",
    "id",
    "method",
    "params",
    "result",
    "error",
    "laila",
    "stream",
    "sizes",
    "timeout",
    "key",
    "code",
    "message",
    "data",
    "type",
    "parts",
    "bytes",
    "*",
    "$blob",
    "$value",
    "$entry",
    "$error",
    "limits",
    "versions",
    "nonce",
    "policy",
    "identity",
    "proof",
    "signature",
    "version",
    "salt",
    "role",
    "instance",
]
TEXTS = ["2.0", "laila.credit", "laila.cancel", "find", "laila.hello", "laila.authenticate", POLICY, ENTRY]
TEXTS += ["00" * 32, "00" * 64, "PeerError", "KeyError", "read"]
SECONDS, SECONDS_A_BYTE = 2.0, 1e-4
MEMORY, MEMORY_A_BYTE = 64 * 2**20, 4096


def tree(data: atheris.FuzzedDataProvider, depth: int = 5) -> object:
    """Any JSON, of names and texts that mean something."""
    kind = data.ConsumeIntInRange(0, 9)
    if kind < 3 and depth:
        return {
            data.PickValueInList(NAMES): tree(data, depth - 1) for _ in range(data.ConsumeIntInRange(0, 6))
        }
    if kind == 3 and depth:
        return [tree(data, depth - 1) for _ in range(data.ConsumeIntInRange(0, 6))]
    if kind < 6:
        return data.ConsumeIntInRange(-2, 4)
    if kind == 6:
        return data.ConsumeInt(9)
    if kind == 7:
        return data.PickValueInList([None, True, False, 0.5, -0.0, 1e300])
    return data.PickValueInList(TEXTS) if kind == 8 else data.ConsumeUnicode(20)


def text_of(data: atheris.FuzzedDataProvider) -> str:
    """A message as JSON: nearly a right one, any JSON, or any text."""
    kind = data.ConsumeIntInRange(0, 4)
    if kind == 0:
        return data.ConsumeUnicode(data.ConsumeIntInRange(0, 4096))
    message: dict[str, object] = {"jsonrpc": "2.0", "id": data.ConsumeIntInRange(0, 9)}
    if kind == 1:
        message["method"], message["params"] = data.PickValueInList(TEXTS), tree(data)
    elif kind == 2:
        message[data.PickValueInList(["result", "error"])] = tree(data)
    elif kind == 3:
        return json.dumps(tree(data))
    if data.ConsumeBool():
        sizes = [data.ConsumeIntInRange(0, 200) for _ in range(data.ConsumeIntInRange(0, 3))]
        message["laila"] = {"stream": data.ConsumeIntInRange(0, 3), "sizes": sizes, "key": tree(data, 0)}
    return json.dumps(message) + " " * data.PickValueInList([0, 0, 0, 20_000])


def session(data: atheris.FuzzedDataProvider) -> None:
    """Feed a session with texts and binary messages, and unpack what it takes for calls and answers."""
    one = Session(LIMITS, Offer.read(LIMITS.offer()))
    received = 0
    for _ in range(3):
        one.call("find", [ENTRY])
    try:
        while data.remaining_bytes():
            if data.ConsumeBool():
                text = text_of(data)
                received += len(text)
                one.receive_text(text)
            else:
                chunk = data.ConsumeBytes(data.ConsumeIntInRange(0, 4096))
                if data.ConsumeBool():
                    head = chunk_header(data.ConsumeIntInRange(1, 2), data.ConsumeIntInRange(0, 3), last=True)
                    chunk = head + chunk
                received += len(chunk)
                one.receive_binary(chunk)
            while one.next_message() is not None:
                pass
            while one.events:
                event = one.events.popleft()
                if isinstance(event, Unread):
                    one.receive_read(event.read())
                elif isinstance(event, (Called, Answered)):
                    take(event)
    except BadMessage:
        pass
    assert one.buffered <= received + CHUNK_BYTES


def take(event: Called | Answered) -> None:
    """Unpack one call or answer."""
    try:
        blobs = split(event.data, event.message.sizes)
        unpack_call(event.message.params, blobs)
        believe(unpack(event.message.result, blobs))
    except (LailaError, ValueError):
        pass
    error_of(event.message.error, "peer")


def believe(answer: object) -> None:
    """Take an answer for that to each verb."""
    try:
        opened_all(answer, [[ENTRY], [ENTRY]], copy=True)
        forgotten(answer, [ENTRY, ENTRY])
        stored([], [Blob(ENTRY, b"\x01")], answer)
    except (PeerError, ValueError):
        pass


def handshake(data: atheris.FuzzedDataProvider) -> None:
    """Be a stranger, who knows the form and no secret; or one that somebody has connected to."""
    other = ServerHandshake(POLICY, ME, SALT, [(bytes(32), "write")], limits=LIMITS.offer(), instance="fuzz")
    mine = ClientHandshake(None, ME, limits=LIMITS.offer())
    try:
        mine.hello()
        mine.salt(text_of(data))
        mine.authenticate(bytes(range(32)))
        mine.welcome(text_of(data))
    except PeerError:
        pass
    else:
        raise AssertionError("a stranger was believed")
    try:
        other.challenge(mine.hello() if data.ConsumeBool() else text_of(data))
        other.verify(text_of(data))
    except Refused:
        return
    raise AssertionError("a stranger was let in")


def test_one_input(data: bytes) -> None:
    """Decide by the first bit, and hold the reader to its budget."""
    provider = atheris.FuzzedDataProvider(data)
    target = session if provider.ConsumeBool() else handshake
    tracemalloc.start()
    began = time.process_time()
    target(provider)
    took = time.process_time() - began
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    size = len(data) + 20_000
    assert took < SECONDS + SECONDS_A_BYTE * size, f"{target.__name__}: {took:.1f} s"
    assert peak < MEMORY + MEMORY_A_BYTE * size, f"{target.__name__}: {peak >> 20} MiB"


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
