"""Transformations: there and back, and every way in which it can go wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import laila.directories
from laila.blob import allocation
from laila.blob.blob import Blob
from laila.blob.buffer import Buffer
from laila.codec import decode, encode
from laila.codec.trust import encryption_keys
from laila.errors import CorruptEntryError, LailaError, SecretError, TransformationError
from laila.provenance import options_from_data
from laila.testing.payloads import assert_same, payloads
from laila.transform import (
    AesGcm,
    Base64,
    Transformation,
    TransformationSequence,
    Zlib,
    Zstd,
    encryption,
    register_transformation,
)

KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"
SECRET = bytes(range(32))
SEQUENCES: list[list[Any]] = [
    ["zlib"],
    [Zlib(9)],
    ["zstd"],
    [Zstd(19)],
    ["base64"],
    [AesGcm(SECRET)],
    ["zstd", AesGcm(SECRET), "base64"],
]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(
        laila.directories,
        "LAILA_DEFAULT_DIRECTORIES",
        {"root": str(tmp_path), "secrets": str(tmp_path / "secrets")},
    )
    monkeypatch.delenv("LAILA_ENCRYPTION_KEY", raising=False)
    return tmp_path


@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
)
@given(payloads(), st.sampled_from(SEQUENCES))
def test_there_and_back(payload: object, items: list[Any]) -> None:
    sequence = TransformationSequence(items)
    blob = encode(payload, key=KEY, nickname="n")
    outer = sequence.apply(blob)
    assert not outer.tree
    assert len(outer.buffers) == 1
    assert outer.nickname is None
    assert not outer.metadata
    again = Blob.from_bytes(bytes(outer), key=KEY)
    assert [name for name, _ in again.transformations] == [item.name for item in sequence]
    inner = sequence.invert(again)
    assert bytes(inner) == bytes(blob)
    assert inner.nickname == "n"
    assert inner.undone == tuple(item.name for item in sequence)
    assert_same(payload, decode(inner))


def test_reading_needs_no_configuration_but_the_key() -> None:
    outer = TransformationSequence(["zlib", AesGcm(SECRET)]).apply(encode([1], key=KEY))
    assert decode(TransformationSequence([AesGcm(SECRET)]).invert(outer)) == [1]
    with pytest.raises(SecretError, match="LAILA_ENCRYPTION_KEY"):
        TransformationSequence(()).invert(outer)
    with pytest.raises(SecretError, match="another one"):
        TransformationSequence([AesGcm(bytes(32))]).invert(outer)
    with pytest.raises(TransformationError, match="invert"):
        decode(outer)


def test_key_from_the_environment_and_from_the_secrets_directory(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    sequence = TransformationSequence(["aes-gcm"])
    blob = encode([1], key=KEY)
    outer = sequence.apply(blob)
    (file,) = (home / "secrets" / "encryption").glob("*.key")
    assert file.stat().st_mode & 0o777 == 0o600
    assert decode(TransformationSequence(()).invert(outer)) == [1]
    monkeypatch.setenv("LAILA_ENCRYPTION_KEY", "correct horse battery staple, and more of it")
    other = sequence.apply(blob)
    assert other.transformations != outer.transformations
    assert decode(TransformationSequence(()).invert(outer)) == [1], "a key is found by its id"
    assert decode(TransformationSequence(()).invert(other)) == [1]
    monkeypatch.setenv("LAILA_ENCRYPTION_KEY", "short")
    with pytest.raises(SecretError, match="LAILA_ENCRYPTION_KEY") as caught:
        sequence.apply(blob)
    assert "short'" not in str(caught.value)
    monkeypatch.delenv("LAILA_ENCRYPTION_KEY")
    file.unlink()
    with pytest.raises(SecretError, match="not there"):  # of the one that was used, too
        TransformationSequence(["aes-gcm"]).invert(other)


def test_nothing_leaks_and_equal_contents_compare() -> None:
    secret_text = "a very secret nickname"
    blob = encode({"secret payload": "x" * 100}, key=KEY, nickname=secret_text, user_metadata={"hidden": 1})
    sequence = TransformationSequence([AesGcm(SECRET)])
    one, two = sequence.apply(blob), sequence.apply(blob)
    raw = bytes(one)
    for text in (b"secret", b"hidden", b"dict", SECRET, SECRET.hex().encode(), blob.digest):
        assert text not in raw
    assert bytes(one) != bytes(two), "the salt is fresh"
    assert one.digest == two.digest
    assert one.digest != blob.digest
    assert TransformationSequence([AesGcm(bytes(32))]).apply(blob).digest != one.digest
    assert SECRET.hex() not in repr(sequence)
    assert repr(SECRET) not in repr(sequence)
    assert SECRET.hex() not in repr(sequence.snapshot())
    assert TransformationSequence(["zlib"]).apply(blob).digest == blob.digest


def outer_with(blob: Blob, data: bytes, **params: object) -> Blob:
    (name, old), *_ = blob.transformations
    steps = ((name, {**old, **params}),)
    return Blob(blob.key, b"", (Buffer(memoryview(data)),), transformations=steps, digest=blob.digest)


@pytest.mark.parametrize("name", ["zlib", "zstd", "base64"])
def test_damage_and_bombs(name: str) -> None:
    sequence = TransformationSequence([name])
    outer = sequence.apply(encode(list(range(1000)), key=KEY))
    data = bytes(outer.buffers[0].data)
    size: Any = outer.transformations[0][1]["size"]
    bad = [data[:-1], data + b"\0", data + data, b"", data[1:], b"?" * 50]
    for piece in bad:
        with pytest.raises(CorruptEntryError):
            sequence.invert(outer_with(outer, piece))
    for wrong in (size - 1, size + 1, 0, -1, 2**70, "x", None, 1.5):
        with pytest.raises(CorruptEntryError):
            sequence.invert(outer_with(outer, data, size=wrong))


@pytest.mark.parametrize("name", ["zlib", "zstd"])
def test_a_bomb_takes_no_memory(name: str) -> None:
    import tracemalloc

    sequence = TransformationSequence([name])
    outer = sequence.apply(encode(1, key=KEY))
    compress: Any = {"zlib": zlib.compress, "zstd": partial(Zstd().apply, key=KEY)}[name]
    bomb = bytes(compress(bytes(200 << 20)))
    tracemalloc.start()
    try:
        with pytest.raises(CorruptEntryError):
            sequence.invert(outer_with(outer, bomb, size=1000))
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_encrypted_data_authenticates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encryption, "SEGMENT", 64)
    sequence = TransformationSequence([AesGcm(SECRET)])
    outer = sequence.apply(encode(list(range(100)), key=KEY))
    data = bytes(outer.buffers[0].data)
    assert decode(sequence.invert(outer_with(outer, data))) == list(range(100))
    for position in range(0, len(data), 7):
        changed = bytearray(data)
        changed[position] ^= 1
        with pytest.raises(CorruptEntryError, match="authenticate"):
            sequence.invert(outer_with(outer, bytes(changed)))
    size: Any = outer.transformations[0][1]["size"]
    step = 64 + 16
    with pytest.raises(CorruptEntryError):
        sequence.invert(
            outer_with(outer, data[: 16 + step], size=64)
        )  # cut at a segment, and the size made to fit
    swapped = data[:16] + data[16 + step : 16 + 2 * step] + data[16 : 16 + step] + data[16 + 2 * step :]
    with pytest.raises(CorruptEntryError, match="authenticate"):
        sequence.invert(outer_with(outer, swapped))
    for wrong in (size + 1, -1, None):
        with pytest.raises(CorruptEntryError):
            sequence.invert(outer_with(outer, data, size=wrong))
    for short in (b"", b"x" * 15, b"x" * 31):
        with pytest.raises(CorruptEntryError):
            sequence.invert(outer_with(outer, short, size=0))
    moved = Blob("another key", b"", outer.buffers, transformations=outer.transformations)
    with pytest.raises(CorruptEntryError, match="authenticate"):
        sequence.invert(moved)


def test_large_blob_in_segments() -> None:
    payload = np.arange(5_000_000)
    sequence = TransformationSequence([AesGcm(SECRET)])
    outer = sequence.apply(encode(payload, key=KEY))
    assert outer.buffers[0].nbytes > 2 * encryption.SEGMENT
    assert_same(payload, decode(sequence.invert(outer)))


def test_sequences_compare_by_what_they_do() -> None:
    make = TransformationSequence
    assert make(["zlib"]) == make([Zlib(6)]) != make([Zlib(1)])
    assert make(["zlib", "base64"]) != make(["base64", "zlib"])
    assert make([AesGcm(SECRET)]) == make([AesGcm(SECRET.hex())]) != make([AesGcm(bytes(32))])
    sequence = make([Zlib(3), "base64", "zstd"])
    assert make(sequence.snapshot()) == sequence == make(sequence)
    assert hash(make(sequence)) == hash(sequence)
    assert len(sequence) == 3


def test_wrong_arguments() -> None:
    wrong: list[Any] = [["nothing"], [3], "zlib", [["zlib", {"level": 99}]], [["zlib", {"nolevel": 1}]]]
    for items in wrong:
        with pytest.raises(TransformationError):
            TransformationSequence(items)
    with pytest.raises(TransformationError):
        Zstd(0)
    for key in (b"short", "short"):
        with pytest.raises(SecretError) as caught:
            AesGcm(key)
        assert "short'" not in str(caught.value)
    outer = TransformationSequence(["zlib"]).apply(encode(1, key=KEY))
    with pytest.raises(TransformationError, match="already"):
        TransformationSequence(["zlib"]).apply(outer)
    unknown = Blob(KEY, b"", outer.buffers, transformations=(("nothing", {"size": 1}),))
    with pytest.raises(TransformationError, match="nothing"):
        TransformationSequence(()).invert(unknown)
    with pytest.raises(SecretError, match="no encryption key"):
        TransformationSequence([AesGcm(key_name="0123456789abcdef")]).apply(encode(1, key=KEY))


def test_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(TransformationError, match=r"pip install 'laila-core\[zstd\]'"):
        TransformationSequence(["zstd"]).apply(encode(1, key=KEY))
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(TransformationError, match=r"pip install 'laila-core\[crypto\]'"):
        TransformationSequence([AesGcm(SECRET)]).apply(encode(1, key=KEY))


class Reversed(Transformation):
    """A third party's."""

    name = "test-reversed"

    def apply(self, data: Any, *, key: str) -> bytes:
        return bytes(data)[::-1]

    def invert(self, data: Any, *, key: str, params: Any) -> bytes:
        return bytes(data)[::-1]


