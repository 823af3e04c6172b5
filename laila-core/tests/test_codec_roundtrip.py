"""Whatever is drawn comes back the same, through memory and through bytes."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings

from laila.blob.blob import Blob
from laila.codec import decode, encode
from laila.testing.payloads import arrays, assert_same, hashables, payloads, plain_payloads

KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"
slow = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def through_bytes(payload: object, **options: Any) -> Any:
    blob = encode(payload, key=KEY, **options)
    raw = bytes(blob)
    assert len(raw) == blob.nbytes
    again = Blob.from_bytes(raw, key=KEY)
    assert again.digest == blob.digest
    parts = Blob.from_parts([again.head, *(buffer.data for buffer in again.buffers)], key=KEY)
    assert_same(decode(parts), decode(blob))
    assert bytes(parts) == raw
    return decode(again)


@settings(slow, max_examples=300)
@given(payloads())
def test_any_payload(payload: object) -> None:
    assert_same(payload, through_bytes(payload, pickle=False))


@settings(slow, max_examples=200)
@given(plain_payloads())
def test_plain_payload(payload: object) -> None:
    blob = encode(payload, key=KEY)
    assert blob.metadata["codec"] == "plain" or blob.tree[:1] == b"\xc1"
    assert_same(payload, through_bytes(payload))


@settings(slow, max_examples=300)
@given(hashables())
def test_hashable(payload: object) -> None:
    found = through_bytes({payload: payload, "x": {payload}}, pickle=False)
    assert_same({payload: payload, "x": {payload}}, found)


@settings(slow, max_examples=300)
@given(arrays())
def test_array(payload: object) -> None:
    assert_same(payload, through_bytes(payload, pickle=False))


@settings(slow, max_examples=150)
@given(payloads())
def test_encoding_again_gives_the_same_content(payload: object) -> None:
    """What came back is stored as the same content: a constant that went round is not a conflict."""
    blob = encode(payload, key=KEY)
    assert encode(decode(blob), key=KEY).digest == blob.digest
