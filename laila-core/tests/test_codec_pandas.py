"""Pandas as data: every index, dtype and scalar comes back exactly, unsigned, also in another process.

:func:`differs` compares by itself: it walks through what pandas holds inside (levels, codes, frequencies, the
objects that time zones are, the bits of NaNs) and knows nothing of laila.
"""

from __future__ import annotations

import cProfile
import datetime as dt
import decimal
import logging
import os
import subprocess
import sys
import threading
import types
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from laila.blob.blob import Blob
from laila.codec import decode, encode, register_type
from laila.errors import PayloadError

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = pytest.importorskip("pandas")

KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAILA_SECRET_KEY", "a key for the tests of this module only")


def again(payload: Any, **options: Any) -> Any:
    options.setdefault("pickle", False)
    return decode(Blob.from_bytes(bytes(encode(payload, key=KEY, **options)), key=KEY))


# -- a check that knows nothing of laila


def differs(one: Any, two: Any, place: str = "it") -> str | None:
    """Where two objects differ in anything that pandas holds, or None."""
    if type(one) is not type(two):
        return f"{place}: {type(one)} and {type(two)}"
    kind = type(one)
    if isinstance(one, pd.DataFrame | pd.Series):
        parts: list[tuple[str, Any, Any]] = [
            ("attrs", one.attrs, two.attrs),
            ("flags", one.flags.allows_duplicate_labels, two.flags.allows_duplicate_labels),
            ("name", getattr(one, "_name", None), getattr(two, "_name", None)),
        ]
        parts += [(f"axes[{i}]", a, b) for i, (a, b) in enumerate(zip(one.axes, two.axes, strict=True))]
        parts.append(("blocks", len(one._mgr.blocks), len(two._mgr.blocks)))
        for i, (a, b) in enumerate(zip(one._mgr.blocks, two._mgr.blocks, strict=False)):
            parts += [(f"blocks[{i}].places", a.mgr_locs.as_array, b.mgr_locs.as_array)]
            parts += [(f"blocks[{i}].values", a.values, b.values)]
        mine, yours = ({n: v for n, v in vars(x).items() if n[:1] != "_"} for x in (one, two))
        parts.append(("own", mine, yours))
    elif kind is pd.MultiIndex:
        parts = [(name, list(getattr(one, name)), list(getattr(two, name))) for name in ("_levels", "_codes")]
        parts += [("names", list(one.names), list(two.names)), ("sortorder", one.sortorder, two.sortorder)]
    elif kind is pd.RangeIndex:
        parts = [("range", one._range, two._range), ("name", one.name, two.name)]
    elif isinstance(one, pd.Index):
        parts = [
            (name, getattr(one, name, None), getattr(two, name, None)) for name in ("name", "freq", "_data")
        ]
    elif isinstance(one, pd.api.extensions.ExtensionArray):
        names = (
            "dtype",
            "_ndarray",
            "_data",
            "_mask",
            "_left",
            "_right",
            "_sparse_values",
            "_pa_array",
            "_freq",
        )
        parts = [(name, getattr(one, name, None), getattr(two, name, None)) for name in names]
        if isinstance(one, pd.arrays.SparseArray):
            parts += [("places", one.sp_index.__reduce__(), two.sp_index.__reduce__())]
    elif isinstance(one, pd.api.extensions.ExtensionDtype):
        names = one._metadata
        parts = [(name, getattr(one, name), getattr(two, name)) for name in names]
        if isinstance(one, pd.ArrowDtype):
            parts = [("type", one.pyarrow_dtype, two.pyarrow_dtype)]
    elif isinstance(one, np.ndarray):
        if one.dtype.str != two.dtype.str or one.shape != two.shape or one.dtype.char != two.dtype.char:
            return f"{place}: {one.dtype} {one.shape} and {two.dtype} {two.shape}"
        if one.dtype.kind != "O":
            return None if one.tobytes() == two.tobytes() else f"{place}: other bytes"
        parts = [(f"[{i}]", a, b) for i, (a, b) in enumerate(zip(one.flat, two.flat, strict=True))]
    elif kind is dict:
        parts = [("keys", list(one), list(two))]
        parts += [(f"[{k!r}]", a, b) for k, a, b in zip(one, one.values(), two.values(), strict=False)]
    elif kind in (list, tuple):
        parts = [("len", len(one), len(two))]
        parts += [(f"[{i}]", a, b) for i, (a, b) in enumerate(zip(one, two, strict=False))]
    elif kind is pd.Timestamp:
        parts = [
            (name, getattr(one, name), getattr(two, name)) for name in ("_value", "unit", "fold", "tzinfo")
        ]
    elif kind is pd.Timedelta:
        parts = [(name, getattr(one, name), getattr(two, name)) for name in ("_value", "unit")]
    elif kind is pd.Period:
        parts = [(name, getattr(one, name), getattr(two, name)) for name in ("ordinal", "freq")]
    elif kind is pd.Interval:
        parts = [(name, getattr(one, name), getattr(two, name)) for name in ("left", "right", "closed")]
    elif isinstance(one, pd.offsets.BaseOffset):
        same = one == two and one.__reduce__() == two.__reduce__()
        return None if same else f"{place}: {one!r} and {two!r}"
    elif kind is float:
        return None if np.float64(one).tobytes() == np.float64(two).tobytes() else f"{place}: {one} and {two}"
    elif isinstance(one, np.generic):
        return differs(np.asarray(one), np.asarray(two), place)
    elif isinstance(one, dt.tzinfo):
        same = repr(one) == repr(two) and str(one) == str(two)
        return None if same else f"{place}: {one!r} and {two!r}"
    elif kind.__module__ == "pyarrow.lib":
        return differs_in_arrow(one, two, place)
    elif one is pd.NaT or one is pd.NA or one is None:
        return None if one is two else f"{place}: {one} and {two}"
    else:
        return None if one == two else f"{place}: {one!r} and {two!r}"
    for name, a, b in parts:
        found = differs(a, b, f"{place}.{name}")
        if found:
            return found
    return None