def test_a_transformation_of_ones_own() -> None:
    register_transformation(Reversed)
    outer = TransformationSequence(["test-reversed", Base64()]).apply(encode([1], key=KEY))
    assert decode(TransformationSequence(()).invert(Blob.from_bytes(bytes(outer)))) == [1]

    class Thief(Reversed):
        name = "zlib"

    with pytest.raises(ValueError, match="already"):
        register_transformation(Thief)
    with pytest.raises(TypeError):
        register_transformation(int)  # type: ignore[type-var]


def test_a_key_that_changes_meanwhile_harms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may make a new key at any moment: a blob is encrypted under the one that it names."""
    sequence = TransformationSequence(["aes-gcm"])
    blob = encode([1], key=KEY)
    digest = sequence.apply(blob).digest
    current = AesGcm._current
    asked: list[str] = []

    def moves_on(self: AesGcm) -> tuple[str, bytes]:
        found = current(self)
        if self._key is None:
            asked.append(found[0])
            encryption_keys.new()
        return found

    monkeypatch.setattr(AesGcm, "_current", moves_on)
    outer = sequence.apply(blob)
    assert len(asked) == 1
    assert outer.transformations[0][1]["key"] == asked[0]
    assert outer.digest == digest
    assert decode(TransformationSequence(()).invert(outer)) == [1]
    later = sequence.apply(blob)
    assert later.transformations[0][1]["key"] != asked[0]
    assert decode(TransformationSequence(()).invert(later)) == [1]


@pytest.mark.parametrize("items", [["zlib"], ["zstd", "base64"], [AesGcm(SECRET)], ["zlib", AesGcm(SECRET)]])
def test_the_digest_outside_is_that_of_the_content(items: list[Any]) -> None:
    """A pool compares contents by the heads of its blobs: none may pass for another."""
    sequence = TransformationSequence(items)
    outer = sequence.apply(encode([1], key=KEY))
    other = sequence.apply(encode([2], key=KEY))
    for digest in (other.digest, bytes(16), encode([1], key=KEY).digest[::-1]):
        lying = Blob(KEY, b"", outer.buffers, transformations=outer.transformations, digest=digest)
        with pytest.raises(CorruptEntryError, match="digest"):
            sequence.invert(Blob.from_bytes(bytes(lying)))
    assert decode(sequence.invert(outer)) == [1]


def test_a_step_is_taken_once() -> None:
    with pytest.raises(TransformationError, match="twice"):
        TransformationSequence(["zlib", Zlib(9)])
    blob = encode([1], key=KEY)
    data: Any = bytes(blob)
    steps: list[Any] = []
    for _ in range(3):
        steps.append(("zlib", {"size": len(data)}))
        data = zlib.compress(data)
    nested = Blob(KEY, b"", (Buffer(memoryview(data)),), transformations=tuple(steps), digest=blob.digest)
    with pytest.raises(CorruptEntryError, match="twice"):
        TransformationSequence(()).invert(nested)
    sequence = TransformationSequence(["zlib"])
    outer = sequence.apply(blob)
    with pytest.raises(CorruptEntryError, match="unfold"):
        sequence.invert(outer_with(outer, bytes(outer.buffers[0].data), size=1 << 60))


def test_sizes_below_nothing() -> None:
    sequence = TransformationSequence([AesGcm(SECRET)])
    outer = sequence.apply(encode([1], key=KEY))
    for piece in (b"", b"x", b"x" * 16, b"x" * 31):
        for size in (-32, len(piece) - 32, True, 0.0):
            with pytest.raises(CorruptEntryError):
                sequence.invert(outer_with(outer, piece, size=size))


@pytest.mark.parametrize("items", [["zlib"], ["zstd"], ["base64"], [AesGcm(SECRET)]])
def test_every_bit_counts_under_a_transformation(items: list[Any]) -> None:
    raw = bytes(TransformationSequence(items).apply(encode({"a": (1, 2.5)}, key=KEY)))
    for position in range(len(raw)):
        for bit in range(8):
            bad = bytearray(raw)
            bad[position] ^= 1 << bit
            with pytest.raises(CorruptEntryError):
                Blob.from_bytes(bad)


@pytest.mark.parametrize(
    "items",
    [
        [("aes-gcm", "K" * 32)],
        [["aes-gcm", {"kay": "K" * 32}]],
        [["aes-gcm", {"key_name": "K" * 32}]],
        ["K" * 32],
        "K" * 32,
        [b"K" * 32],
        [["aes-gcm", {"key": "KKK"}]],
        [["zstd", {"level": "K" * 32}]],
    ],
)
def test_no_error_shows_a_key(items: Any) -> None:
    with pytest.raises(LailaError) as caught:
        TransformationSequence(items).apply(encode(1, key="k"))
    assert "KKK" not in "".join(traceback.format_exception(caught.value)).replace('"K"', "")


def test_a_key_is_not_taken_from_data() -> None:
    with options_from_data(), pytest.raises(TransformationError, match="not taken from an environment"):
        TransformationSequence([["aes-gcm", {"key": "k" * 32}]])


def test_what_an_entry_may_become_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    sequence = TransformationSequence(["zstd", "zlib"])
    blob = sequence.apply(encode(bytes(1 << 20), key=KEY))
    assert blob.nbytes < 2000
    assert sequence.invert(blob).content_nbytes > 1 << 20
    monkeypatch.setenv("LAILA_MAX_ENTRY_BYTES", "1000000")
    with pytest.raises(CorruptEntryError, match="LAILA_MAX_ENTRY_BYTES"):
        sequence.invert(blob)
    assert allocation.memory_limit() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs limits of a process")
def test_a_limit_of_the_process_is_a_limit_of_its_memory() -> None:
    ask = "from laila.contract import memory_limit; print(memory_limit())"
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)); {ask}"
    done = subprocess.run([sys.executable, "-c", limited], capture_output=True, text=True, check=True)
    assert int(done.stdout) <= 1 << 30


def test_a_container_has_less_memory_than_its_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit, real = tmp_path / "memory.max", open
    limit.write_text("123456\n")

    def opened(path: str, *args: Any, **options: Any) -> Any:
        return real(limit if str(path).endswith("memory.max") else path, *args, **options)

    monkeypatch.setattr(allocation, "open", opened, raising=False)
    allocation.memory_limit.cache_clear()
    try:
        assert allocation.memory_limit() == 123456
        limit.write_text("max\n")
        allocation.memory_limit.cache_clear()
        assert allocation.memory_limit() > 123456
    finally:
        allocation.memory_limit.cache_clear()


def test_few_bytes_do_not_unfold_to_a_gigabyte() -> None:
    """Compressed twice, zeros shrink to almost nothing: no ratio of one step tells."""
    pytest.importorskip("zstandard")
    plain = bytes(encode(np.zeros(64 * 2**20, "u1"), key=KEY))
    names = ("zstd", "zlib")
    for first, second in (names, names[::-1]):
        steps: list[Any] = []
        data: Any = plain
        for name in (first, second):
            steps.append((name, {"size": len(data)}))
            data = TransformationSequence([name])._items[0].apply(data, key=KEY)
        assert len(data) < 1000
        bomb = Blob(KEY, b"", (Buffer(memoryview(data)),), transformations=tuple(steps), digest=bytes(16))
        with pytest.raises(CorruptEntryError, match="unfold"):
            TransformationSequence().invert(Blob.from_bytes(bytes(bomb)))
        with pytest.raises(
            TransformationError, match="compress it once"
        ):  # nothing is written that is not read
            TransformationSequence([first, second]).apply(Blob.from_bytes(plain))
    for name in names:
        sequence = TransformationSequence([name, "base64"])
        assert bytes(sequence.invert(sequence.apply(Blob.from_bytes(plain)))) == plain
    small = encode(np.zeros(2**20, "u1"), key=KEY)
    assert bytes(TransformationSequence(names).invert(TransformationSequence(names).apply(small))) == bytes(
        small
    )
