"""numpy's arrays: views and what they share, subclasses and their attributes, dtypes, gaps between fields."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided, sliding_window_view

from laila.blob.blob import Blob
from laila.codec import decode, encode, register_type
from laila.errors import CorruptEntryError, InvalidValueError, PayloadError
from laila.testing.payloads import assert_same

ma: Any = np.ma  # its types are strict where its functions are not
KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"


def back(payload: Any, *, pickle: bool = False, copy: bool = True) -> Any:
    return decode(Blob.from_bytes(bytes(encode(payload, key=KEY, pickle=pickle))), copy=copy)


def sizes(payload: Any) -> list[int]:
    return [buffer.nbytes for buffer in encode(payload, key=KEY, pickle=False).buffers]


# -- views


def test_an_array_and_its_views_share_memory() -> None:
    whole = np.arange(12.0)
    views = {"head": whole[:2], "whole": whole, "back": whole[::-1], "square": whole.reshape(3, 4).T}
    found = back(views)
    assert found["whole"].flags.owndata
    found["whole"][0] = 7
    assert (found["head"][0], found["back"][-1], found["square"][0, 0]) == (7, 7, 7)
    assert sizes(views) == [96]
    assert [buffer.shape for buffer in encode(views, key=KEY).buffers] == [(12,)]


def test_views_alone_store_what_is_seen() -> None:
    batch = np.arange(100_000.0).reshape(1000, 100)
    assert sizes([batch[3]]) == [800]
    assert sizes([batch[3], batch[7]]) == [800, 800]
    assert sizes([batch[:, 3], batch[:, 7]]) == [8000, 8000]
    assert sizes([batch[::10], batch[::20]]) == [80_000]
    picture = np.zeros((20, 30, 3), np.uint8)
    assert sizes([picture[..., 0], picture[..., 1]]) == [600, 600]
    assert sizes([picture[..., 0], picture[..., 0].T]) == [600]


def test_bytes_that_no_view_shows_are_not_stored() -> None:
    secret = np.frombuffer(b"public secret public secret ", np.uint8).reshape(2, 14).copy()
    views = [secret[:, :7], secret[0, 3:5], secret[0:1, ::13]]
    for buffer in encode(views, key=KEY).buffers:
        assert b"secre" not in bytes(buffer.data)
    assert_same(views, back(views))


def _all_views(base: np.ndarray[Any, Any]) -> st.SearchStrategy[Any]:
    def cut(data: tuple[list[tuple[int, int, int]], int]) -> Any:
        cuts, kind = data
        index = tuple(slice(first, first + count, step) for first, count, step in cuts[: base.ndim])
        found = base[index]
        if kind == 1:
            return found.T
        if kind == 2:
            return found[::-1]
        if kind == 3 and found.ndim:
            return found[:, None]
        if kind == 4 and found.flags.c_contiguous and found.ndim and found.size:
            return found.view(np.uint8)
        if kind == 5 and found.ndim:
            return np.broadcast_to(found, (2, *found.shape))
        if kind == 6 and found.ndim and found.shape[-1] > 2 and found.dtype.names is None:
            return sliding_window_view(found, 2, axis=-1)
        return found

    cuts = st.tuples(st.integers(0, 4), st.integers(1, 8), st.integers(1, 4))
    return st.tuples(st.lists(cuts, min_size=base.ndim, max_size=base.ndim), st.integers(0, 6)).map(cut)


_bases = st.sampled_from(
    [
        np.arange(24, dtype="<i4"),
        np.arange(60, dtype="<f8").reshape(6, 10),
        np.asfortranarray(np.arange(60, dtype=">i2").reshape(6, 10)),
        np.arange(6 * 5 * 4, dtype="c8").reshape(6, 5, 4),
        np.array([(i, i / 3, b"x") for i in range(12)], np.dtype("i1,f8,S3", align=True)),
        np.arange(16, dtype=np.longdouble),
    ]
)


@settings(max_examples=150)
@given(_bases.flatmap(lambda base: st.tuples(st.just(base), st.lists(_all_views(base), max_size=6))))
def test_any_views(data: tuple[Any, list[Any]]) -> None:
    """Values, strides' signs and who shares memory with whom come back, and nothing else is shared."""
    base, views = data
    for copy in (True, False):
        found = back(views, copy=copy)
        for view, other in zip(views, found, strict=True):
            assert view.dtype == other.dtype
            assert view.shape == other.shape
            assert view.tolist() == other.tolist()
        for one in range(len(views)):
            for two in range(one):
                if views[one].size and views[two].size:
                    shared = np.shares_memory(views[one], views[two])
                    assert np.shares_memory(found[one], found[two]) == shared
    assert sum(sizes(views)) <= sum(view.nbytes for view in views) + base.nbytes