def differs_in_arrow(one: Any, two: Any, place: str) -> str | None:
    import pyarrow as pa

    if isinstance(one, pa.DataType | pa.Field | pa.Schema):
        options = {} if isinstance(one, pa.DataType) else {"check_metadata": True}
        return None if one.equals(two, **options) else f"{place}: {one} and {two}"
    if isinstance(one, pa.Table | pa.RecordBatch):
        if not one.schema.equals(two.schema, check_metadata=True) or one.num_rows != two.num_rows:
            return f"{place}: {one.schema} and {two.schema}"
        pairs = zip(one.columns, two.columns, strict=True)
        return next(filter(None, (differs_in_arrow(a, b, place) for a, b in pairs)), None)
    if one.type != two.type or isinstance(one, pa.ChunkedArray) != isinstance(two, pa.ChunkedArray):
        return f"{place}: {one.type} and {two.type}"
    if isinstance(one, pa.Scalar):
        return None if repr(one.as_py()) == repr(two.as_py()) else f"{place}: {one} and {two}"
    two.validate(full=True)
    return None if repr(one.to_pylist()) == repr(two.to_pylist()) else f"{place}: other values"


class Holder:
    def __init__(self, held: Any) -> None:
        self.held = held


# -- what is stored


def indexes() -> dict[str, Any]:
    days = pd.date_range("2020-01-01", periods=4, freq="D")
    multi = pd.MultiIndex(
        levels=[["low", "high", "unused"], [1, 2]],
        codes=[[0, 0, 1, -1], [0, 1, 0, 1]],
        names=["size", ("n", 1)],
    )
    found = {
        "int": pd.Index([3, 1, 2], name=0),
        **{
            f"index of {t}": pd.Index(np.arange(3).astype(t))
            for t in ("i1", "u2", "f4", "f8", "?", "c16", "u8")
        },
        "object": pd.Index([1, "x", None, (1, 2), dt.date(2020, 1, 1), np.nan], dtype=object, name=("a", 1)),
        "text": pd.Index(["a", "b", None]),
        "text as objects": pd.Index(["a", "b"], dtype=object),
        "python text": pd.Index(["a", None], dtype="string[python]"),
        "empty": pd.Index([]),
        "range": pd.RangeIndex(1, 10, 3, name=1.5),
        "range down": pd.RangeIndex(5, 0, -1),
        "days": days,
        "days without": days[[0, 2, 1]],
        "business": pd.date_range(
            "2020-01-01", periods=4, freq=pd.offsets.BusinessDay(2), name=dt.date(2020, 1, 1)
        ),
        "durations": pd.timedelta_range("1h", periods=3, freq="2h"),
        "periods": pd.period_range("2020", periods=3, freq="Q-MAR", name="p"),
        "intervals": pd.interval_range(0.0, 3.0, closed="both"),
        "intervals of days": pd.IntervalIndex.from_breaks(
            pd.date_range("2020", periods=3, tz="Europe/Berlin")
        ),
        "categories": pd.CategoricalIndex(["b", "a", None], ["b", "a", "c"], ordered=True, name="c"),
        "Int64": pd.Index([1, None], dtype="Int64"),
        "boolean": pd.Index([True, None], dtype="boolean"),
        "sparse": pd.Index(pd.arrays.SparseArray([0, 0, 1])),
        "multi": multi,
        "multi part": multi[:2],
        "multi of kinds": pd.MultiIndex.from_product(
            [days, pd.CategoricalIndex(["x", "y"]), pd.interval_range(0, 1), [1.5, np.nan]]
        ),
        "multi sorted": pd.MultiIndex.from_product([[1, 2], ["a", "b"]]).sortlevel(1)[0],
        "multi empty": pd.MultiIndex.from_tuples([(1, 2)])[:0],
    }
    for name, zone in zones().items():
        found[f"zone {name}"] = pd.date_range("2020-03-28", periods=3, tz=zone)
    for unit in ("s", "ms", "us", "ns"):
        found[f"times in {unit}"] = days.as_unit(unit)
    return found


