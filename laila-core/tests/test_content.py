"""Ids by content: equal payloads have one id in every process, and two different payloads never share one."""

from __future__ import annotations

import datetime as dt
import hashlib
import importlib
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings

import laila
from laila import identity
from laila.blob import content as hashing
from laila.blob.blob import Blob
from laila.blob.buffer import Buffer
from laila.blob.pieces import sums_of
from laila.codec import encode
from laila.entry import from_blob, to_blob
from laila.errors import (
    IdentityConflictError,
    ImmutableEntryError,
    InvalidValueError,
    ManifestError,
    PayloadError,
)
from laila.testing.payloads import assert_same, payloads

KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"
NAMESPACE = uuid.UUID("6c8dcd4c-d490-58bc-81a7-6afbe8d17594")


def uuid_of(payload: object) -> str:
    return laila.constant(payload, by="content").uuid


def test_the_id_is_the_hash_that_the_format_page_defines() -> None:
    """Written from the page, without laila's own code for it."""

    def of_part(data: bytes) -> bytes:
        pieces = [data[start : start + 2**20] for start in range(0, len(data), 2**20)]
        return hashlib.sha256(b"".join(hashlib.sha256(piece).digest() for piece in pieces)).digest()

    for payload in (
        None,
        {"a": [1, 2.5, "x"]},
        (1, b""),
        np.arange(6, dtype=">i4").reshape(2, 3),
        {"large": np.arange(400_000.0), "empty": np.zeros((0, 3)), "small": np.ones(3, order="F")},
        b"x" * (2**20 + 1),
    ):
        blob = encode(payload, key=KEY)
        table = [[b.nbytes, b.dtype, list(b.shape), b.order, of_part(bytes(b.data))] for b in blob.buffers]
        whole = b"laila content 1\0" + NAMESPACE.bytes + of_part(blob.tree) + msgpack.packb(table)
        digits = bytearray(hashlib.sha256(whole).digest()[:16])
        digits[6] = 0x80 | digits[6] & 0x0F
        digits[8] = 0x80 | digits[8] & 0x3F
        assert uuid_of(payload) == str(uuid.UUID(bytes=bytes(digits)))


def test_ids_that_never_change() -> None:
    assert uuid_of(None) == "be665d5d-6e95-81f1-bb87-c0ded37aef41"
    assert uuid_of({"lr": 0.1, "steps": [1, 2, 3]}) == "fc699110-34d6-81fb-8b96-3b16a2003f3e"
    assert uuid_of(np.arange(5)) == "1302c537-234c-8a0e-a985-25ff38273c8a"
    assert uuid.UUID(uuid_of(0)).version == 8
    assert uuid.UUID(uuid_of(0)).variant == uuid.RFC_4122


ALIKE: list[tuple[object, object]] = [
    ({f"w{i}" for i in range(99)}, {f"w{i}" for i in reversed(range(99))}),
    ({frozenset({1, i}) for i in range(50)}, {frozenset({i, 1}) for i in reversed(range(50))}),
    ([(1, 2)] * 2, [(1, 2), eval("(1, 2)")]),
    (["ab" * 50] * 2, ["ab" * 50, "".join(["ab"] * 50)]),
    ([b"x" * 70_000] * 2, [b"x" * 70_000, bytes(bytearray(b"x" * 70_000))]),
    ([dt.date(2020, 1, 1)] * 2, [dt.date(2020, 1, 1), dt.date(2020, 1, 1)]),
    ([10**30] * 2, [10**30, int("1" + "0" * 30)]),
    (np.arange(5), np.arange(10)[::2] // 2),
    (np.arange(6.0).reshape(2, 3).T, np.asfortranarray(np.arange(6.0).reshape(2, 3).T)),
]
OVERLAPPING = np.zeros(3)
UNLIKE: list[object] = [
    *(True, 1, 1.0, "1", b"1", bytearray(b"1"), 1 + 0j, np.int64(1), np.float64(1), np.bool_(True)),
    *(0.0, -0.0, float("nan"), -float("nan"), None, [], (), {}, set(), frozenset(), "", b"", [[]], [()]),
    *([1], (1,), {1}, frozenset({1}), {1: None}, {"1": None}, {True: None}, {1.0: None}),
    *({"a": 1, "b": 2}, {"b": 2, "a": 1}, [1, 2], [2, 1]),
    *(np.arange(3), np.arange(3.0), np.arange(3).astype(">i8"), np.arange(3).reshape(3, 1)),
    *(np.ones((2, 2)), np.ones((2, 2), order="F"), np.zeros(0), np.zeros((0, 1)), b"\0" * 70_000),
    *(np.zeros(70_000, "u1"), bytearray(70_000), np.array(None, dtype=object), np.array(["1"])),
    *([np.zeros(2), np.zeros(2)], [OVERLAPPING[:2], OVERLAPPING[1:]], [[], []], [[]] * 2),
]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_equal_payloads_have_one_id(one: object, other: object) -> None:
    assert uuid_of(one) == uuid_of(other)


def test_different_payloads_have_different_ids() -> None:
    found = [uuid_of(payload) for payload in UNLIKE]
    assert len(set(found)) == len(UNLIKE)


@given(payloads())
@settings(max_examples=60, deadline=None)
def test_what_comes_back_has_the_same_id(payload: object) -> None:
    entry = laila.constant(payload, by="content")
    again = from_blob(to_blob(entry))
    assert_same(payload, again.data)
    assert uuid_of(again.data) == entry.uuid


SCRIPT = """
import datetime, decimal, random, sys, collections, numpy as np, laila
class Point:
    def __init__(self, x): self.x = x
laila.register_type(Point, name="of the test")
random.seed(int(sys.argv[1]))  # another order in each process
words = [f"w{i}" for i in range(300)]; random.shuffle(words)
payloads = [
    set(words), {(w, len(w)) for w in words}, {frozenset({w, w[1:]}) for w in words}, {"a": set(words)},
    {Point(w) for w in words}, [Point({1, "b", w}) for w in sorted(words)],
    {datetime.date(2020, 1, 1), "x", 2.5, None}, {decimal.Decimal(len(w)) for w in words},
    np.array([{1, "a"}, None], object), collections.Counter(sorted(words)),
]
print(*(laila.constant(payload, by="content").uuid for payload in payloads))
"""


def test_ids_do_not_depend_on_the_process() -> None:
    found = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT, seed],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


