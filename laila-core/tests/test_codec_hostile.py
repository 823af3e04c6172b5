"""Whatever stands in a tree.

Decoding ends soon, allocates little, runs nothing, and says that the blob is corrupt.
"""

from __future__ import annotations

import contextlib
import random
import struct
import tracemalloc
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from laila.blob.blob import Blob
from laila.blob.buffer import Buffer
from laila.codec import decode, encode, tags
from laila.errors import CorruptEntryError, PluginError, UntrustedPayloadError
from laila.testing.payloads import payloads

KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"
ALLOWED = (CorruptEntryError, UntrustedPayloadError, PluginError)
ALL_TAGS = sorted(value for name, value in vars(tags).items() if name.isupper() and type(value) is int)


def ref(index: int) -> msgpack.ExtType:
    return msgpack.ExtType(index >> 24, (index & 0xFFFFFF).to_bytes(3, "little"))


def tree(*rows: Any) -> bytes:
    packed = [
        row if isinstance(row, bytes) else msgpack.packb(row, unicode_errors="surrogatepass") for row in rows
    ]
    return tags.ROWS_MARK + b"".join(packed)


def read(data: bytes, *buffers: Buffer) -> object:
    return decode(Blob(KEY, data, buffers))


def buffer(
    data: bytes, dtype: str | None = None, shape: tuple[int, ...] | None = None, order: str = "C"
) -> Buffer:
    return Buffer(memoryview(data), dtype, shape, order)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\xc0\xc0",
        b"\x91",
        b"\xa5ab",
        b"\xdd\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xd6\xff\x00\x00\x00\x00",
        b"\xd4\x05\x00",
        b"\x81\x90\x01",
        b"\x81\x80\x01",
        b"\xa1\xff",
        b"\x91" * 2000,
        b"\x91" * 100_000,
    ],
    ids=repr,
)
def test_damaged_plain_trees(data: bytes) -> None:
    with pytest.raises(CorruptEntryError):
        read(data)