def zones() -> dict[str, Any]:
    import dateutil.tz

    found: dict[str, Any] = {
        "utc": dt.UTC,
        "named": ZoneInfo("Europe/Berlin"),
        "zoneinfo utc": ZoneInfo("UTC"),
        "offset": dt.timezone(dt.timedelta(hours=5, minutes=30)),
        "offset with name": dt.timezone(dt.timedelta(hours=-1), "X"),
        "dateutil": dateutil.tz.gettz("Europe/Berlin"),
        "dateutil utc": dateutil.tz.tzutc(),
        "dateutil offset": dateutil.tz.tzoffset("A", 3600),
    }
    try:
        import pytz
    except ImportError:
        return found
    return found | {
        "pytz": pytz.timezone("Europe/Berlin"),
        "pytz utc": pytz.UTC,
        "pytz fixed": pytz.FixedOffset(90),
        "pytz gmt": pytz.timezone("Etc/GMT+5"),
    }


def arrays() -> dict[str, Any]:
    bits = np.array([0x7FF8000000000001, 0xFFF8DEADBEEF0000, 0], "u8").view("f8")
    masked = pd.array([1, None, 3], dtype="Int16")
    return {
        **{
            f"array of {t}": np.arange(3).astype(t)
            for t in ("i1", "i8", "u4", "f2", "f4", "c8", "?", ">i4", ">f8")
        },
        "longlong": np.arange(3, dtype=np.longlong),
        "nan bits": bits,
        "mixed": np.array(
            [1, "x", [1, 2], {"a": np.arange(2)}, None, pd.NaT, pd.NA, dt.date(2020, 1, 1)], object
        ),
        "Int16": masked,
        "Float32": pd.array([1.5, None], dtype="Float32"),
        "boolean": pd.array([True, None], dtype="boolean"),
        "category": pd.Categorical(["a", "b", None, "a"], ["b", "a", "z"], ordered=True),
        "category of ints": pd.Categorical([3, 1, 3]),
        "category of days": pd.Categorical(pd.date_range("2020", periods=3, freq="D")),
        "category of intervals": pd.cut([1.0, 2.0, 9.0], 3),
        "category of nothing": pd.Categorical([None, None], []),
        "category of mixed": pd.Categorical(["a", 1], ["a", 1]),
        "periods": pd.period_range("2020", periods=3, freq="M").array,
        "times": pd.array(pd.date_range("2020", periods=3, tz="America/New_York")),
        "naive times": pd.array(pd.to_datetime(["2020-01-01", None])),
        "durations": pd.array(pd.to_timedelta([1, None], unit="s")),
        "intervals": pd.arrays.IntervalArray.from_tuples([(0, 1), None, (2, 5)], closed="left"),
        "sparse": pd.arrays.SparseArray([0, 0, 1, 2]),
        "sparse blocks": pd.arrays.SparseArray([np.nan, 1.5, np.nan], kind="block"),
        "sparse bool": pd.arrays.SparseArray([True, False], fill_value=False),
        "sparse objects": pd.arrays.SparseArray(np.array(["a", None], object)),
        "python strings": pd.array(["a", None, "é"], dtype="string[python]"),
        "python str": pd.array(["a", None], dtype=pd.StringDtype("python", na_value=np.nan)),
        "numpy": pd.arrays.NumpyExtensionArray(np.array([1, 2])),
    }


