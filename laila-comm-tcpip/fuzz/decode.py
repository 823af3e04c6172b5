"""Feed the decoders of peers with what a fuzzer finds: no crash, no hang, no growth.

    python laila-comm-tcpip/fuzz/decode.py CORPUS -max_total_time=60

Whatever arrives is a message, or a BadMessage; a stranger's handshake is refused; a value decodes, or raises
one of laila's errors.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["laila"]):
    from laila.comm.tcpip.codec import error_of, split
    from laila.comm.tcpip.handshake import Refused, ServerHandshake
    from laila.comm.tcpip.identity import Identity
    from laila.comm.tcpip.limits import CHUNK_BYTES, Limits, Offer
    from laila.comm.tcpip.messages import BadMessage
    from laila.comm.tcpip.session import Answered, Called, Session
    from laila.contract.wire import unpack, unpack_call
    from laila.errors import LailaError

LIMITS = Limits(max_in_flight=8, max_streams=4, max_json_bytes=2**16, max_message_bytes=2**16)
POLICY = "LAILA:POLICY:GLOBAL_ID:00000000-0000-4000-8000-000000000000"
ME, SALT = Identity(), bytes(32)


def session(data: atheris.FuzzedDataProvider) -> None:
    """Feed a session with texts and binary messages, and unpack what it takes for calls and answers."""
    one = Session(LIMITS, Offer.read(LIMITS.offer()))
    received = 0
    try:
        while data.remaining_bytes():
            if data.ConsumeBool():
                text = data.ConsumeUnicode(data.ConsumeIntInRange(0, 4096))
                received += len(text)
                one.receive_text(text)
            else:
                chunk = data.ConsumeBytes(data.ConsumeIntInRange(0, 4096))
                received += len(chunk)
                one.receive_binary(chunk)
            while one.next_message() is not None:
                pass
            while one.events:
                event = one.events.popleft()
                if isinstance(event, (Called, Answered)):
                    take(event)
    except BadMessage:
        pass
    assert one.buffered <= received + CHUNK_BYTES


def take(event: Called | Answered) -> None:
    """Unpack one call or answer."""
    try:
        blobs = split(event.data, event.message.sizes)
        unpack_call(event.message.params, blobs)
        unpack(event.message.result, blobs)
    except (LailaError, ValueError):
        pass
    error_of(event.message.error, "peer")


def handshake(data: atheris.FuzzedDataProvider) -> None:
    """Be a stranger."""
    other = ServerHandshake(POLICY, ME, SALT, [(bytes(32), "write")], limits=LIMITS.offer(), instance="fuzz")
    try:
        other.challenge(data.ConsumeUnicode(4096))
        other.verify(data.ConsumeUnicode(4096))
    except Refused:
        return
    raise AssertionError("a stranger was let in")


def test_one_input(data: bytes) -> None:
    """Decide by the first byte."""
    provider = atheris.FuzzedDataProvider(data)
    (session if provider.ConsumeBool() else handshake)(provider)


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