BAD_ROWS: dict[str, list[Any]] = {
    "no row": [1],
    "empty row": [[]],
    "unknown tag": [[77]],
    "text for a tag": [["list"]],
    "float for a tag": [[1.0, 2]],
    "bool for a tag": [[True, 2]],
    "reference to itself": [[tags.LIST, ref(0)]],
    "forward reference": [[tags.LIST, ref(1)], [tags.LIST]],
    "wide reference": [[tags.LIST, ref(2**30)]],
    "negative extension": [b"\x92\x01\xd4\xfe\x00"],
    "timestamp": [[tags.LIST, msgpack.Timestamp(1)]],
    "long extension": [[tags.LIST, msgpack.ExtType(0, b"\0\0\0\0")]],
    "unhashable member": [[tags.LIST], [tags.SET, ref(0)]],
    "unhashable key": [[tags.LIST], [tags.DICT, ref(0), 1]],
    "key without value": [[tags.DICT, 1]],
    "key twice": [[tags.DICT, 1, 2, 1, 3]],
    "member twice": [[tags.SET, 1, 1]],
    "int of text": [[tags.INT, None, "1"]],
    "int from nowhere": [[tags.INT, 0, None]],
    "complex of ints": [[tags.COMPLEX, 1, 2]],
    "too few fields": [[tags.COMPLEX, 1.0]],
    "too many fields": [[tags.COMPLEX, 1.0, 1.0, 1.0]],
    "zero step": [[tags.RANGE, 0, 1, 0]],
    "range of floats": [[tags.RANGE, 0.0, 1, 1]],
    "constant": [[tags.CONSTANT, 9]],
    "negative constant": [[tags.CONSTANT, -1]],
    "bytes from nowhere": [[tags.BYTES, 0, None]],
    "negative buffer": [[tags.BYTES, -1, None]],
    "deque beyond its limit": [[tags.DEQUE, 1, 1, 2]],
    "deque of negative limit": [[tags.DEQUE, -1]],
    "deque of huge limit": [[tags.DEQUE, 2**64 - 1]],
    "factory": [[tags.DEFAULT_DICT, "eval"]],
    "attributes that are none": [[tags.ORDERED_DICT, 3]],
    "attributes of ints": [[tags.DICT, 1, 2], [tags.COUNTER, ref(0)]],
    "names of ints": [[tags.NAMESPACE, 1, 2]],
    "date": [[tags.DATE, 2020, 13, 1]],
    "huge date": [[tags.DATE, 2**63, 1, 1]],
    "date of bools": [[tags.DATE, True, True, True]],
    "datetime zone": [[tags.DATETIME, 2020, 1, 1, 0, 0, 0, 0, 0, "UTC"]],
    "timedelta": [[tags.TIMEDELTA, 2**40, 0, 0]],
    "timezone": [[tags.TIMEZONE, 5, 0, 0, None]],
    "zone that is a path": [[tags.ZONE, "../../etc/passwd"]],
    "absolute zone": [[tags.ZONE, "/etc/passwd"]],
    "unknown zone": [[tags.ZONE, "Middle/Earth"]],
    "zone with a zero": [[tags.ZONE, "a\0b"]],
    "zone of its own that is a path": [[tags.OWN_ZONE, "../../etc/passwd"]],
    "many zones of their own": [[tags.OWN_ZONE, "UTC"]] * 1001,
    "odd object": [[tags.ODD_OBJECT, "os:system", None]],
    "odd object of nothing": [[tags.ODD_OBJECT]],
    "fraction of floats": [[tags.FRACTION, 1.0, 2.0]],
    "decimal": [[tags.DECIMAL, "one"]],
    "decimal of a tuple": [[tags.TUPLE, 0], [tags.DECIMAL, ref(0)]],
    "fraction": [[tags.FRACTION, 1, 0]],
    "uuid": [[tags.UUID, b"x", None]],
    "uuid safety": [[tags.UUID, bytes(16), 7]],
    "path": [[tags.PATH, 9, "x"]],
    "array of objects": [[tags.ARRAY_ARRAY, None, "O", 8, "little", b""]],
    "array that is cut": [[tags.ARRAY_ARRAY, None, "d", 8, "little", b"123"]],
    "array of odd items": [[tags.ARRAY_ARRAY, None, "d", 3, "little", b"123"]],
    "array of no text": [[tags.ARRAY_ARRAY, None, "u", 4, "little", b"\xff\xff\xff\xff"]],
    "no array": [[tags.NDARRAY, 0]],
    "objects that are missing": [[tags.TUPLE, 2**40], [tags.OBJECT_ARRAY, ref(0), "C"]],
    "negative shape": [[tags.TUPLE, -1], [tags.OBJECT_ARRAY, ref(0), "C"]],
    "mask of a list": [[tags.LIST], [tags.MASKED, ref(0), None, None, False]],
    "array class": [[tags.ARRAY_CLASS, "memmap", 1]],
    "scalar of objects": [[tags.SCALAR, "|O", bytes(8)]],
    "scalar of another size": [[tags.SCALAR, "<f8", b"x"]],
    "scalar of a huge size": [[tags.SCALAR, "<U999999999", b"x"]],
    "dtype of objects": [[tags.DTYPE, "O"]],
    "dtype with a comma": [[tags.DTYPE, "<i4,O"]],
    "dtype of an unknown kind": [[tags.TUPLE, "x"], [tags.DTYPE, ref(0)]],
    "unsigned pickle": [[tags.PICKLE, "x:y", b"cos\nsystem\n."]],
    "pickle of nothing": [[tags.PICKLE]],
    "object": [[tags.OBJECT, "os:system"]],
    "object of nothing": [[tags.OBJECT]],
    "enum": [[tags.ENUM, "os:system", "a", None]],
    "codec": [[tags.EXTENSION, "nothing", 1]],
    "image": [[tags.IMAGE, 0, "RGB", 2**30, 2**30, None, None]],
    "table": [[tags.ARROW_TABLE, 0]],
    "frame": [[tags.PANDAS, "frame", b"garbage"]],
    "zone that is a file": [[tags.FOREIGN_ZONE, "dateutil", "/etc/passwd"]],
    "zone above": [[tags.FOREIGN_ZONE, "pytz", "../../etc/passwd"]],
    "zone of another library": [[tags.FOREIGN_ZONE, "os", "UTC"]],
    "cut": [b"\x92\x01"],
    "cut within": [[tags.LIST], b"\xdd\xff\xff\xff\xff\x01"],
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_bad_rows(name: str) -> None:
    with pytest.raises(ALLOWED):
        read(tree(*BAD_ROWS[name]))


BAD_ARRAYS: list[tuple[bytes, str | None, tuple[int, ...], str]] = [
    (bytes(8), "|O", (1,), "C"),
    (bytes(8), "O", (1,), "C"),
    (bytes(8), "<f8", (2,), "C"),
    (bytes(8), "<f8", (2**61,), "C"),
    (bytes(8), "<f8", (2**32, 2**32), "C"),
    (bytes(8), "<f8", (-1,), "C"),
    (bytes(8), "<f8", (-1, -1), "C"),
    (b"", "<f8", (0, 2**62), "C"),
    (b"", "|V0", (2**40,), "C"),
    (b"", "<U0", (2**40,), "C"),
    (bytes(8), "<f9", (1,), "C"),
    (bytes(8), "<i4,<i4", (1,), "C"),
    (bytes(8), "(2,)<i4", (1,), "C"),
    (bytes(8), "<f8" * 1000, (1,), "C"),
    (bytes(8), "", (1,), "C"),
    (bytes(8), "<M8[zz]", (1,), "C"),
    (bytes(8), None, (8,), "C"),
    (bytes(8), "<f8", (1,) * 65, "C"),
    (bytes(8), "<f8", (1,), "K"),
]


def test_bad_arrays() -> None:
    for data, dtype, shape, order in BAD_ARRAYS:
        with pytest.raises(CorruptEntryError):
            read(tree([tags.NDARRAY, 0]), buffer(data, dtype, shape, order))


def test_bad_structures() -> None:
    field = ["a", None, 0, "<i4"]
    bad: list[list[Any]] = [
        ["s", 4, False, False, [["a", None, 0, "|O"]]],
        ["s", 4, False, False, [["a", None, 8, "<i4"]]],
        ["s", 4, False, False, [["a", None, -4, "<i4"]]],
        ["s", 2**40, False, False, [field]],
        ["s", 4, False, False, [field, field]],
        ["s", 4, 1, False, [field]],
        ["a", "<i4", [2**62]],
        ["a", "<i4", [2**31, 2**31]],
        ["a", "<i4", [-1]],
        ["c", "O", "<"],
        ["c", "q", "?"],
        [],
    ]
    nested: Any = "<i4"
    for _ in range(80):
        nested = ["a", nested, [1]]
    bad.append(nested)
    for description in bad:
        rows: list[Any] = []

        def add(value: Any, rows: list[Any] = rows) -> Any:
            if not isinstance(value, list):
                return value
            rows.append([tags.TUPLE, *[add(part) for part in value]])
            return ref(len(rows) - 1)

        top = add(description)
        rows.append([tags.TUPLE, 1])
        rows.append([tags.STRUCTURED, 0, top, ref(len(rows) - 1), "C"])
        with pytest.raises(CorruptEntryError):
            read(tree(*rows), buffer(bytes(4)))


def test_depth_and_length_bombs() -> None:
    tracemalloc.start()
    try:
        bombs = [
            tags.ROWS_MARK
            + b"".join(b"\xdd" + struct.pack(">I", 1 << 20) for _ in range(500))
            + bytes(1 << 20),
            tags.ROWS_MARK + b"\x91" * (1 << 20),
            tree([tags.LIST, *([0] * 10)]) + b"\xdf\x7f\xff\xff\xff",
            b"\xdd\x00\x0f\xff\xff" * 200_000,
        ]
        for bomb in bombs:
            with pytest.raises(CorruptEntryError):
                read(bomb)
            assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


def test_a_web_of_references_stays_small() -> None:
    """Two references a row, 10,000 rows: 2**10000 paths, and nothing that walks them all."""
    rows = [[tags.TUPLE, *([ref(i - 1)] * 2 if i else [])] for i in range(10_000)]
    found: Any = read(tree(*rows))
    assert found[0] is found[1]


def test_hostile_fractions_take_no_time() -> None:
    numbers = [(3**400_000).to_bytes(80_000, "little"), (3**400_000 + 2).to_bytes(80_000, "little")]
    read(
        tree([tags.INT, 0, None], [tags.INT, 1, None], [tags.FRACTION, ref(0), ref(1)]),
        buffer(numbers[0]),
        buffer(numbers[1]),
    )


def test_compressed_arrow_is_refused() -> None:
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"a": [1] * 1000, "d": pa.array(["x"] * 1000).dictionary_encode()})
    for codec in ("zstd", "lz4"):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(
            sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=codec)
        ) as writer:
            writer.write_table(table)
        with pytest.raises(CorruptEntryError, match="compressed"):
            read(tree([tags.ARROW_TABLE, 0]), buffer(bytes(sink.getvalue())))
    nothing = pa.table({"n": pa.nulls(1000)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, nothing.schema) as writer:
        writer.write_table(nothing)
    found: Any = read(tree([tags.ARROW_TABLE, 0]), buffer(bytes(sink.getvalue())))
    assert found.equals(nothing), "nulls take no bytes, neither there nor here"


def test_damaged_arrow() -> None:
    pa = pytest.importorskip("pyarrow")
    table = pa.table(
        {"a": ["x", None, "zz"], "b": [[1], [2, 3], None], "d": pa.array(["x", "y", "x"]).dictionary_encode()}
    )
    blob = encode(table, key=KEY)
    raw = bytes(blob.buffers[0].data)
    dice = random.Random(7)
    for _ in range(1500):
        bad = bytearray(raw)
        for _ in range(dice.randint(1, 3)):
            bad[dice.randrange(len(bad))] = dice.choice([0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)])
        try:
            found: Any = read(blob.tree, buffer(bytes(bad)))
        except ALLOWED:
            continue
        found.to_pylist()


