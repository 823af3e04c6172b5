"""Forged rows of pandas and Arrow: refused cheaply, whatever they would make compiled code touch."""

from __future__ import annotations

import random
from time import process_time
from typing import TYPE_CHECKING, Any

import msgpack
import numpy as np
import pytest

from laila.blob.blob import Blob
from laila.blob.buffer import Buffer
from laila.codec import decode, encode, tags
from laila.errors import CorruptEntryError, PluginError, UntrustedPayloadError

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = pytest.importorskip("pandas")

KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"
Rows = list[Any]
HUGE, WIDE = 1 << 60, 1 << 40


def ref(index: int) -> msgpack.ExtType:
    return msgpack.ExtType(index >> 24, (index & 0xFFFFFF).to_bytes(3, "little"))


def read(*rows: Any, arrays: tuple[Any, ...] = ()) -> Any:
    """Read rows; each array is a buffer, and its row stands before the others."""
    buffers = [Buffer(memoryview(a.tobytes()), a.dtype.str, a.shape) for a in arrays]
    heads = [[tags.NDARRAY, number] for number in range(len(arrays))]
    return decode(Blob(KEY, tags.ROWS_MARK + b"".join(map(msgpack.packb, [*heads, *rows])), tuple(buffers)))


CODES, FLOATS, INTS = np.array([0, 1], "i1"), np.array([[1.5, 2.5]]), np.arange(2)
ROWS, NAMES = [tags.INDEX, "range", None, 0, 2, 1], [tags.INDEX, "range", None, 0, 1, 1]
COLUMN = [None, None, None]