def arrow_arrays() -> dict[str, Any]:
    pa = pytest.importorskip("pyarrow")
    return {
        "pyarrow strings": pd.array(["a", None], dtype="string[pyarrow]"),
        "pyarrow str": pd.array(["a", None], dtype=pd.StringDtype("pyarrow", na_value=np.nan)),
        **{
            str(kind): pd.arrays.ArrowExtensionArray(pa.array(values, kind))
            for kind, values in {
                pa.int8(): [1, None],
                pa.float64(): [1.5, float("nan"), None],
                pa.list_(pa.int64()): [[1, 2], None, []],
                pa.struct({"a": pa.int64()}): [{"a": 1}, None],
                pa.timestamp("ns", "Europe/Berlin"): [1, None],
                pa.dictionary(pa.int8(), pa.string()): ["a", "b", None],
                pa.decimal128(5, 2): [decimal.Decimal("1.25")],
                pa.date32(): [dt.date(2020, 1, 1)],
                pa.null(): [None, None],
                pa.binary(): [b"a", None],
                pa.large_string(): ["x"],
                pa.map_(pa.string(), pa.int64()): [[("a", 1)], None],
            }.items()
        },
    }


def scalars() -> list[Any]:
    return [
        *(pd.NaT, pd.NA),
        *(
            pd.Timestamp("2020-01-01 12:00:00.123456789"),
            pd.Timestamp("1677-09-22"),
            pd.Timestamp(1, unit="s"),
        ),
        *(
            pd.Timestamp("2020-07-25 02:30", tz=zone)
            for zone in (None, "Europe/Berlin", "UTC", *zones().values())
        ),
        pd.Timestamp("2020-10-25 00:30", tz="UTC").tz_convert("Europe/Berlin"),
        pd.Timestamp("2020-10-25 01:30", tz="UTC").tz_convert("Europe/Berlin"),
        pd.Timestamp("2020-10-25 02:30").replace(fold=1),
        *(pd.Timestamp("2020").as_unit(unit) for unit in ("s", "ms", "us", "ns")),
        *(pd.Timedelta(1, "D"), pd.Timedelta("-1.5us"), pd.Timedelta(5, "s").as_unit("ms")),
        *(pd.Period("2020", "Y-MAR"), pd.Period("2020-01-01 10:00", "15min"), pd.Period("2020-05", "M")),
        *(
            pd.Interval(0, 1),
            pd.Interval(0.5, 1.5, "neither"),
            pd.Interval(np.int64(1), np.float32(2), "both"),
        ),
        pd.Interval(pd.Timestamp("2020"), pd.Timestamp("2021"), "left"),
        *offsets(),
        *(pd.CategoricalDtype(), pd.CategoricalDtype(["a", "b"], ordered=True), pd.CategoricalDtype([1])),
        *(pd.DatetimeTZDtype("us", zone) for zone in zones().values()),
        *(pd.PeriodDtype("M"), pd.IntervalDtype("datetime64[ns, UTC]", "both"), pd.IntervalDtype()),
        *(
            pd.SparseDtype(),
            pd.SparseDtype("int64", 5),
            pd.SparseDtype("datetime64[ns]"),
            pd.SparseDtype(object),
        ),
        *(pd.Int8Dtype(), pd.UInt64Dtype(), pd.BooleanDtype(), pd.Float32Dtype(), pd.StringDtype("python")),
    ]


def offsets() -> list[Any]:
    o = pd.offsets
    days = np.busdaycalendar(weekmask="Mon Tue", holidays=[dt.date(2020, 1, 1)])
    return [
        *(
            o.Day(3),
            o.Hour(-2),
            o.Nano(5),
            o.MonthEnd(),
            o.MonthBegin(2, normalize=True),
            o.BDay(offset=dt.timedelta(1)),
        ),
        *(
            o.Week(weekday=2),
            o.Week(),
            o.QuarterEnd(startingMonth=2),
            o.YearEnd(month=3),
            o.SemiMonthEnd(day_of_month=10),
        ),
        *(
            o.WeekOfMonth(week=1, weekday=3),
            o.LastWeekOfMonth(weekday=3),
            o.Easter(2),
            o.FY5253(weekday=1, startingMonth=2),
        ),
        o.FY5253Quarter(weekday=1, startingMonth=2, qtr_with_extra_week=2, variation="last"),
        *(
            o.BusinessHour(start="10:00", end="19:00"),
            o.BusinessHour(start=["8:00", "14:00"], end=["12:00", "18:00"]),
        ),
        *(
            o.CustomBusinessDay(holidays=["2020-01-01"], weekmask="Mon Tue"),
            o.CustomBusinessDay(calendar=days),
        ),
        *(o.CustomBusinessHour(weekmask="Mon"), o.CustomBusinessMonthEnd(2), o.CustomBusinessMonthBegin()),
        *(pd.DateOffset(months=2, hour=3), pd.DateOffset(days=1), pd.DateOffset(2), pd.DateOffset(weekday=1)),
    ]