def test_many_views_take_linear_time() -> None:
    line = np.arange(20_000.0)
    views = [line[i : i + 10] for i in range(0, 19_900, 5)]
    found = back(views)
    found[0][5] = -1
    assert found[1][0] == -1
    assert sizes(views) == [8 * (19_895 + 10)]


def test_what_lies_on_top_of_itself_stays_read_only() -> None:
    line = np.arange(4.0)
    found = back([line, np.broadcast_to(line, (3, 4))])
    assert found[0].flags.writeable
    assert not found[1].flags.writeable
    assert found[1].strides == (0, 8)
    assert back(np.broadcast_to(line, (3, 4))).flags.writeable  # by itself it is an array like any other


def test_copy_false_keeps_views_of_frozen_memory() -> None:
    whole = np.arange(100_000.0)
    with pytest.raises(InvalidValueError, match="writable"):
        encode([whole, whole[:2]], key=KEY, copy=False)
    whole.flags.writeable = False
    blob = encode([whole, whole[:2]], key=KEY, copy=False)
    assert np.shares_memory(np.frombuffer(blob.buffers[0].data, np.uint8), whole)
    assert_same([whole, whole[:2]], decode(blob))


def test_masked_arrays_and_subclasses_share_memory() -> None:
    data = np.arange(4.0)
    masked = ma.array(data, mask=[0, 1, 0, 0], copy=False)
    found = back([data, masked, masked[:2]])
    found[0][0] = 9
    assert found[1][0] == found[2][0] == 9
    found[1].mask[0] = True
    assert found[2].mask[0]


# -- views out of a hostile blob