settings_here = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
atoms = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.integers(-2, 12)
    | st.floats()
    | st.text(max_size=4)
    | st.binary(max_size=20)
    | st.integers(0, 6).map(ref)
    | st.sampled_from(["<f8", "|O", "C", "F", "little", "RGB", "frame", "os:system", "UTC", "s", "a", "c"])
)
hostile_rows = st.lists(
    st.lists(atoms, max_size=7).flatmap(
        lambda fields: st.sampled_from(ALL_TAGS).map(lambda tag: [tag, *fields])
    ),
    min_size=1,
    max_size=7,
)


def read_random_rows(rows: list[Any]) -> None:
    with contextlib.suppress(*ALLOWED):
        read(tree(*rows), buffer(bytes(16)), buffer(bytes(16), "<f8", (2,)), buffer(b""))


test_random_rows = settings(settings_here, max_examples=250)(given(hostile_rows)(read_random_rows))
test_more_random_rows = pytest.mark.long(
    settings(settings_here, max_examples=2000)(given(hostile_rows)(read_random_rows))
)


def read_mutated_rows(payload: Any, data: st.DataObject) -> None:
    """A valid tree with a few fields changed, removed or added, under checksums made anew."""
    blob = encode(payload, key=KEY)
    if blob.tree[:1] != tags.ROWS_MARK:
        blob = encode((payload,), key=KEY)
    unpacker = msgpack.Unpacker(strict_map_key=False, unicode_errors="surrogatepass")
    unpacker.feed(blob.tree[1:])
    rows: list[list[Any]] = list(unpacker)
    for _ in range(data.draw(st.integers(1, 3))):
        row = rows[data.draw(st.integers(0, len(rows) - 1))]
        place = data.draw(st.integers(0, len(row) - 1)) if row else 0
        kind = data.draw(st.sampled_from(["change", "remove", "add", "tag"]))
        if kind == "change" and row:
            row[place] = data.draw(atoms)
        elif kind == "remove" and row:
            del row[place]
        elif kind == "add":
            row.insert(place, data.draw(atoms))
        elif row:
            row[0] = data.draw(st.sampled_from(ALL_TAGS))
    changed = Blob(KEY, tree(*rows), blob.buffers)
    again = Blob.from_bytes(bytes(changed), key=KEY)
    with contextlib.suppress(*ALLOWED):
        decode(again)