FORGED: dict[str, tuple[tuple[Any, ...], Rows]] = {
    "codes beyond": (
        (np.array([0, 7], "i1"), INTS),
        [
            [tags.INDEX, "index", None, ref(1), None],
            [tags.PANDAS_DTYPE, "category", ref(2), False],
            [tags.PANDAS_ARRAY, "category", ref(3), ref(0)],
        ],
    ),
    "codes below": (
        (np.array([0, -2], "i1"), INTS),
        [
            [tags.INDEX, "index", None, ref(1), None],
            [tags.PANDAS_DTYPE, "category", ref(2), False],
            [tags.PANDAS_ARRAY, "category", ref(3), ref(0)],
        ],
    ),
    "codes that are floats": (
        (np.zeros(2), INTS),
        [
            [tags.INDEX, "index", None, ref(1), None],
            [tags.PANDAS_DTYPE, "category", ref(2), False],
            [tags.PANDAS_ARRAY, "category", ref(3), ref(0)],
        ],
    ),
    "categories twice": (
        (np.zeros(2),),
        [[tags.INDEX, "index", None, ref(0), None], [tags.PANDAS_DTYPE, "category", ref(1), False]],
    ),
    "categories missing": (
        (np.array([np.nan]),),
        [[tags.INDEX, "index", None, ref(0), None], [tags.PANDAS_DTYPE, "category", ref(1), False]],
    ),
    "levels beyond": ((np.array([5], "i1"),), [ROWS, [tags.INDEX, "multi", None, None, ref(1), ref(0)]]),
    "levels of two lengths": (
        (np.array([0], "i1"), CODES),
        [ROWS, [tags.INDEX, "multi", None, None, ref(2), ref(0), None, ref(2), ref(1)]],
    ),
    "levels of nothing": ((), [[tags.INDEX, "multi", None]]),
    "level of a multi-index": (
        (np.array([0], "i1"),),
        [
            ROWS,
            [tags.INDEX, "multi", None, None, ref(1), ref(0)],
            [tags.INDEX, "multi", None, None, ref(2), ref(0)],
        ],
    ),
    "index of two dimensions": ((FLOATS,), [[tags.INDEX, "index", None, ref(0), None]]),
    "index of text of numpy": ((np.array(["a"]),), [[tags.INDEX, "index", None, ref(0), None]]),
    "index of a list": ((), [[tags.LIST, 1], [tags.INDEX, "index", None, ref(0), None]]),
    "name that is a list": ((), [[tags.LIST, 1], [tags.INDEX, "range", ref(0), 0, 1, 1]]),
    "range beyond": ((), [[tags.INDEX, "range", None, 0, 1 << 63, 1]]),
    "view of a range": ((), [[tags.INDEX, "range", None, 0, 1, 1], [tags.INDEX, "view", ref(0)]]),
    "view of text": ((), [[tags.INDEX, "view", "a"]]),
    "range without a step": ((), [[tags.INDEX, "range", None, 0, 1, 0]]),
    "frequency of numbers": (
        (INTS,),
        [[tags.OFFSET, "Day", 1, False], [tags.INDEX, "index", None, ref(0), ref(1)]],
    ),
    "one array for two columns": (
        (FLOATS,),
        [ROWS, [tags.FRAME, ref(1), ref(1), *COLUMN, ref(0), 0, 1, ref(0), 1, 1]],
    ),
    "column beside": ((FLOATS,), [ROWS, NAMES, [tags.FRAME, ref(2), ref(1), *COLUMN, ref(0), 1, 1]]),
    "column far beside": ((FLOATS,), [ROWS, NAMES, [tags.FRAME, ref(2), ref(1), *COLUMN, ref(0), HUGE, 1]]),
    "column before": ((FLOATS,), [ROWS, NAMES, [tags.FRAME, ref(2), ref(1), *COLUMN, ref(0), -1, 1]]),
    "columns with a step of nothing": (
        (np.ones((2, 2)),),
        [ROWS, [tags.FRAME, ref(1), ref(1), *COLUMN, ref(0), 0, 0]],
    ),
    "columns twice in one place": (
        (FLOATS, FLOATS),
        [ROWS, [tags.FRAME, ref(2), ref(2), *COLUMN, ref(0), 0, 1, ref(1), 0, 1]],
    ),
    "columns with places beyond": (
        (FLOATS, np.array([9])),
        [ROWS, NAMES, [tags.FRAME, ref(3), ref(2), *COLUMN, ref(0), ref(1), None]],
    ),
    "columns too few": ((FLOATS,), [ROWS, [tags.FRAME, ref(1), ref(1), *COLUMN, ref(0), 0, 1]]),
    "column too short": ((FLOATS,), [NAMES, [tags.FRAME, ref(1), ref(1), *COLUMN, ref(0), 0, 1]]),
    "column of one dimension": ((INTS,), [ROWS, NAMES, [tags.FRAME, ref(2), ref(1), *COLUMN, ref(0), 0, 1]]),
    "many names of nothing": (
        (np.empty((0, 0)),),
        [
            [tags.INDEX, "range", None, 0, HUGE, 1],
            [tags.INDEX, "range", None, 0, 0, 1],
            [tags.FRAME, ref(1), ref(2), *COLUMN],
        ],
    ),
    "many columns of nothing": (
        (np.empty((WIDE, 0)),),
        [
            [tags.INDEX, "range", None, 0, WIDE, 1],
            [tags.INDEX, "range", None, 0, 0, 1],
            [tags.FRAME, ref(1), ref(2), *COLUMN, ref(0), 0, 1],
        ],
    ),
    "many names of few columns": (
        (FLOATS,),
        [[tags.INDEX, "range", None, 0, HUGE, 1], ROWS, [tags.FRAME, ref(1), ref(2), *COLUMN, ref(0), 0, 1]],
    ),
    "frame of text of numpy": (
        (np.array([["a", "b"]]),),
        [ROWS, NAMES, [tags.FRAME, ref(2), ref(1), *COLUMN, ref(0), 0, 1]],
    ),
    "attribute that hides a method": (
        (FLOATS,),
        [ROWS, NAMES, [tags.DICT, "mean", 1], [tags.FRAME, ref(2), ref(1), None, None, ref(3), ref(0), 0, 1]],
    ),
    "attribute inside": (
        (FLOATS,),
        [ROWS, NAMES, [tags.DICT, "_mgr", 1], [tags.FRAME, ref(2), ref(1), None, None, ref(3), ref(0), 0, 1]],
    ),
    "attrs that are a list": (
        (FLOATS,),
        [ROWS, NAMES, [tags.LIST], [tags.FRAME, ref(2), ref(1), ref(3), None, None, ref(0), 0, 1]],
    ),
    "series too short": ((np.zeros(1),), [ROWS, [tags.SERIES, None, ref(1), *COLUMN, ref(0)]]),
    "series of two dimensions": ((FLOATS.T.copy(),), [ROWS, [tags.SERIES, None, ref(1), *COLUMN, ref(0)]]),
    "series of an int": ((), [ROWS, [tags.SERIES, None, ref(0), *COLUMN, 1]]),
    "class without trust": (
        (np.zeros(2),),
        [
            ROWS,
            [tags.SERIES, None, ref(1), *COLUMN, ref(0)],
            [tags.DICT],
            [tags.FRAME_CLASS, "os:system", ref(2), ref(3)],
        ],
    ),
    "sparse beyond": (
        (np.ones(1), np.array([9], "i4")),
        [[tags.PANDAS_DTYPE, "sparse", "<f8", 0.0], [tags.PANDAS_ARRAY, "sparse", ref(2), ref(0), 3, ref(1)]],
    ),
    "sparse below": (
        (np.ones(1), np.array([-1], "i4")),
        [[tags.PANDAS_DTYPE, "sparse", "<f8", 0.0], [tags.PANDAS_ARRAY, "sparse", ref(2), ref(0), 3, ref(1)]],
    ),
    "sparse out of order": (
        (np.ones(2), np.array([2, 1], "i4")),
        [[tags.PANDAS_DTYPE, "sparse", "<f8", 0.0], [tags.PANDAS_ARRAY, "sparse", ref(2), ref(0), 3, ref(1)]],
    ),
    "sparse blocks beyond": (
        (np.ones(5), np.array([1], "i4"), np.array([5], "i4")),
        [
            [tags.PANDAS_DTYPE, "sparse", "<f8", 0.0],
            [tags.PANDAS_ARRAY, "sparse", ref(3), ref(0), 3, ref(1), ref(2)],
        ],
    ),
    "sparse blocks below": (
        (np.ones(1), np.array([-1], "i4"), np.array([1], "i4")),
        [
            [tags.PANDAS_DTYPE, "sparse", "<f8", 0.0],
            [tags.PANDAS_ARRAY, "sparse", ref(3), ref(0), 3, ref(1), ref(2)],
        ],
    ),
    "sparse blocks of less than nothing": (
        (np.ones(1), np.array([0, 1], "i4"), np.array([2, -1], "i4")),
        [
            [tags.PANDAS_DTYPE, "sparse", "<f8", 0.0],
            [tags.PANDAS_ARRAY, "sparse", ref(3), ref(0), 3, ref(1), ref(2)],
        ],
    ),
    "sparse values too few": (
        (np.ones(1), np.array([0, 1], "i4")),
        [[tags.PANDAS_DTYPE, "sparse", "<f8", 0.0], [tags.PANDAS_ARRAY, "sparse", ref(2), ref(0), 3, ref(1)]],
    ),
    "mask of another length": (
        (INTS, np.zeros(3, bool)),
        [[tags.PANDAS_DTYPE, "masked", "Int64Dtype"], [tags.PANDAS_ARRAY, "masked", ref(2), ref(0), ref(1)]],
    ),
    "mask over another type": (
        (INTS, np.zeros(2, bool)),
        [[tags.PANDAS_DTYPE, "masked", "Int8Dtype"], [tags.PANDAS_ARRAY, "masked", ref(2), ref(0), ref(1)]],
    ),
    "masked dtype of nothing": ((), [[tags.PANDAS_DTYPE, "masked", "DataFrame"]]),
    "texts of bytes": (
        (),
        [
            [tags.TUPLE, 1],
            [tags.OBJECT_ARRAY, ref(0), "C", b"x"],
            [tags.PANDAS_DTYPE, "string", "python", "NA"],
            [tags.PANDAS_ARRAY, "string", ref(2), ref(1)],
        ],
    ),
    "times of another unit": (
        (np.zeros(1, "M8[us]"),),
        [
            [tags.ZONE, "UTC"],
            [tags.PANDAS_DTYPE, "datetime", "ns", ref(1)],
            [tags.PANDAS_ARRAY, "datetime", ref(2), ref(0), None],
        ],
    ),
    "times in days": ((np.zeros(1, "M8[D]"),), [[tags.PANDAS_ARRAY, "datetime", None, ref(0), None]]),
    "times of another order": (
        (np.zeros(1, ">M8[ns]"),),
        [[tags.PANDAS_ARRAY, "datetime", None, ref(0), None]],
    ),
    "times without a zone": ((), [[tags.PANDAS_DTYPE, "datetime", "ns", "/etc/passwd"]]),
    "periods of floats": (
        (np.zeros(1),),
        [
            [tags.OFFSET, "Day", 1, False],
            [tags.PANDAS_DTYPE, "period", ref(1)],
            [tags.PANDAS_ARRAY, "period", ref(2), ref(0)],
        ],
    ),
    "periods of what cannot": (
        (),
        [
            [tags.TIMEDELTA, 0, 0, 0],
            [tags.OFFSET, "Easter", 1, False, 3],
            [tags.PANDAS_DTYPE, "period", ref(1)],
        ],
    ),
    "period of text": ((), [[tags.PERIOD, 1, "M"]]),
    "intervals with one end": (
        (np.zeros(2), np.zeros(1)),
        [
            [tags.DTYPE, "<f8"],
            [tags.PANDAS_DTYPE, "interval", ref(2), "right"],
            [tags.PANDAS_ARRAY, "interval", ref(3), ref(0), ref(1)],
        ],
    ),
    "interval of lists": ((), [[tags.LIST], [tags.INTERVAL, ref(0), ref(0), "left"]]),
    "interval the other way": ((), [[tags.INTERVAL, 2, 1, "left"]]),
    "timestamp beyond": ((), [[tags.TIMESTAMP, 1 << 63, "ns", None, 0]]),
    "timestamp of no unit": ((), [[tags.TIMESTAMP, 1, "D", None, 0]]),
    "timestamp that is none": ((), [[tags.TIMESTAMP, -(1 << 63), "ns", None, 0]]),
    "timestamp of many folds": ((), [[tags.TIMESTAMP, 1, "ns", None, 7]]),
    "offset of nothing": ((), [[tags.OFFSET, "BaseOffset", 1, False]]),
    "offset beyond": ((), [[tags.OFFSET, "Day", 1 << 63, False]]),
    "offset of text": ((), [[tags.OFFSET, "Week", 1, False, "x"]]),
    "offset with other parts": (
        (),
        [[tags.DICT, "__class__", 1], [tags.OFFSET, "DateOffset", 1, False, ref(0)]],
    ),
    "constant": ((), [[tags.PANDAS_CONSTANT, 2]]),
    "Arrow column of a list": (
        (),
        [
            [tags.PANDAS_DTYPE, "string", "pyarrow", "NA"],
            [tags.LIST],
            [tags.PANDAS_ARRAY, "arrow", ref(0), ref(1)],
        ],
    ),
    "dtype of nothing": ((), [[tags.PANDAS_DTYPE, "object"]]),
    "dtype of an empty row": ((), [[tags.PANDAS_DTYPE]]),
    "array of nothing": ((), [[tags.PANDAS_ARRAY, "x"]]),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_rows(name: str) -> None:
    arrays, rows = FORGED[name]
    start = process_time()
    with pytest.raises((CorruptEntryError, UntrustedPayloadError)):
        read(*rows, arrays=arrays)
    assert process_time() - start < 20


def test_what_is_forged_would_be_right_otherwise() -> None:
    """The parts of the forged rows are sound, so that each is refused for what its name says."""
    frame = read(ROWS, NAMES, [tags.FRAME, ref(2), ref(1), *COLUMN, ref(0), 0, 1], arrays=(FLOATS,))
    assert frame.values.tolist() == [[1.5], [2.5]]
    rows: Rows = [
        [tags.INDEX, "index", None, ref(1), None],
        [tags.PANDAS_DTYPE, "category", ref(2), False],
        [tags.PANDAS_ARRAY, "category", ref(3), ref(0)],
    ]
    assert list(read(*rows, arrays=(CODES, INTS))) == [0, 1]
    assert len(read(ROWS, [tags.INDEX, "multi", None, None, ref(1), ref(0)], arrays=(CODES,))) == 2


def test_many_rows_over_one_array_take_no_time() -> None:
    """Codes are looked through once, however many indexes have them; a column has an array of its own."""
    codes = np.zeros(1_000_000, "i1")
    multi = [tags.INDEX, "multi", None, None, ref(1), ref(0)]
    start = process_time()
    read(ROWS, *[multi] * 5000, arrays=(codes,))
    assert process_time() - start < 20


def test_damaged_frames() -> None:
    """Any byte of the tree changed: refused, or a frame that can be used."""
    frame = pd.DataFrame(
        {
            "a": [1, 2],
            "b": pd.Categorical(["x", None]),
            "c": pd.array([1, None]),
            "d": pd.arrays.SparseArray([0, 1]),
            "e": pd.date_range("2020", periods=2, tz="Europe/Berlin"),
            "f": pd.Series(["x", None], dtype=object),
        },
        index=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)]),
    )
    blob = encode(frame, key=KEY, pickle=False)
    dice = random.Random(7)
    for _ in range(3000):
        bad = bytearray(blob.tree)
        for _ in range(dice.randint(1, 2)):
            bad[dice.randrange(1, len(bad))] = dice.choice(
                [0, 1, 2, 0x7F, 0x80, 0xC0, 0xFF, dice.randrange(256)]
            )
        try:
            found: Any = decode(Blob(KEY, bytes(bad), blob.buffers))
        except (CorruptEntryError, UntrustedPayloadError, PluginError):
            continue
        if type(found) is pd.DataFrame and len(found) < 100:
            found.iloc[::-1].to_dict()