def _rows(*rows: list[Any], size: int = 16) -> Any:
    from laila.blob.buffer import Buffer

    tree = b"\xc1" + b"".join(map(msgpack.packb, rows))
    buffers = (Buffer(memoryview(bytes(size)), "<f8", (size // 8,)),)
    blob = Blob(KEY, tree, buffers, None, (0.0, "x", 1, "rows", None))
    return decode(blob)


@pytest.mark.parametrize(
    "fields",
    [
        [0, "<f8", 0, False, 3, 8],  # behind the end
        [0, "<f8", 8, False, 2, 8],
        [0, "<f8", 0, False, 2, -8],  # before the beginning
        [0, "<f8", -8, False, 1, 8],
        [0, "<f8", 0, False, 0, 8],
        [0, "<f8", 0, False, 2],
        [0, "<f8", 0, 1, 1, 8],
        [0, "|O", 0, False, 1, 8],
        [0, "<f8", 0, False, 2, 1 << 63],
        [0, "<f8", 0, False, 1 << 61, 1 << 61],
        [1, "<f8", 0, False, 1, 8],
        [None, "<f8", 0, False, 1, 8],
        [0, "<f8", 1 << 62, False, 1, 8],
        [0, "<V0", 0, False, 1, 8],
    ],
)
def test_views_that_cannot_be(fields: list[Any]) -> None:
    with pytest.raises(CorruptEntryError):
        _rows([57, *fields])


def test_a_view_of_many_items_takes_no_memory() -> None:
    found = _rows([57, 0, "<f8", 0, False, 1 << 20, 1 << 20, 0, 0])
    assert found.shape == (1 << 20, 1 << 20)
    assert found.strides == (0, 0)


def test_rows_of_both_kinds_over_one_buffer_copy_it_once() -> None:
    view = [57, 0, "<f8", 0, False, 2, 8]
    refs = [msgpack.ExtType(0, bytes([i])) for i in range(3)]
    found = _rows(view, [48, 0], view, [1, *refs])
    assert found[1].flags.owndata
    assert np.shares_memory(found[0], found[1])
    assert np.shares_memory(found[2], found[1])
    with pytest.raises(CorruptEntryError):
        _rows([48, 0], [48, 0])


# -- bytes that are no value


def test_gaps_are_zeros_when_written_and_read() -> None:
    dtype = np.dtype([("a", "i1"), ("b", "<f8"), ("c", "i2"), ("d", np.dtype("i1,i4"), (2,))], align=True)
    raw = np.full(4 * dtype.itemsize, 0xAA, np.uint8)
    array = raw.view(dtype)
    array["b"] = 1.5
    gaps = np.ones(dtype.itemsize, bool)
    gaps[[0, *range(8, 18)]] = False
    start = dtype.fields["d"][1]  # type: ignore[index]
    gaps[[i + start + 5 * n for n in (0, 1) for i in range(5)]] = False
    for copy in (True, False):
        for payload in (array, array[::2], array.reshape(2, 2).T):
            found = back(payload, copy=copy)
            octets = np.ascontiguousarray(found.T if found.flags.f_contiguous else found)
            octets = octets.view(np.uint8).reshape(-1, dtype.itemsize)
            assert not octets[:, gaps].any()
            assert_same(payload, found)
    for buffer in encode([array, array[1:]], key=KEY).buffers:
        assert not np.frombuffer(buffer.data, np.uint8).reshape(-1, dtype.itemsize)[:, gaps].any()


@pytest.mark.skipif(np.dtype("g").itemsize != 16, reason="a longdouble without spare bytes")
def test_spare_bytes_of_a_longdouble_are_zeros() -> None:
    raw = np.full(32, 0xAA, np.uint8)
    for payload in (raw.view("g"), raw.view("G"), raw.view("g")[0], raw.view([("x", "g")])):
        blob = encode(payload, key=KEY)
        assert b"\xaa" * 11 not in bytes(blob)
        assert np.array(decode(blob)).tolist() == np.array(payload).tolist()


# -- masked arrays


def _masked() -> list[Any]:
    kinds = ("<f4", ">f8", ">i4", "i1", "c8", "O", "U3")
    printed = [ma.array(np.zeros(3, kind), mask=[1, 0, 0]) for kind in kinds]
    for array in printed:
        assert repr(array)
    records: Any = ma.array([(1, 2.5), (3, 4.5)], dtype="i4,f8", mask=[(1, 0), (0, 0)])
    assert repr(records)
    noted: Any = ma.array([1.0], mask=[False])
    noted.note = {"checked": True}
    chosen = ma.array(["a", "b"], dtype=object, mask=[0, 1], fill_value="?")
    return [
        *printed,
        records,
        records[0],
        records["f1"],
        noted,
        chosen,
        ma.array([1, 2], mask=[0, 1], hard_mask=True),
        ma.array([1, 2]),
        ma.array([1, 2], mask=False),
        ma.array([1, 2], fill_value=7)[1:],
        ma.array(np.array([[1, 2]]).view(np.matrix), mask=[[0, 1]]),
        ma.array(np.datetime64("2020-01-01"), mask=True),
        ma.masked,
        ma.array([[1, 2], [3, 4]], mask=[[0, 1], [0, 0]]).T,
    ]


@pytest.mark.parametrize("number", range(len(_masked())))
def test_masked_arrays(number: int) -> None:
    array = _masked()[number]
    found = back(array)
    assert_same(array, found)
    assert vars(found).keys() == vars(array).keys()
    assert repr(found) == repr(array)
    assert (found._mask is ma.nomask) == (array._mask is ma.nomask)


def test_what_masks_an_array_twice_is_one_mask() -> None:
    first = ma.array([1, 2, 3], mask=[0, 1, 0])
    second = ma.array([4, 5, 6], mask=first.mask, copy=False)
    found = back([first, second])
    assert np.shares_memory(found[0].mask, found[1].mask) == np.shares_memory(first.mask, second.mask)


@pytest.mark.parametrize(
    "row",
    [
        [51, 1, None, None, False, None],
        [51, msgpack.ExtType(0, b"\0"), None, msgpack.ExtType(0, b"\0"), False, None],  # no single value
        [51, msgpack.ExtType(0, b"\0"), msgpack.ExtType(0, b"\0"), None, False, None],  # no mask
        [51, msgpack.ExtType(0, b"\0"), None, None, 8],
        [51, msgpack.ExtType(0, b"\0"), None, None, False, 5],
        [51, msgpack.ExtType(0, b"\0"), None, None, False, None, None],
    ],
)
def test_masked_arrays_that_cannot_be(row: list[Any]) -> None:
    with pytest.raises(CorruptEntryError):
        _rows([48, 0], row)


# -- subclasses


def _module() -> Any:
    module = ModuleType("laila_test_units")
    source = """
import numpy as np
class Measured(np.ndarray):
    def __array_finalize__(self, other):
        self.unit = getattr(other, "unit", None)
class Slotted(np.ndarray):
    __slots__ = ("unit",)
class MaskedToo(np.ma.MaskedArray):
    pass
"""
    exec(source, vars(module))  # a module that can be imported by name
    sys.modules[module.__name__] = module
    return module


units = _module()


def test_attributes_of_subclasses_come_back() -> None:
    length = np.array([1.0, 2.0]).view(units.Measured)
    length.unit = ["metres"]
    slotted = np.array([1.0]).view(units.Slotted)
    slotted.unit = "s"
    masked = ma.array([1.0, 2.0], mask=[0, 1]).view(units.MaskedToo)
    masked.note = "n"
    record: Any = np.array([(1,)], [("x", "i8")]).view(np.recarray)
    matrix: Any = np.array([[1, 2]]).view(np.matrix)
    record.note = matrix.note = "checked"
    found = back([length, slotted, masked, record, matrix, length.unit], pickle=True)
    assert found[0].unit == ["metres"]
    assert found[0].unit is found[5]
    assert found[1].unit == "s"
    assert found[2].note == "n"
    assert found[2].mask.tolist() == [False, True]
    kinds = [units.Measured, units.Slotted, units.MaskedToo, np.recarray, np.matrix]
    assert [type(x) for x in found[:5]] == kinds
    assert found[3].note == found[4].note == "checked"
    assert_same(record, back(record))  # numpy's own classes need no key
    with pytest.raises(PayloadError, match="register"):
        back(length)
    register_type(units.Measured)
    assert back(length).unit == ["metres"]


def test_a_subclass_that_cannot_be_imported() -> None:
    class Local(np.ndarray):
        unit: Any

    array = np.array([1.0]).view(Local)
    array.unit = "m"
    assert back(array, pickle=True).unit == "m"


def test_data_hides_no_method_of_an_array() -> None:
    from laila.errors import UntrustedPayloadError

    rows: list[list[Any]] = [[48, 0], [3, "view", 1]]
    ref = [msgpack.ExtType(0, bytes([i])) for i in range(2)]
    with pytest.raises(UntrustedPayloadError):
        _rows(*rows, [51, ref[0], None, None, False, ref[1]])
    with pytest.raises(UntrustedPayloadError):
        _rows([48, 0], [3, "_mask", 1], [51, ref[0], None, None, False, ref[1]])


# -- dtypes


def _texts(**options: Any) -> Any:
    return np.dtypes.StringDType(**options)


def _odd_arrays() -> list[Any]:
    structure = np.dtype([("i", "i1"), ("o", "O"), ("n", [("t", "U2"), ("p", "O", (2,))])], align=True)
    objects = np.empty((2, 2), structure)
    objects["o"] = [["a", [1]], [None, 2.5]]
    objects["n"]["p"][0, 0] = [{"x": 1}, ()]
    objects["n"]["t"] = "ab"
    objects["i"] = 3
    kinds: list[Any] = [str, bytes, object, "V", [], "M8", "m8[7D]", _texts()]
    return [
        objects,
        objects.T,
        objects[0, 0],
        objects[:0],
        objects.view(np.recarray),
        np.array(["a", "b" * 40], _texts()),
        np.array([["a", None]], _texts(na_object=None, coerce=False)),
        np.array(["a", "b"], np.dtype("O", metadata={"vlen": str})),
        np.array([1, 2], np.dtype("i4", metadata={"enum": {"A": 1, "B": 2}})),
        np.array([np.arange(2)], np.dtype("O", metadata={"vlen": np.dtype("i8")})),
        np.array([1], [(("a title", "name"), "i4")]),
        np.array(["2020", "NaT"], "M8"),
        np.array([1, 2], "m8[25s]"),
        np.array([1, 2], "m8"),
        *map(np.dtype, kinds),
        *(np.dtype([("a", "S0"), ("b", "f8", (0,))]), structure),
        np.array([b"x"]).view(np.char.chararray),
        np.void(b"\0\x01"),
        *(np.timedelta64(3), np.timedelta64("NaT"), np.array("NaT", "M8[25s]")[()], np.longdouble("0.1")),
    ]


@pytest.mark.parametrize("number", range(len(_odd_arrays())))
def test_odd_dtypes(number: int) -> None:
    value = _odd_arrays()[number]
    found = back(value)
    assert_same(value, found)
    if isinstance(value, np.ndarray):
        assert found.dtype.metadata == value.dtype.metadata


def test_small_numbers() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for name in ("bfloat16", "float8_e5m2", "float8_e4m3fn", "int4", "uint2", "float8_e8m0fnu"):
        array = np.array([0, 1, 0], getattr(ml_dtypes, name))
        found = back([array, array[1], array.dtype, array[::2]])
        assert found[2] == array.dtype
        assert found[0].dtype == array.dtype
        assert found[0].tobytes() == array.tobytes()
        assert type(found[1]) is type(array[1])
        assert found[3].tobytes() == array[::2].tobytes()


def test_all_small_numbers_of_the_library() -> None:
    """Some have the letter of a long double."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for name in dir(ml_dtypes):
        kind = getattr(ml_dtypes, name)
        if isinstance(kind, type) and issubclass(kind, np.generic):
            array = (
                np.arange(256, dtype="u1").view(kind) if np.dtype(kind).itemsize == 1 else np.ones(3, kind)
            )
            found = back([array, array[-1], np.zeros(2, [("a", kind)])])
            assert found[0].dtype == array.dtype
            assert found[0].tobytes() == array.tobytes()
            assert found[1].tobytes() == array[-1].tobytes()
            assert found[2].dtype == np.dtype([("a", kind)])


def test_what_fails_when_arrays_are_taken_is_told_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    from laila.codec import arrays

    def fail(*given: object) -> None:
        raise ValueError("no such bytes")

    monkeypatch.setattr(arrays, "copy_values", fail)
    array = np.zeros(2, np.dtype([("a", "i1"), ("b", "i8")], align=True))
    with pytest.raises(PayloadError, match="no such bytes") as caught:
        encode({"a": [1, array]}, key=KEY)
    assert caught.value.path == "payload['a'][1]"


def test_overlapping_windows_of_raw_memory() -> None:
    line = np.arange(10, dtype="i4")
    odd = as_strided(line, (3, 3), (12, 4))
    odder = as_strided(line[1:], (2, 2), (12, 4))
    assert_same([odd, odder], back([odd, odder]))


class Holder:
    """A class that pickle takes by a method of its own."""

    def __init__(self, held: Any) -> None:
        self.held = held

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.held,)


def test_arrays_inside_pickles_keep_attributes_and_share_memory() -> None:
    length = np.array([1.0, 2.0]).view(units.Measured)
    length.unit = ["metres"]
    masked: Any = ma.array([1.0, 2.0], mask=[True, False])
    masked.note = length.unit
    record: Any = np.array([(1,)], [("x", "i8")]).view(np.recarray)
    record.note = "n"
    for array, name in ((length, "unit"), (masked, "note"), (record, "note")):
        found = back(Holder([array, array]), pickle=True).held
        assert type(found[0]) is type(array)
        assert found[0] is found[1]
        assert getattr(found[0], name) == getattr(array, name)
        assert repr(found[0]) == repr(array)
    whole = np.arange(4.0)
    one, two, three = back([Holder(whole[:3]), whole, Holder(whole[2:])], pickle=True)
    two[2] = 9
    assert one.held[2] == three.held[0] == 9