def frames() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, index in indexes().items():
        count = len(index)
        found[f"rows {name}"] = pd.DataFrame({"a": np.arange(count), "b": 0.5}, index=index)
        found[f"columns {name}"] = pd.DataFrame(np.ones((2, count)), columns=index)
        found[f"series over {name}"] = pd.Series(np.arange(count, dtype="f4"), index=index, name=index.name)
    columns = {name: pd.Series(array) for name, array in arrays().items()}
    for name, column in columns.items():
        found[f"column {name}"] = pd.DataFrame({"x": column, "y": column, "z": 1})
        found[f"series {name}"] = column.rename(("a", 1))
    found["all"] = everything = pd.DataFrame({n: c.head(2) for n, c in columns.items() if ">" not in n})
    found["numbered"] = pd.DataFrame(np.arange(6.0).reshape(2, 3))
    found["fortran"] = pd.DataFrame(np.asfortranarray(np.arange(6.0).reshape(2, 3)))
    found["every second"] = pd.DataFrame(np.arange(12.0).reshape(4, 3)).iloc[::2, ::-1]
    found["twice"] = pd.DataFrame(np.ones((2, 3)), columns=["a", "a", "b"])
    found["interleaved"] = pd.DataFrame({"a": [1], "b": ["x"], "c": [2], "d": [1.5], "e": [3]})
    found["empty"] = pd.DataFrame()
    found["no columns"] = pd.DataFrame(index=range(5))
    found["no rows"] = everything.iloc[:0]
    found["names of nothing"] = pd.DataFrame(columns=["a", "b"])
    found["several"] = pd.concat([pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [2]})], axis=1)
    found["dtypes"] = pd.DataFrame({"a": [1], "b": [1.5], "c": pd.Categorical(["x"])}).dtypes
    found["nested"] = pd.Series([pd.DataFrame({"a": [1]}), pd.Series([1]), pd.Index([1]), pd.Timestamp(1)])
    noted = pd.DataFrame({"a": [1]})
    noted.attrs = {"unit": "m", "list": [1, (2,)]}
    noted.flags.allows_duplicate_labels = False
    found["attrs"] = noted
    found["attrs of a series"] = noted["a"]
    assigned = pd.DataFrame({"a": ["x"]})
    assigned["a"].str  # noqa: B018 - pandas keeps an accessor
    assigned.source = "somewhere"
    found["attribute"] = assigned
    return found


def everything() -> dict[str, Any]:
    parts: dict[str, dict[str, Any]] = {
        "index": indexes(),
        "array": {name: a for name, a in arrays().items() if not isinstance(a, np.ndarray)},
        "frame": frames(),
        "scalar": {repr(value): value for value in scalars()},
        "zone": zones(),
    }
    return {f"{kind}: {name}": value for kind, part in parts.items() for name, value in part.items()}


def arrow_backed() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, array in arrow_arrays().items():
        found[f"array {name}"] = array
        found[f"series {name}"] = pd.Series(array, name=name)
        found[f"frame {name}"] = pd.DataFrame({"x": array, "n": range(len(array))})
        found[f"dtype {name}"] = array.dtype
    found["text"] = pd.DataFrame({"a": ["x", None]})
    found["index"] = pd.DataFrame({"a": [1]}, index=pd.Index(["x"], dtype="string[pyarrow]"))
    found["chunks"] = pd.concat([found["text"], found["text"]], ignore_index=True)
    return found


def wrong(values: dict[str, Any], read: Any = again) -> dict[str, str]:
    """What does not come back the same, and why."""
    found = {}
    for name, value in values.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            why = differs(value, read(value))
        if why:
            found[name] = why
    return found


def test_exactly() -> None:
    assert wrong(everything()) == {}


def test_arrow_backed() -> None:
    assert wrong(arrow_backed()) == {}


def test_read_without_copying() -> None:
    def view(value: Any) -> Any:
        return decode(encode(value, key=KEY, pickle=False), copy=False)

    assert wrong(frames(), view) == {}