class Undeclared:
    pass


@pytest.mark.parametrize("payload", [Undeclared(), lambda: 1, len, [Undeclared]])
def test_what_would_be_signed_has_no_id_by_content(payload: object) -> None:
    with pytest.raises(PayloadError, match='by="content" does not allow') as caught:
        laila.constant({"of": payload}, by="content")
    assert "pickle=False" not in str(caught.value)
    assert caught.value.path.startswith("payload['of']")
    with pytest.raises(PayloadError, match=r"the leaf \$\['a'\]\['b'\]\[1\]: "):
        laila.Manifest({"a": {"b": [1, payload]}}, by="content")


def test_the_namespace_counts() -> None:
    here = uuid_of("x")
    before = laila.get_active_namespace()
    try:
        laila.set_active_namespace("example.org")
        assert uuid_of("x") != here
        # An entry keeps the id that it has, and can be stored.
        assert to_blob(laila.constant("x", by="content")).key.endswith(uuid_of("x"))
    finally:
        identity._namespace = before
    assert uuid_of("x") == here


@pytest.mark.parametrize("names", [{"nickname": "n"}, {"uuid": str(NAMESPACE)}, {"global_id": KEY}])
def test_an_id_is_made_from_the_content_or_given(names: dict[str, Any]) -> None:
    with pytest.raises(IdentityConflictError, match="exclude each other"):
        laila.constant(1, by="content", **names)
    with pytest.raises(IdentityConflictError, match="exclude each other"):
        laila.Entry(data=1, by="content", **names)
    with pytest.raises(InvalidValueError, match=r'by="content"'):
        laila.constant(1, by="hash")  # type: ignore[arg-type]
    with pytest.raises(IdentityConflictError, match="evolution=0"):
        laila.Entry(data=1, by="content", evolution=0)
    assert laila.Entry(data=1, by="content") == laila.constant(1, by="content")


def test_a_payload_that_changed_is_not_stored_under_the_id_of_another() -> None:
    array = np.arange(4)
    entry = laila.constant({"a": array}, by="content")
    array[0] = 9
    with pytest.raises(ImmutableEntryError, match="was changed after its id was made"):
        laila.memorize(entry)
    array[0] = 0
    laila.memorize(entry).wait()
    again = laila.remember(entry).result
    again.data["a"][0] = 9
    with pytest.raises(ImmutableEntryError, match="was changed after its id was made"):
        laila.memorize(again)
    # An id of version 8 that somebody chose says nothing of a payload that was not stored yet.
    laila.memorize(laila.constant(1, uuid=uuid_of("not stored"))).wait()


def test_hashing_copies_no_array() -> None:
    array = np.zeros(4 << 20, "u1")
    array[7:] = 3
    assert array.flags.writeable
    blob = encode({"a": array}, key=KEY, borrow=True)
    assert np.shares_memory(np.frombuffer(blob.buffers[0].data, "u1"), array)
    assert not np.shares_memory(np.frombuffer(encode(array, key=KEY).buffers[0].data, "u1"), array)


