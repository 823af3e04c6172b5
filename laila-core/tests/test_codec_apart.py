"""What shares memory in a way that no row says is told once; what does not, or comes back shared, is not."""

from __future__ import annotations

import array
import logging
from typing import Any

import numpy as np
import pytest

from laila.codec import apart, decode, encode

KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"


def told(payload: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(apart, "_told", set())
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            decode(encode(payload, key=KEY))
    return [record.message for record in caplog.records if "come back apart" in record.message]


def test_what_comes_back_apart_is_told_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = np.array([[1], [2], [3]], dtype=object)
    octets, numbers = bytearray(8), array.array("i", [1, 2])
    payloads: list[tuple[Any, str]] = [
        ({"a": objects, "b": [objects[1:]]}, "payload['a'] and payload['b'][0]"),
        ([objects[:2], objects[1:]], "payload[0] and payload[1]"),
        ([octets, np.frombuffer(octets, "u1")], "payload[0] and payload[1]"),
        ({"x": np.frombuffer(numbers, "i4")[1:], "y": numbers}, "payload['y'] and payload['x']"),
    ]
    for payload, places in payloads:
        assert [message[: len(places)] for message in told(payload, caplog, monkeypatch)] == [places]


def test_what_does_not_is_not_told(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    objects, numbers = np.array([[1, 2], [3, 4]], dtype=object), np.arange(6)
    payloads: list[Any] = [
        [objects, objects],
        [objects[:, 0], objects[:, 1]],
        [objects[:1], objects[1:], objects.copy()],
        [numbers, numbers[1:]],
        [np.frombuffer(b"abc", "u1"), np.frombuffer(bytearray(b"abc"), "u1"), bytearray(b"abc")],
    ]
    for payload in payloads:
        assert told(payload, caplog, monkeypatch) == []


@pytest.mark.torch
def test_a_tensor_over_an_array(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    torch: Any = pytest.importorskip("torch")
    numbers = np.arange(6.0)
    both = {"n": numbers, "t": torch.from_numpy(numbers)[2:]}
    assert "payload['n'] and payload['t'] share" in told(both, caplog, monkeypatch)[0]
    assert told([numbers, torch.zeros(3), torch.from_numpy(numbers.copy())], caplog, monkeypatch) == []