def test_read_again_before_it_is_stored() -> None:
    """What is compared with what was given, since an instance of a class holds it, or on request."""

    def in_an_instance(value: Any) -> Any:
        return again(Holder(value), pickle=True).held

    def verified(value: Any) -> Any:
        return again(value, verify=True)

    parts: list[dict[str, Any]] = [arrays(), indexes(), frames(), {repr(value): value for value in scalars()}]
    for part in parts:
        assert wrong(part, in_an_instance) == {}
        assert wrong(part, verified) == {}


def test_without_copying_when_it_is_written() -> None:
    """Pandas' own arrays are copied all the same: nobody can freeze them."""
    values = {name: frame for name, frame in frames().items() if "mixed" not in name}
    values |= {repr(value): value for value in scalars()}
    assert wrong(values, lambda value: again(value, copy=False)) == {}


def test_in_another_process_that_has_no_key(tmp_path: Path) -> None:
    """Everything that one process stored, read by another that makes the same values to compare with."""
    pytest.importorskip("pyarrow")
    values = everything() | arrow_backed()
    for number, value in enumerate(values.values()):
        tmp_path.joinpath(f"{number}.laila").write_bytes(bytes(encode(value, key=KEY, pickle=False)))
    environment = {name: text for name, text in os.environ.items() if name != "LAILA_SECRET_KEY"}
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path)],
        env=environment | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"{len(values)} values\n", done.stdout + done.stderr


def golden() -> list[Any]:
    """What the golden file holds: the same under every release of pandas."""
    days = pd.DatetimeIndex(np.arange(3).astype("M8[D]").astype("M8[ns]"), freq="D", name="day")
    texts = pd.Index(np.array(["a", "b"], object), dtype=object)
    multi = pd.MultiIndex([texts, pd.Index([1, 2])], [[0, 1, -1], [0, 0, 1]], names=["x", None])
    columns = pd.Index(np.array([0, "size", ("t", 1), None, 1.5], object), tupleize_cols=False)
    frame = pd.DataFrame(
        {
            0: [1.5, np.nan, -0.0],
            1: pd.Categorical.from_codes([0, 1, -1], texts, ordered=True),
            2: np.array(["x", None, 3], object),
            3: pd.array([1, None, 3], dtype="Int64"),
            4: days.tz_localize(ZoneInfo("Europe/Berlin")),
        },
        index=multi,
    )
    frame.columns = columns
    frame.attrs["unit"] = "kg"
    return [
        frame,
        pd.Series(pd.arrays.SparseArray([0, 0, 5]), index=days, name=("a", 1)),
        pd.RangeIndex(1, 9, 2),
        pd.period_range("2020-01", periods=2, freq="M"),
        pd.IntervalIndex.from_breaks([0, 1, 2]),
        pd.Timestamp(1, unit="ns", tz=dt.UTC),
        *(pd.Timedelta(1, "s"), pd.NaT, pd.NA, pd.offsets.MonthEnd(2), pd.Interval(0, 1, "both")),
    ]


def test_what_was_stored_before_is_read() -> None:
    path = Path(__file__).parent / "corpus" / "tables" / "pandas.laila"
    assert differs(golden(), decode(Blob.from_bytes(path.read_bytes(), key=KEY))) is None


def test_frames_as_arrow_streams_are_read() -> None:
    """The form before this one, which nothing writes any more."""
    pa = pytest.importorskip("pyarrow")
    from laila.codec import tags
    from laila.codec.plain import pack_object
    from laila.codec.tables import write_stream

    frame = pd.DataFrame({"a": [1, 2], "b": pd.Categorical(["x", None])})
    data = bytes(write_stream(pa.Table.from_pandas(frame)))
    found = decode(Blob(KEY, tags.ROWS_MARK + pack_object([tags.PANDAS, "frame", data]), ()))
    pd.testing.assert_frame_equal(frame, found)


def test_without_pyarrow(tmp_path: Path) -> None:
    """All that numpy holds is written and read; of what Arrow holds it is said what is missing."""
    pytest.importorskip("pyarrow")
    tmp_path.joinpath("text.laila").write_bytes(bytes(encode(pd.DataFrame({"a": ["x"]}), key=KEY)))
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        f"import runpy; test = runpy.run_path({__file__!r})\n"
        "print(test['wrong'](test['everything']()))\n"
        f"data = open({str(tmp_path / 'text.laila')!r}, 'rb').read()\n"
        "try: test['decode'](test['Blob'].from_bytes(data, key=test['KEY']))\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    first, *rest = done.stdout.splitlines()
    assert first == "{}", done.stdout + done.stderr
    assert "pip install 'laila-core[arrow]'" in rest[-1]


