"""The stored form: any damage to any byte is found, nothing is copied or allocated that need not be."""

from __future__ import annotations

import pickle
import struct
from typing import Any

import msgpack
import numpy as np
import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from laila.blob.blob import MAGIC, Blob, unpack_checked
from laila.blob.buffer import Buffer, byte_view
from laila.blob.parsing import read_plain
from laila.codec import decode, encode
from laila.errors import CorruptEntryError
from laila.testing.payloads import assert_same, payloads

KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"
SAMPLES: list[Any] = [
    None,
    {"a": [1, 2.5, "x"]},
    (1, {2}, 2**70),
    [np.arange(5, dtype="<i2"), np.zeros((2, 3), order="F"), b"y" * 65536],
    [np.zeros(0), np.zeros((0, 3))],
]


def stored(payload: object) -> bytes:
    return bytes(encode(payload, key=KEY, nickname="n", user_metadata={"who": "me"}))


def test_every_bit_counts() -> None:
    for payload in [*SAMPLES[:3], [np.arange(5, dtype="<i2"), np.zeros(3)]]:
        raw = stored(payload)
        assert len(raw) < 1000
        for position in range(len(raw)):
            for bit in range(8):
                bad = bytearray(raw)
                bad[position] ^= 1 << bit
                with pytest.raises(CorruptEntryError):
                    Blob.from_bytes(bad)


