"""Rows refer to earlier rows: a few bytes can point at one large value again and again.

Whatever a row does with a part that others may have as well, it is counted, or it costs nothing. And a field
that is to be a text or a number is never compared with one before its type is known: an array would compare
all its items, and nested tuples have no end.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgpack
import numpy as np
import pytest

from laila.blob.blob import Blob
from laila.blob.buffer import Buffer
from laila.codec import decode, tags
from laila.errors import CorruptEntryError

KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"
Row = list[Any]
MANY = 20_000
VAST = 1 << 40


def ref(row: int) -> msgpack.ExtType:
    low = row & 0xFFFFFF
    return msgpack.ExtType(row >> 24, low.to_bytes(1 if low < 256 else 2 if low < 65536 else 3, "little"))


def forged(rows: Iterable[Row], *buffers: bytes | Buffer) -> Blob:
    tree = tags.ROWS_MARK + b"".join(map(msgpack.packb, rows))
    made = [one if isinstance(one, Buffer) else Buffer(memoryview(one)) for one in buffers]
    return Blob.from_bytes(bytes(Blob(KEY, tree, tuple(made))))


def repeated(before: list[Row], row: Row, count: int = MANY) -> list[Row]:
    """``row`` again and again, each kept."""
    first = len(before)
    return [*before, *[row] * count, [tags.TUPLE, *map(ref, range(first, first + count))]]


def refused(blob: Blob) -> None:
    with pytest.raises(CorruptEntryError):
        decode(blob)


def attributes(count: int = 10_000) -> Row:
    return [tags.DICT, *(part for i in range(count) for part in (f"a{i}", 0))]


BYTES: Row = [tags.BYTES, None, b"x" * 60_000]
COPIES: dict[str, Row] = {
    "bytearray": [tags.BYTEARRAY, None, ref(0)],
    "int": [tags.INT, None, ref(0)],
    "array": [tags.ARRAY_ARRAY, None, "b", 1, "little", ref(0)],
    "numpy bytes": [tags.NUMPY_TEXT, ref(0)],
    "ordered": [tags.ORDERED_DICT, ref(1)],
    "counter": [tags.COUNTER, ref(1)],
    "group": [tags.EXCEPTION, "builtins:ExceptionGroup", None, ref(2), ref(5), None, None, False],
}


@pytest.mark.parametrize("name", COPIES)
def test_what_rows_share_is_copied_no_more_than_it_has_bytes(name: str) -> None:
    before: list[Row] = [BYTES, attributes(), [tags.TUPLE]]
    before.append([tags.EXCEPTION, "builtins:ValueError", None, ref(2), None, None, None, False])
    before += [[tags.TUPLE, *[ref(3)] * 50_000], [tags.TUPLE, "m", ref(4)]]
    refused(forged(repeated(before, COPIES[name])))


def test_files_in_memory_share_their_bytes() -> None:
    files: Any = decode(forged(repeated([BYTES], [tags.MEMORY_FILE, ref(0), 7])))
    assert (files[0].tell(), len(files), files[1].getbuffer().nbytes) == (7, MANY, 60_000)
    refused(forged([[tags.NUMPY_TEXT, "x" * 1000], [tags.MEMORY_FILE, ref(0), "", 0]]))
    refused(forged([BYTES, [tags.MEMORY_FILE, ref(0), -1]]))


def test_descriptions_of_dtypes_that_share_parts() -> None:
    fields: list[Row] = [[tags.TUPLE, f"f{i}", None, 0, "<i4"] for i in range(9000)]
    rows = [*fields, [tags.TUPLE, *map(ref, range(9000))], [tags.TUPLE, "s", 4, False, False, ref(9000)]]
    refused(forged(repeated([*rows, [tags.TUPLE, 2]], [tags.DTYPE, ref(9001)], 3000)))


def test_aliases_that_share_parts() -> None:
    rows: list[Row] = [[tags.TYPE, "builtins:int"], [tags.TYPE, "builtins:dict"]]
    rows += [[tags.GENERIC_ALIAS, 0, ref(1), ref(0), ref(0)]]
    rows += [[tags.GENERIC_ALIAS, 0, ref(1), ref(i), ref(i)] for i in range(2, 40)]
    refused(forged(rows))


def test_keys_whose_hash_takes_long_each_time() -> None:
    number = (1 << 4_000_000) - 1
    large: list[Row] = [[tags.INT, None, number.to_bytes(500_001, "little")], [tags.RANGE, 0, ref(0), 1]]
    for key in (0, 1):
        refused(forged(repeated(large, [tags.DICT, ref(key), 0])))


def test_seeds() -> None:
    web: list[Row] = [[tags.LIST, 1], *([tags.LIST, ref(i), ref(i)] for i in range(40))]
    refused(forged([*web, [tags.TUPLE], [tags.RANDOM, "SeedSequence", ref(40), ref(41), 4, 0]]))
    number = (1 << 60_000) - 1
    one: list[Row] = [[tags.INT, None, number.to_bytes(7501, "little")], [tags.TUPLE]]
    refused(forged(repeated(one, [tags.RANDOM, "SeedSequence", ref(0), ref(1), 4, 0], 100)))
    wide: list[Row] = [[tags.INT, None, (number << 10_000).to_bytes(8752, "little")], [tags.TUPLE]]
    refused(forged([*wide, [tags.RANDOM, "SeedSequence", ref(0), ref(1), 4, 0]]))


def test_sparse_arrays_that_share_parts() -> None:
    pytest.importorskip("scipy")
    many = [tags.LIST, *[0] * 100_000]
    lists: list[Row] = [many, [tags.TUPLE, MANY], [tags.OBJECT_ARRAY, ref(1), "C", *[ref(0)] * MANY]]
    lists += [[tags.DTYPE, "<f8"], [tags.TUPLE, MANY, 100_000]]
    fields = ["rows", ref(2), "data", ref(2), "dtype", ref(3)]
    refused(forged([*lists, [tags.SPARSE, "lil_array", ref(4), None, *fields]]))
    keys: list[Row] = [[tags.DICT, *(part for i in range(10_000) for part in (i, 0))], [tags.DTYPE, "<f8"]]
    keys.append([tags.TUPLE, 10_000])
    row = [tags.SPARSE, "dok_array", ref(2), None, "_dict", ref(0), "dtype", ref(1)]
    refused(forged(repeated(keys, row, 5000)))


def view(dtype: str) -> Row:
    """A few bytes that look like many."""
    return [tags.VIEW, 0, dtype, 0, False, VAST, 0]


LABELS: list[Row] = [
    [tags.TUPLE, 1],
    [tags.OBJECT_ARRAY, ref(1), "C", "a"],
    [tags.INDEX, "index", None, ref(2), None],
]
PANDAS: dict[str, tuple[str, list[Row]]] = {
    "codes": ("|i1", [*LABELS, [tags.INDEX, "multi", None, None, ref(3), ref(0)]]),
    "index": ("<f8", [[tags.INDEX, "index", None, ref(0), None]]),
    "times": ("<M8[ns]", [[tags.PANDAS_ARRAY, "datetime", None, ref(0), None]]),
    "masked": (
        "|i1",
        [[tags.PANDAS_DTYPE, "masked", "Int8Dtype"], [tags.PANDAS_ARRAY, "masked", ref(1), ref(0), ref(0)]],
    ),
    "numpy": ("<f8", [[tags.PANDAS_ARRAY, "numpy", ref(0)]]),
    "holidays": (
        "<M8[D]",
        [
            [tags.NDARRAY, 1],
            [tags.TUPLE, ref(1), ref(0)],
            [tags.TIMEDELTA, 0, 0, 0],
            [tags.OFFSET, "CustomBusinessDay", 1, False, "", None, ref(2), ref(3)],
        ],
    ),
}


@pytest.mark.parametrize("name", PANDAS)
def test_columns_and_indexes_are_no_views_of_a_few_bytes(name: str) -> None:
    pytest.importorskip("pandas")
    dtype, rows = PANDAS[name]
    week = Buffer(memoryview(b"\1" * 7), "|b1", (7,), "C")
    refused(forged([view(dtype), *rows], bytes(16), week))


def test_two_columns_are_no_views_of_one_memory() -> None:
    pytest.importorskip("pandas")
    rows: list[Row] = [[tags.VIEW, 0, "<f8", 0, False, 2, 8], [tags.VIEW, 0, "<f8", 0, False, 2, 8]]
    rows += [[tags.PANDAS_ARRAY, "numpy", ref(0)], [tags.PANDAS_ARRAY, "numpy", ref(1)]]
    refused(forged(rows, bytes(16)))


def test_categories() -> None:
    pd = pytest.importorskip("pandas")
    web: list[Row] = [[tags.TUPLE, 1], *([tags.TUPLE, ref(i), ref(i)] for i in range(40))]
    rows = [*web, [tags.TUPLE, 1], [tags.OBJECT_ARRAY, ref(41), "C", ref(40)]]
    refused(
        forged(
            [
                *rows,
                [tags.INDEX, "index", None, ref(42), None],
                [tags.PANDAS_DTYPE, "category", ref(43), False],
            ]
        )
    )
    numbers = Buffer(memoryview(np.arange(20_000).tobytes()), "<i8", (20_000,), "C")
    index: list[Row] = [[tags.NDARRAY, 0], [tags.INDEX, "index", None, ref(0), None]]
    kind = [tags.PANDAS_DTYPE, "category", ref(1), False]
    refused(forged(repeated([*index, kind], [tags.DICT, ref(2), 0]), numbers))
    vast = decode(
        forged([[tags.INDEX, "range", None, 0, 1 << 60, 1], [tags.PANDAS_DTYPE, "category", ref(0), False]])
    )
    assert isinstance(vast, pd.CategoricalDtype)
    for twice in ([1, 1], [1.5, 1.5], ["a", "a"]):
        half: list[Row] = [[tags.TUPLE, 2], [tags.OBJECT_ARRAY, ref(0), "C", *twice]]
        half += [[tags.INDEX, "index", None, ref(1), None], [tags.PANDAS_DTYPE, "category", ref(2), False]]
        refused(forged(half))


WEB = "a web"
# In the place of a text or a number: an array of very many, or a tuple without end.
FIELDS: dict[str, tuple[str, list[Row]]] = {
    "order": ("<U1", [[tags.TUPLE, 1], [tags.OBJECT_ARRAY, ref(1), ref(0), 1]]),
    "byteorder": ("<U1", [[tags.ARRAY_ARRAY, None, "b", 1, ref(0), b"x"]]),
    "itemsize": ("<i8", [[tags.ARRAY_ARRAY, None, "b", ref(0), "little", b"x"]]),
    "path": ("<i8", [[tags.PATH, ref(0), "x"]]),
    "alias": ("<i8", [[tags.GENERIC_ALIAS, ref(0), None, None]]),
    "dtype": ("<U1", [[tags.TUPLE, ref(0), "q"], [tags.DTYPE, ref(1)]]),
    "C type": ("<U1", [[tags.TUPLE, "c", "q", ref(0)], [tags.DTYPE, ref(1)]]),
    "interval": ("<U4", [[tags.INTERVAL, 1, 2, ref(0)]]),
    "fold": ("<i8", [[tags.TIMESTAMP, 0, "ns", None, ref(0)]]),
    "string": ("<U6", [[tags.PANDAS_DTYPE, "string", ref(0), "NA"]]),
    "numpy": ("<U1", [[tags.PANDAS_DTYPE, "numpy", ref(0)]]),
    "unit": (WEB, [[tags.TIMEZONE, 0, 0, 0, None], [tags.PANDAS_DTYPE, "datetime", ref(40), ref(41)]]),
    "attribute": (
        WEB,
        [
            [tags.TUPLE],
            [tags.EXCEPTION, "builtins:ValueError", None, ref(41), None, None, None, False, ref(40), 1],
        ],
    ),
    "Arrow scalar": (WEB, [[tags.ARROW, None, "value", "int64", ref(40)]]),
}


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_of_another_type_is_not_compared(name: str) -> None:
    kind, rows = FIELDS[name]
    if name in ("interval", "fold", "string", "numpy", "unit"):
        pytest.importorskip("pandas")
    if name == "Arrow scalar":
        pytest.importorskip("pyarrow")
    web: list[Row] = [[tags.TUPLE, 1], *([tags.TUPLE, ref(i), ref(i)] for i in range(40))]
    refused(forged([*(web if kind == WEB else [view(kind)]), *rows], bytes(64)))


def test_pictures() -> None:
    pytest.importorskip("PIL")
    import struct
    import zlib

    head = b"GIF89a" + struct.pack("<HHBBB", 1000, 1000, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    frame = b"\x21\xf9\x04\x08\0\0\0\0\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\2\2\x44\1\0"
    refused(forged([[tags.IMAGE_FILE, 0, "GIF", 1999, None]], head + frame * 2000 + b";"))

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    notes = b"".join(chunk(b"zTXt", b"k%d\0\0" % i + zlib.compress(b"x" * 1_000_000)) for i in range(20))
    file = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 2, 0, 0, 0)) + notes
    file += chunk(b"IDAT", zlib.compress(bytes(252))) + chunk(b"IEND", b"")
    refused(forged([[tags.IMAGE_FILE, 0, "PNG", 0, None]], file))