# -- what stays shared, and what does not


def test_an_index_that_is_shared_is_stored_once() -> None:
    index = pd.Index([f"row {n}" for n in range(1000)], dtype=object)
    frame = pd.DataFrame({"a": np.arange(1000.0)}, index=index)
    one = len(bytes(encode(frame, key=KEY)))
    pairs = [(frame, frame["a"]) for _ in range(20)] + [(frame * 2, frame["a"] * 2) for _ in range(20)]
    many = len(bytes(encode(pairs, key=KEY)))
    assert many < one + 61 * 8500
    found = again(pairs)
    assert wrong({"pairs": pairs}) == {}
    data = {id(part.index._data) for pair in found for part in pair}
    assert len(data) == 1
    found[0][0].index.name = "changed"
    assert found[1][1].index.name is None or pd.__version__ < "3"


@pytest.mark.parametrize(
    "index",
    [
        pd.Index(["a", "b"], name="x"),
        pd.date_range("2020", periods=2, freq="D"),
        pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["x", "y"]),
        pd.RangeIndex(2),
    ],
    ids=["text", "days", "levels", "range"],
)
def test_one_index_stays_one_and_its_views_stay_views(index: Any) -> None:
    frame, series, view = (
        pd.DataFrame({"a": [1, 2]}, index=index),
        pd.Series([1, 2], index=index),
        index.view(),
    )
    given = [frame, series, index, pd.Series([3, 4], index=view), view]
    held = [part if isinstance(part, pd.Index) else part.index for part in given]
    found = [part if isinstance(part, pd.Index) else part.index for part in again(given)]
    assert [[a is b for a in found] for b in found] == [[a is b for a in held] for b in held]
    assert found[-1].equals(index)
    assert found[-1].names == index.names
    assert getattr(found[-1], "freq", None) == getattr(view, "freq", None)


def test_columns_share_no_memory_with_anything() -> None:
    values = np.arange(3.0)
    series = pd.Series(values, copy=False)
    frame = pd.DataFrame({"a": values}, copy=False)
    found = again([values, series, frame, frame["a"], series.array])
    found[0][0] = 99.0
    found[1].iloc[1] = 98.0
    found[2].iloc[2, 0] = 97.0
    assert found[0].tolist() == [99.0, 1.0, 2.0]
    assert found[1].tolist() == [0.0, 98.0, 2.0]
    assert found[2]["a"].tolist() == [0.0, 1.0, 97.0]
    assert found[3].tolist() == [0.0, 1.0, 2.0]


def test_one_frame_twice() -> None:
    frame = pd.DataFrame({"a": [1]})
    first, second = again([frame, frame])
    assert first is second


def test_slices_store_what_is_seen() -> None:
    frame = pd.DataFrame({"a": np.arange(100_000.0), "b": ["secret"] * 100_000})
    for part in (
        frame.iloc[:1],
        frame["b"].iloc[:1],
        frame.index[:1],
        frame["a"].astype("category").iloc[:0],
    ):
        blob = bytes(encode(part, key=KEY, pickle=False))
        assert len(blob) < 3000 or part.dtype == "category"
    hidden = pd.Series(["seen", *["secret of somebody else"] * 1000]).iloc[:1]
    assert b"secret" not in bytes(encode(hidden, key=KEY))


# -- classes


class Table(pd.DataFrame):  # type: ignore[misc]
    """As geopandas and others derive theirs."""

    _metadata = ["unit"]  # noqa: RUF012 - as pandas documents it

    @property
    def _constructor(self) -> type[Table]:
        return Table


class Column(pd.Series):  # type: ignore[misc]
    @property
    def _constructor(self) -> type[Column]:
        return Column


class Odd(pd.DataFrame):  # type: ignore[misc]
    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)


def test_classes_that_derive_from_frames() -> None:
    table, column = Table({"a": [1, 2]}), Column([1.5], name="x")
    table.unit = "m"
    table.attrs["k"] = 1
    with pytest.raises(PayloadError, match="register"):
        encode(table, key=KEY, pickle=False)
    blob = encode([table, column], key=KEY)
    assert blob.signature is not None
    assert differs([table, column], decode(blob)) is None
    assert decode(blob)[0].unit == "m"  # type: ignore[index]
    holder = types.SimpleNamespace(frame=pd.DataFrame({"a": [1]}), table=table)
    assert differs(table, again(holder, pickle=True).table) is None, "also where what is stored is read again"
    register_type(Table, name="tests:Table")
    register_type(Column, name="tests:Column")
    found = again([table, column])
    assert differs([table, column], found) is None
    assert found[0].unit == "m"
    assert type(found[0][["a"]]) is Table
    with pytest.raises(TypeError, match="cannot be registered"):
        register_type(Odd)
    assert differs(pd.DataFrame(Odd({"a": [1]})), pd.DataFrame(again(Odd({"a": [1]}), pickle=True))) is None