def test_every_length_counts() -> None:
    for payload in SAMPLES:
        raw = stored(payload)
        lengths = range(len(raw)) if len(raw) < 2000 else [*range(600), len(raw) // 2, len(raw) - 1]
        for length in lengths:
            with pytest.raises(CorruptEntryError):
                Blob.from_bytes(raw[:length])
        for more in (b"\0", b"\0" * 64, b"x", raw):
            with pytest.raises(CorruptEntryError):
                Blob.from_bytes(raw + more)


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(payloads(), st.data())
def test_random_damage(payload: object, data: st.DataObject) -> None:
    raw = bytearray(stored(payload))
    position = data.draw(st.integers(0, len(raw) - 1))
    raw[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CorruptEntryError):
        Blob.from_bytes(raw)
    with pytest.raises(CorruptEntryError):
        Blob.from_parts([raw[:position], raw[position:]])


def test_another_key_is_refused() -> None:
    raw = stored(1)
    assert Blob.from_bytes(raw, key=KEY).key == KEY
    with pytest.raises(CorruptEntryError, match="bears the id") as caught:
        Blob.from_bytes(raw, key="other")
    assert caught.value.key == "other"


@pytest.mark.parametrize("payload", SAMPLES)
def test_parts(payload: Any) -> None:
    blob = encode(payload, key=KEY)
    raw = bytes(blob)
    assert b"".join(blob.parts) == raw
    assert len(raw) == blob.nbytes
    offset = 0
    for part in blob.parts:
        if isinstance(part, memoryview) and part.nbytes:
            assert offset % 64 == 0
        offset += len(part)
    splits: list[list[Any]] = [
        [raw],
        list(blob.parts),
        [blob.head, *(b.data for b in blob.buffers)],
        [raw[:10], raw[10:]],
        [raw[i : i + 100] for i in range(0, len(raw), 100)],
        [blob.head, *(np.frombuffer(b.data, "u1") for b in blob.buffers)],
    ]
    for parts in splits:
        again = Blob.from_parts(parts, key=KEY)
        assert bytes(again) == raw
        assert_same(payload, decode(again))
    with pytest.raises(CorruptEntryError):
        Blob.from_parts([])
    if blob.buffers and blob.buffers[-1].nbytes:
        with pytest.raises(CorruptEntryError):
            Blob.from_parts([blob.head, *(b.data for b in blob.buffers[:-1])])


def test_parts_are_not_copied() -> None:
    array = np.arange(1000.0)
    blob = encode(array, key=KEY)
    native: Any = np.frombuffer(blob.buffers[0].data).copy()
    again = Blob.from_parts([blob.head, native], key=KEY)
    view: Any = decode(again, copy=False)
    assert np.shares_memory(view, native)
    assert not view.flags.writeable
    raw = bytes(blob)
    view = decode(Blob.from_bytes(raw), copy=False)
    assert np.shares_memory(view, np.frombuffer(raw, "u1"))
    fortran = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    blob = encode(fortran, key=KEY)
    assert blob.buffers[0].order == "F"
    assert blob.buffers[0].shape == (2, 3)
    assert blob.buffers[0].dtype == "<f8"
    assert_same(fortran, decode(Blob.from_parts([blob.head, fortran])))


def test_head_alone() -> None:
    blob = encode([np.zeros(100)], key=KEY, nickname="n", user_metadata={"a": 1})
    raw = bytes(blob)
    for data in (raw, blob.head, raw[: len(blob.head) + 5]):
        head = Blob.read_head(data, key=KEY)
        assert head.digest == blob.digest
        assert head.nickname == "n"
        assert head.metadata["user"] == {"a": 1}
        assert head.nbytes == len(raw)
        assert head.head_nbytes == len(blob.head)
        (row,) = head.table
        assert row[:4] == (800, "<f8", (100,), "C")
        (offset,) = head.offsets()
        assert raw[offset : offset + 800] == bytes(800)
    for length in range(len(blob.head)):
        with pytest.raises(CorruptEntryError):
            Blob.read_head(raw[:length])


def test_metadata() -> None:
    blob = encode({"a": np.zeros(3)}, key=KEY, user_metadata={"run": [1, None]})
    for one in (blob, Blob.from_bytes(bytes(blob))):
        meta = one.metadata
        assert meta["type"] == "dict"
        assert meta["codec"] == "rows"
        assert meta["user"] == {"run": [1, None]}
        size = meta["size"]
        assert isinstance(size, int)
        assert size >= 24
        with pytest.raises(TypeError):
            meta["type"] = 1  # type: ignore[index]


def test_digest_is_of_the_content_alone() -> None:
    one = encode({"a": np.arange(3)}, key=KEY)
    same = encode({"a": np.arange(3)}, key="other", nickname="n", user_metadata={"x": 1})
    assert one.digest == same.digest
    assert len(one.digest) == 16
    others: list[Any] = [
        {"a": np.arange(4)},
        {"a": np.arange(3, dtype="i4")},
        {"b": np.arange(3)},
        {"a": [0, 1, 2]},
    ]
    assert len({encode(other, key=KEY).digest for other in others} | {one.digest}) == 5
    assert encode({1: 1, 2: 2}, key=KEY).digest != encode({2: 2, 1: 1}, key=KEY).digest


def test_blob_pickles() -> None:
    blob = encode([np.arange(3)], key=KEY)
    again = pickle.loads(pickle.dumps(blob))  # our own
    assert bytes(again) == bytes(blob)


def forge(header: object, tree: bytes = b"\xc0", body: bytes = b"", **changes: Any) -> bytes:
    """A blob with right checksums and whatever else one wants."""
    packed = header if isinstance(header, bytes) else msgpack.packb(header)
    size = 40 + len(packed) + len(tree)
    padding = bytes(-size % 64) if body else b""
    total = changes.get("total", size + len(padding) + len(body))
    fixed = struct.pack(
        "<8sHHIQQ",
        MAGIC,
        changes.get("version", 1),
        0,
        changes.get("header_bytes", len(packed)),
        changes.get("tree_bytes", len(tree)),
        total,
    )
    rest = packed + tree + padding
    check = xxhash.xxh3_64_intdigest(rest, seed=xxhash.xxh3_64_intdigest(fixed))
    return fixed + struct.pack("<Q", check) + rest + body


def digest_of(tree: bytes, table: list[Any] | None = None) -> bytes:
    return xxhash.xxh3_128_digest((msgpack.packb(table) if table else b"\x90") + tree)


def test_hostile_heads() -> None:
    good = {"id": KEY, "digest": digest_of(b"\xc0")}
    assert decode(Blob.from_bytes(forge(good))) is None
    hash16 = bytes(16)
    bad: list[Any] = [
        {},
        [],
        b"\xc1",
        b"",
        None,
        {**good, "id": 1},
        {**good, "digest": b"short"},
        {**good, "unknown": 1},
        {**good, "unknown": b"bytes"},
        {**good, "Unknown": 1},
        {**good, "Unknown": None},
        {**good, "Unknown": b"x" * 65_537},
        {**good, "Unkno wn": b""},
        {**good, "Ünknown": b""},
        {**good, "U" * 33: b""},
        {**good, "": b""},
        {**good, b"Unknown": b""},
        {**good, 1: b""},
        {**good, "Unknown": msgpack.Timestamp(1)},
        {**good, **{f"N{number}": b"" for number in range(17)}},
        b"\x84" + msgpack.packb({**good, "nick": "a"})[1:] + msgpack.packb("nick"),
        b"\x84"
        + msgpack.packb(good)[1:]
        + msgpack.packb("Note")
        + b"\xc4\0"
        + msgpack.packb("Note")
        + b"\xc4\0",
        {**good, "nick": 1},
        {**good, "meta": [1, 2]},
        {**good, "meta": ["x", "t", 1, "c", None]},
        {**good, "trans": [["x"]]},
        {**good, "trans": [[1, {}]]},
        {**good, "sig": ["k"]},
        {**good, "sig": ["k", "text"]},
        {**good, "buffers": 5},
        {**good, "buffers": [[2**62, None, [2**62], "C", hash16]]},
        {**good, "buffers": [[-1, None, [-1], "C", hash16]]},
        {**good, "buffers": [[0, None, [1], "C", hash16]]},
        {**good, "buffers": [[0, None, [0], "Q", hash16]]},
        {**good, "buffers": [[0, "<f8", [0] * 65, "C", hash16]]},
        {**good, "buffers": [[0, None, [0], "C", b""]]},
        {**good, "buffers": [[1, None, [1], "C", hash16]]},
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 600,
        b"\xdd\x00\x10\x00\x00" * 2000,
        msgpack.packb(good) + b"\xc0",
        {**good, "x": msgpack.Timestamp(1)},
    ]
    for header in bad:
        with pytest.raises(CorruptEntryError):
            Blob.from_bytes(forge(header))
    for changes in (
        {"total": 2**63},
        {"header_bytes": 2**31},
        {"tree_bytes": 2**63},
        {"version": 2},
        {"total": 0},
    ):
        with pytest.raises(CorruptEntryError):
            Blob.from_bytes(forge(good, b"\xc0", b"", **changes))


def test_notes_are_kept_by_who_does_not_know_them() -> None:
    notes = {"Prov": b"x" * 65_536, "Another_1": b""}
    plain = encode({"a": 1}, key=KEY, nickname="n")
    blob = Blob(KEY, plain.tree, (), "n", plain._meta, notes=notes)
    again = Blob.from_bytes(bytes(blob))
    assert again.notes == notes
    assert list(again.notes or ()) == list(notes)
    assert bytes(again) == bytes(blob)
    assert blob.digest == plain.digest
    assert blob.nbytes == len(bytes(blob)) > plain.nbytes
    assert Blob.read_head(bytes(blob)).notes == notes
    assert Blob.read_head(bytes(plain)).notes == {}
    assert pickle.loads(pickle.dumps(blob)).notes == notes  # our own
    assert decode(again) == {"a": 1}
    for wrong in ({"prov": b""}, {"Prov": b"x" * 65_537}, {"Prov": 1}, {f"N{n}": b"" for n in range(17)}):
        with pytest.raises((ValueError, TypeError)):
            Blob(KEY, plain.tree, notes=wrong)  # type: ignore[arg-type]


def test_a_signature_covers_the_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    from laila.codec.trust import sign_blob, verify_blob
    from laila.errors import UntrustedPayloadError

    monkeypatch.setenv("LAILA_SECRET_KEY", "k" * 40)
    blob = Blob(KEY, b"\xc0", notes={"Prov": b"1"})
    sign_blob(blob, {})
    assert verify_blob(Blob.from_bytes(bytes(blob)))
    for notes in ({"Prov": b"2"}, {"Prow": b"1"}, None, {"Prov": b"1", "More": b""}):
        changed = Blob(KEY, b"\xc0", signature=blob.signature, notes=notes)
        with pytest.raises(UntrustedPayloadError):
            verify_blob(Blob.from_bytes(bytes(changed)))


def test_what_a_later_version_needs_is_said() -> None:
    good = {"id": KEY, "digest": digest_of(b"\xc0")}
    with pytest.raises(CorruptEntryError, match="needs the header fields 'folds, spins': a newer laila"):
        Blob.from_bytes(forge({**good, "spins": 1, "folds": [], "Note": b""}))
    with pytest.raises(
        CorruptEntryError, match="needs format version 2, and this one knows 1: a newer laila"
    ):
        Blob.from_bytes(forge(good, version=2))


MIB = 1 << 20


def hashed(data: bytes) -> bytes:
    return xxhash.xxh3_128_digest(data)


@pytest.mark.parametrize("size", [MIB - 1, MIB, MIB + 1, 2 * MIB, 2 * MIB + 5])
def test_a_buffer_above_a_mebibyte_has_a_checksum_for_each(size: int) -> None:
    data = np.random.default_rng(1).bytes(size)
    blob = encode(data, key=KEY)
    raw = bytes(blob)
    assert blob.nbytes == len(raw)
    header = msgpack.unpackb(raw[40 : 40 + struct.unpack_from("<I", raw, 12)[0]])
    sums = b"".join(hashed(data[at : at + MIB]) for at in range(0, size, MIB))
    (row,) = header["buffers"]
    if size <= MIB:
        assert "pieces" not in header
        assert row[4] == hashed(data)
        assert Blob.read_head(raw).pieces == (b"",)
    else:
        assert header["pieces"] == [sums]
        assert row[4] == hashed(sums)
        assert Blob.read_head(raw).pieces == (sums,)
    again = Blob.from_bytes(raw)
    assert again.digest == blob.digest
    assert bytes(again) == raw
    assert decode(again) == data


def test_damage_in_one_piece_is_told_with_its_place() -> None:
    raw = bytearray(bytes(encode(bytes(3 * MIB), key=KEY)))
    raw[-1] ^= 1
    with pytest.raises(CorruptEntryError, match="from byte 2097152 on"):
        Blob.from_bytes(raw)
    with pytest.raises(CorruptEntryError, match="from byte 2097152 on"):
        decode(Blob.from_bytes(raw, deferred=True))


def test_lies_about_pieces_are_refused() -> None:
    data = bytes(MIB + 1)
    one, two = hashed(data[:MIB]), hashed(data[MIB:])
    tree = b"\xc1" + msgpack.packb([19, 0, None])

    def header(pieces: Any, checksum: bytes = hashed(one + two), nbytes: int = MIB + 1) -> dict[str, Any]:
        table = [[nbytes, None, [nbytes], "C", checksum]]
        found = {"id": KEY, "digest": digest_of(tree, table), "buffers": table}
        return found if pieces is None else {**found, "pieces": pieces}

    size = 40 + len(msgpack.packb(header([one + two]))) + len(tree)
    assert decode(Blob.from_bytes(forge(header([one + two]), tree, data), key=KEY)) == data
    lies: list[Any] = [
        header(None),
        header(None, hashed(data)),
        header([]),
        header([one]),
        header([one + two + two]),
        header([one + two, one + two]),
        header([two + one]),
        header([one + two], hashed(data)),
        header([two + one], hashed(two + one)),
        header([[one, two]]),
        header({"0": one + two}),
        header(one + two),
        header(5),
        header(["x" * 32]),
    ]
    for lie in lies:
        with pytest.raises(CorruptEntryError):
            Blob.from_bytes(forge(lie, tree, data))
    with pytest.raises(CorruptEntryError):
        Blob.read_head(forge(header([two + one]), tree, data))
    # A small buffer has none, and what is announced is not made room for.
    small = [[1, None, [1], "C", hashed(b"a")]]
    for pieces in ([], [hashed(b"a")]):
        told = {"id": KEY, "digest": digest_of(tree, small), "buffers": small, "pieces": pieces}
        with pytest.raises(CorruptEntryError):
            Blob.from_bytes(forge(told, tree, b"a"))
    huge = header([one + two], nbytes=2**60)
    with pytest.raises(CorruptEntryError):
        Blob.read_head(forge(huge, tree, b"a", total=size + 2**60))


def outcome(data: bytes | bytearray, key: str | None = None) -> object:
    try:
        blob = Blob.from_bytes(data, key=key)
    except CorruptEntryError as error:
        return str(error)
    parts = (blob.key, blob.tree, blob.buffers, blob.nickname, blob.transformations, blob.signature)
    return (*parts, blob.digest, dict(blob.metadata))


def test_the_short_way_of_reading_agrees_with_the_thorough_one() -> None:
    # Bytes of a plain blob are read in one go; a bytearray never is.
    raw = bytes(encode({"a": [1, 2.5, "x"]}, key=KEY, user_metadata={"who": "me"}))
    assert read_plain(raw, KEY, Blob) is not None
    assert isinstance(outcome(raw), tuple)
    for position in range(len(raw) * 8):
        bad = bytearray(raw)
        bad[position // 8] ^= 1 << position % 8
        assert read_plain(bytes(bad), None, Blob) is None
        assert outcome(bytes(bad)) == outcome(bad)
    for length in range(len(raw)):
        assert outcome(raw[:length]) == outcome(bytearray(raw[:length]))
    tree = b"\xc0"
    good = {"id": KEY, "digest": digest_of(tree), "meta": [1.0, "t", 1, "plain", None]}
    headers: list[Any] = [
        good,
        dict(reversed(good.items())),
        {**good, "meta": None},
        {**good, "meta": [1, "t", 1, "plain", None]},
        {**good, "meta": [1.0, "t", True, "plain", b""]},
        {**good, "meta": [1.0, "t", 1, "plain", "text"]},
        {**good, "meta": {}},
        {**good, "id": b"bytes"},
        {**good, "id": "\ud800".encode("utf-8", "surrogatepass")},
        {**good, "digest": bytes(16)},
        {**good, "digest": 1},
        {**good, "meta": [msgpack.Timestamp(1), "t", 1, "plain", None]},
        {**good, "digest": msgpack.ExtType(5, b"")},
        {**good, "nick": "n"},
        {**good, "Note": b"n"},
        b"\x84" + msgpack.packb(good)[1:] + msgpack.packb("id") + msgpack.packb(KEY),
        {**good, "buffers": []},
        {**good, "trans": []},
        [*good.values()],
        {1: 2, 3: 4, 5: 6},
        msgpack.packb(good) + b"\xc0",
        b"\xdd\xff\xff\xff\xff",
    ]
    for header in headers:
        whole = forge(header, tree)
        for key in (None, KEY, KEY + "-0"):
            assert outcome(whole, key) == outcome(bytearray(whole), key)


FIELDS = st.one_of(
    st.none(), st.booleans(), st.integers(-1, 2**63), st.floats(), st.text(max_size=3), st.binary(max_size=20)
)


@given(
    st.dictionaries(st.sampled_from(["id", "digest", "nick", "meta", "sig", "Note", "other"]), FIELDS),
    st.lists(FIELDS, min_size=4, max_size=6),
    st.sampled_from([None, KEY]),
)
def test_both_ways_agree_on_random_headers(odd: dict[str, Any], meta: list[Any], key: str | None) -> None:
    good = {"id": KEY, "digest": digest_of(b"\xc0"), "meta": [1.0, "t", 1, "plain", None]}
    for header in (odd, {**good, **odd}, {**good, "meta": meta}, {**odd, "meta": meta}):
        whole = forge(header)
        assert outcome(whole, key) == outcome(bytearray(whole), key)


def test_padding_between_buffers_is_checked() -> None:
    raw = bytearray(bytes(encode([np.zeros(1), np.zeros(1)], key=KEY)))
    first, _second = Blob.read_head(raw).offsets()
    raw[first + 10] = 1
    with pytest.raises(CorruptEntryError, match="padding"):
        Blob.from_bytes(raw)
    with pytest.raises(CorruptEntryError, match="padding"):
        Blob.from_bytes(raw, verify=False)


def test_unpack_checked_allocates_only_what_is_there() -> None:
    import tracemalloc

    # A hundred arrays nested in each other, each of which announces as many items as the object has bytes.
    hostile = b"".join(b"\xdd" + struct.pack(">I", 1 << 20) for _ in range(100)) + b"\xc0" * (1 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="cut short"):
            unpack_checked(hostile)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_byte_view() -> None:
    view = byte_view(np.arange(4, dtype="<i4"))
    assert view.readonly
    assert view.nbytes == 16
    assert view.format == "B"
    assert view.ndim == 1
    assert byte_view(np.array(["2020-01-01"], "M8[D]")).nbytes == 8
    assert byte_view(np.zeros((0, 3))).nbytes == 0
    assert bytes(byte_view(memoryview(b"abcd").cast("H"))) == b"abcd"
    with pytest.raises(BufferError):
        byte_view(np.arange(10)[::2])
    with pytest.raises((TypeError, BufferError, ValueError)):
        byte_view(np.array([None]))
    with pytest.raises(TypeError):
        byte_view(3)


def test_buffer_says_what_it_is() -> None:
    buffer = Buffer(memoryview(b"abc"))
    assert buffer.shape == (3,)
    assert buffer.dtype is None
    assert buffer.order == "C"
    assert "3 bytes" in repr(buffer)
    assert buffer.checksum == xxhash.xxh3_128_digest(b"abc")


def test_memory_that_is_given_away_is_taken_once() -> None:
    data = bytearray(bytes(encode(np.arange(1000.0), key=KEY)))
    blob = Blob.from_bytes(data, owned=True)
    kept: Any = decode(blob)  # who does not say that the blob is let go of gets a copy
    taken: Any = decode(blob, consume=True)
    copied: Any = decode(blob, consume=True)
    assert [array.flags.owndata for array in (kept, taken, copied)] == [True, False, True]
    assert all(
        array.flags.writeable and (array == np.arange(1000.0)).all() for array in (kept, taken, copied)
    )
    taken[0] = 7
    assert data.find(np.float64(7).tobytes()) >= 0
    assert copied[0] == kept[0] == 0
    # What cannot be written to, or is not given, is copied.
    for other in (
        Blob.from_bytes(bytes(data), owned=True, verify=False),
        Blob.from_bytes(data, verify=False),
    ):
        assert other.buffers[0].owned is None
        assert decode(other, consume=True).flags.owndata  # type: ignore[attr-defined]
    assert not decode(
        Blob.from_bytes(data, owned=True, verify=False), copy=False, consume=True
    ).flags.writeable  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "payload",
    [
        np.arange(1 << 18, dtype="<f8"),
        np.asfortranarray(np.arange(1 << 18, dtype="<f8").reshape(512, 512)),
        [np.arange(1 << 18, dtype="<f8").reshape(2, -1), np.arange(7)],
        b"x" * (2 << 20),
        bytearray(b"y" * (2 << 20)),
        np.zeros(1 << 17, dtype=[("a", "<f8"), ("b", "<i4")]),
        np.zeros(1 << 18, dtype="<M8[ns]"),
    ],
)
def test_large_buffers_may_be_verified_while_they_are_copied(payload: Any) -> None:
    raw = bytes(encode(payload, key=KEY))
    for copy in (True, False):
        blob = Blob.from_bytes(raw, deferred=True)
        assert not blob.buffers[0].checked
        found: Any = decode(blob, copy=copy)
        assert_same(
            found[0] if isinstance(found, list) else found,
            payload[0] if isinstance(payload, list) else payload,
        )
        assert all(buffer.checked for buffer in blob.buffers)
        if isinstance(payload, np.ndarray) and copy:
            assert found.flags.writeable
            assert found.flags.f_contiguous == payload.flags.f_contiguous
        for position in (len(raw) - 1, len(raw) // 2):
            bad = bytearray(raw)
            bad[position] ^= 1
            with pytest.raises(CorruptEntryError, match="checksum"):
                decode(Blob.from_bytes(bytes(bad), deferred=True), copy=copy)


def test_a_buffer_that_no_row_refers_to_is_verified_too() -> None:
    data = b"z" * (1 << 20)
    for tree in (b"\xc0", encode((1,), key=KEY).tree):
        whole = bytearray(bytes(Blob(KEY, tree, (Buffer(memoryview(data)),))))
        decode(Blob.from_bytes(bytes(whole), deferred=True))
        whole[-1] ^= 1
        blob = Blob.from_bytes(bytes(whole), deferred=True)
        with pytest.raises(CorruptEntryError, match="checksum"):
            decode(blob)