test_mutated_rows = settings(settings_here, max_examples=200)(given(payloads(), st.data())(read_mutated_rows))
test_more_mutated_rows = pytest.mark.long(
    settings(settings_here, max_examples=1000)(given(payloads(), st.data())(read_mutated_rows))
)


def read_mutated_buffers(payload: Any, data: st.DataObject) -> None:
    """Valid rows over buffers of another size, type, shape or order."""
    blob = encode([payload, np.zeros((2, 2))], key=KEY)
    buffers = list(blob.buffers)
    number = data.draw(st.integers(0, len(buffers) - 1))
    old = buffers[number]
    size = data.draw(st.integers(0, old.nbytes))
    dtype = data.draw(st.sampled_from([None, old.dtype, "<f8", "|O", "<U3", "|V0", "<M8[ns]", "|b1"]))
    shape = tuple(data.draw(st.lists(st.integers(-1, 5) | st.just(2**62), max_size=3)))
    order = data.draw(st.sampled_from("CF"))
    buffers[number] = Buffer(old.data[:size], dtype, (size,) if dtype is None else shape, order)
    with contextlib.suppress(*ALLOWED):
        decode(Blob(KEY, blob.tree, tuple(buffers)))


test_mutated_buffers = settings(settings_here, max_examples=150)(
    given(payloads(), st.data())(read_mutated_buffers)
)
test_more_mutated_buffers = pytest.mark.long(
    settings(settings_here, max_examples=1000)(given(payloads(), st.data())(read_mutated_buffers))
)


@settings(settings_here, max_examples=300)
@given(st.binary(max_size=200))
def test_random_bytes(data: bytes) -> None:
    for whole in (data, tags.ROWS_MARK + data):
        with contextlib.suppress(*ALLOWED):
            read(whole)