def test_attributes_that_cannot_come_back_are_refused() -> None:
    index, stamp, frame = pd.Index([1, 2]), pd.Timestamp("2020"), pd.DataFrame({"a": [1]})
    index.note = stamp.note = "mine"
    object.__setattr__(frame, "mean", 1)
    for value, where in (([index], "payload[0]"), ({"a": stamp}, "payload['a']"), ([frame], "payload[0]")):
        with pytest.raises(PayloadError) as caught:
            encode(value, key=KEY)
        assert caught.value.path == where


def test_places_inside_frames() -> None:
    lock = threading.Lock()
    frame = pd.DataFrame({"n": [1, 2], "a": [1, lock], "b": ["x", "y"]})
    for value, where in (
        (frame, "payload.iloc[1, 1]"),
        (frame["a"], "payload.iloc[1]"),
        ([frame], "payload[0].iloc[1, 1]"),
        (pd.Index([1, lock], dtype=object), "payload[1]"),
    ):
        with pytest.raises(PayloadError) as caught:
            encode(value, key=KEY)
        assert caught.value.path == where
    frame = pd.DataFrame({"a": [1]})
    frame.attrs["x"] = [lock]
    with pytest.raises(PayloadError) as caught:
        encode(frame, key=KEY)
    assert caught.value.path == "payload.attrs['x'][0]"


def test_a_frame_in_itself() -> None:
    frame = pd.DataFrame({"a": [None]}, dtype=object)
    frame.iat[0, 0] = frame
    found = again(frame, pickle=True)
    assert found.iat[0, 0] is found


def test_columns_without_rows_are_bounded() -> None:
    many = [pd.DataFrame(np.empty((0, 600_000))) for _ in range(2)]
    with pytest.raises(PayloadError, match="columns without a row"):
        encode(many, key=KEY)
    again(many[0])


# -- what it costs


def _wide(count: int) -> Any:
    return pd.DataFrame(np.ones((3, count)), columns=[f"c{n}" for n in range(count)])


def _kinds(count: int) -> Any:
    return pd.DataFrame(
        {n: pd.Categorical(["a", None]) if n % 2 else pd.array([n, None]) for n in range(count)}
    )


def _pairs(count: int) -> Any:
    index = pd.Index([f"row {n}" for n in range(50)], dtype=object)
    made = [pd.DataFrame({"v": np.arange(50.0)}, index=index) for _ in range(count)]
    return [(frame, frame["v"]) for frame in made]


GROWING: dict[str, Any] = {
    "a wide frame": (_wide, 500),
    "columns of kinds": (_kinds, 50),
    "pairs that share an index": (_pairs, 50),
    "timestamps": (lambda count: [pd.Timestamp(n, unit="s", tz=dt.UTC) for n in range(count)], 500),
    "categories": (lambda count: pd.Series(pd.Categorical([f"c{n}" for n in range(count)])), 500),
    "small frames": (lambda count: [pd.DataFrame({"a": [n], "b": ["x"]}) for n in range(count)], 50),
    "offsets": (lambda count: [pd.offsets.CustomBusinessDay(n) for n in range(1, count + 1)], 50),
}


@pytest.mark.parametrize("name", GROWING)
def test_operations_grow_with_the_payload(name: str) -> None:
    """Calls, in Python and in C, for four times as much: not more than five times as many."""
    make, count = GROWING[name]

    def calls(payload: Any) -> int:
        profile = cProfile.Profile()
        profile.runcall(again, payload)
        return sum(entry.callcount for entry in profile.getstats())

    calls(make(2))
    small, large = calls(make(count)), calls(make(4 * count))
    assert large < 5 * small + 1000


if __name__ == "__main__":
    logging.disable()
    folder = Path(sys.argv[1])
    values = everything() | arrow_backed()
    for number, (name, value) in enumerate(values.items()):
        why = differs(value, decode(Blob.from_bytes((folder / f"{number}.laila").read_bytes(), key=KEY)))
        if why:
            print(name, why)
    print(len(values), "values")
