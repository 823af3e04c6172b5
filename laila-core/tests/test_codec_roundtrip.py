"""Whatever is drawn comes back the same, through memory and through bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings

from laila.blob.blob import Blob
from laila.codec import decode, encode
from laila.testing.payloads import arrays, assert_same, hashables, payloads, plain_payloads

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.strategies import SearchStrategy

KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"
slow = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def of_some_and_of_many(
    check: Callable[[object], None], payloads: SearchStrategy[object], many: int
) -> tuple[Callable[[], None], Callable[[], None]]:
    """A test with few examples, and the same with many for `make test-long`."""
    few, most = (settings(slow, max_examples=count)(given(payloads)(check)) for count in (many // 4, many))
    return few, pytest.mark.long(most)


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


def check_any_payload(payload: object) -> None:
    assert_same(payload, through_bytes(payload, pickle=False))


test_any_payload, test_any_payload_of_many = of_some_and_of_many(check_any_payload, payloads(), 300)


def check_plain_payload(payload: object) -> None:
    blob = encode(payload, key=KEY)
    assert blob.metadata["codec"] == "plain" or blob.tree[:1] == b"\xc1"
    assert_same(payload, through_bytes(payload))


test_plain_payload, test_plain_payload_of_many = of_some_and_of_many(
    check_plain_payload, plain_payloads(), 200
)


def check_hashable(payload: object) -> None:
    found = through_bytes({payload: payload, "x": {payload}}, pickle=False)
    assert_same({payload: payload, "x": {payload}}, found)


test_hashable, test_hashable_of_many = of_some_and_of_many(check_hashable, hashables(), 300)


def check_array(payload: object) -> None:
    assert_same(payload, through_bytes(payload, pickle=False))


test_array, test_array_of_many = of_some_and_of_many(check_array, arrays(), 300)


def check_encoding_again_gives_the_same_content(payload: object) -> None:
    """What came back is stored as the same content: a constant that went round is not a conflict."""
    blob = encode(payload, key=KEY)
    assert encode(decode(blob), key=KEY).digest == blob.digest


test_encoding_again_gives_the_same_content, test_encoding_again_gives_the_same_content_of_many = (
    of_some_and_of_many(check_encoding_again_gives_the_same_content, payloads(), 150)
)