def test_threads_share_the_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [memoryview(os.urandom(size)) for size in (0, 1, 2**20, 2**20 + 1, 9 * 2**20 + 5)]
    monkeypatch.setattr(hashing, "_processors", lambda: 3)
    found = hashing.hash_in_pieces(parts)
    monkeypatch.setattr(hashing, "_processors", lambda: 1)
    assert hashing.hash_in_pieces(parts) == found
    assert found[1] == [sums_of(part) for part in parts]
    for part in parts:
        blobs = [Blob(KEY, b"", (Buffer(part),)) for _ in range(3)]
        hashing.fill_checksums(blobs[:1])
        hashing.content_hash(blobs[1], bytes(16))
        heads = [blob.head for blob in blobs]
        assert heads[0] == heads[1] == heads[2]


def test_a_thread_that_cannot_start_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    def start(_: object) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    data = memoryview(bytes(16 << 20))
    expected = hashing.hash_in_pieces([data])
    monkeypatch.setattr(hashing, "_processors", lambda: 3)
    monkeypatch.setattr(threading.Thread, "start", start)
    assert hashing.hash_in_pieces([data]) == expected


def test_a_manifest_of_values() -> None:
    kept = laila.constant("an entry stays one", nickname="kept")
    tree = {
        "w": {"a": np.arange(3), "b": [np.ones(2), np.ones(2), {"x": [1]}]},
        "lr": 0.1,
        "name": "run",
        "kept": kept,
    }
    manifest = laila.Manifest(tree, by="content")
    blueprint = manifest.blueprint
    assert blueprint["w"]["b"][0] == blueprint["w"]["b"][1]  # type: ignore[index, call-overload]
    assert blueprint["kept"] == kept.global_id
    assert blueprint["lr"] == laila.constant(0.1, by="content").global_id
    manifest.memorize().wait()
    found = laila.remember(manifest).result.resolved
    assert found["w"]["b"][2].data == {"x": [1]}
    assert found["w"]["a"].data.tolist() == [0, 1, 2]
    again = laila.Manifest.constant(tree, by="content")
    assert again == manifest
    named = laila.Manifest(tree, by="content", nickname="named")
    assert named.nickname == "named"
    assert named.blueprint == blueprint


def test_a_manifest_of_an_id_by_content_keeps_its_tree() -> None:
    manifest = laila.Manifest({"a": 1}, by="content")
    other = laila.Manifest({"b": 2}, by="content")
    assert manifest != other
    with pytest.raises(ImmutableEntryError, match="a \\+ b"):
        manifest.extend(other)
    manifest.memorize().wait()
    with pytest.raises(ImmutableEntryError, match="a \\+ b"):
        laila.remember(manifest).result.extend(other)
    both = manifest + other
    assert [*both.keys()] == ["a", "b"]
    both.memorize().wait()
    other.blueprint["b"] = manifest.global_id
    with pytest.raises(ImmutableEntryError, match="was changed"):
        other.memorize()


def test_what_a_manifest_of_values_refuses() -> None:
    with pytest.raises(ManifestError, match="or the id of an entry"):
        laila.Manifest({"a": ["x", KEY]}, by="content")
    with pytest.raises(ManifestError, match="not a text"):
        laila.Manifest({1: 2}, by="content")  # type: ignore[dict-item]
    with pytest.raises(ManifestError, match="made of a dict"):
        laila.Manifest([1], by="content")  # type: ignore[arg-type]
    cycle: dict[str, Any] = {}
    cycle["a"] = cycle
    with pytest.raises(ManifestError, match="contains itself"):
        laila.Manifest(cycle, by="content")


def test_one_object_in_two_places_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    hashed = hashing.hash_in_pieces

    def counted(parts: list[memoryview]) -> tuple[list[bytes], list[bytes]]:
        read.append(len(parts))
        return hashed(parts)

    monkeypatch.setattr(hashing, "hash_in_pieces", counted)
    tied = np.arange(3)
    other = np.arange(4)
    laila.Manifest({"in": tied, "out": tied, "more": [other, 5]}, nickname="tied", by="content")
    assert read == [4]  # two trees and two buffers, all at once
    content = importlib.import_module("laila.entry.content")
    monkeypatch.setattr(content, "_TOGETHER_BYTES", 1)
    manifest = laila.Manifest({"in": tied, "more": [other, 5]}, nickname="tied", by="content")
    assert read == [4, 2, 2, 0]
    assert manifest["in"] == laila.constant(tied, by="content").global_id


def test_torch_tensors_by_content(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    numbers = torch.arange(6.0)
    assert uuid_of(numbers) == uuid_of(torch.arange(12.0)[:6]) == uuid_of(numbers.clone())
    blob = encode(numbers, key=KEY, borrow=True)
    assert np.frombuffer(blob.buffers[0].data, "f4").ctypes.data == numbers.data_ptr()
