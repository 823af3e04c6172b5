"""Rows of pandas' own dtypes and arrays: what columns and indexes are made of.

An array is its dtype and the parts that numpy or Arrow hold. What an array of numpy's holds inside pandas is
written by :class:`Held`, so that nothing outside ever shares memory with a column. Codes and positions are
checked when they are read: pandas' compiled code trusts them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from pandas._libs.sparse import BlockIndex, IntIndex

from laila.blob.buffer import byte_view
from laila.codec import tags
from laila.codec.arrays import memory_of, plain_array
from laila.codec.decoder import Decoder, expect, one_of
from laila.codec.dtypes import describe, dtype_from
from laila.codec.moments import UNITS
from laila.codec.registry import DECODERS, ENCODERS, encoder_for
from laila.codec.signed import encode_pickled
from laila.errors import MissingPluginError, PayloadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    from laila.codec.encoder import Encoder

    Row = list[object]
    Array = np.ndarray[Any, np.dtype[Any]]

__all__ = ["Held", "held_once", "is_column_dtype", "take_once", "whose"]

_KINDS = frozenset("biufcOmM")


class Held:
    """An array inside a pandas object, which has a row of its own whatever else refers to the array.

    ``labels`` gives the place of an item by its position, for errors.
    """

    __slots__ = ("labels", "value")

    def __init__(self, value: object, labels: Any = None) -> None:
        self.value = value
        self.labels = labels


def held_once(array: Array, encoder: Encoder) -> Held:
    """The one holder of an array that is never written to, such as an index's, for all views of it."""
    interface = array.__array_interface__
    key = ("pandas", interface["data"][0], array.dtype, array.shape, array.strides)
    found = encoder.notes.get(key)
    if found is None:
        found = encoder.notes[key] = Held(array, "[{}]".format)
    return found


def take_once(array: object, decoder: Decoder) -> None:
    """Note that ``array`` belongs to a column now, whose memory nothing else shares.

    Raises ``ValueError`` where another column has it, or where its items lie on top of each other.
    """
    taken: Any = decoder.shared.setdefault(("pandas", "taken"), set())
    memory = whose(array, decoder)
    if id(memory) in taken:
        raise ValueError("one array for two columns")
    taken.add(id(memory))


def whose(array: object, decoder: Decoder) -> object:
    """What stands for the memory of ``array``: two that have the same may share it.

    Raises ``ValueError`` where items of an array lie on top of each other. What bears a signature is as
    pandas had it, and in a blob that is read before it is stored, given arrays take the place of copies.
    """
    if decoder.trusted or type(array) is not np.ndarray:
        return array
    return memory_of(plain_array(array))


def is_column_dtype(dtype: np.dtype[Any]) -> bool:
    """Whether pandas keeps columns of this dtype of numpy's."""
    if dtype.kind in "mM":
        unit, count = np.datetime_data(dtype)
        return unit in UNITS and count == 1
    return dtype.kind in _KINDS


def _encode_held(held: Held, encoder: Encoder) -> Row:
    value: Any = held.value
    if type(value) is not np.ndarray:
        return encoder_for(value)(value, encoder)
    order: Literal["C", "F"] = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
    if value.dtype.kind == "O":
        return [tags.OBJECT_ARRAY, value.shape, order, *value.ravel(order).tolist()]
    description = describe(value.dtype)
    data = byte_view(value.copy(order))
    if type(description) is str:
        return [tags.NDARRAY, encoder.add_buffer(data, description, value.shape, order)]
    return [tags.STRUCTURED, encoder.add_buffer(data), description, value.shape, order]


ENCODERS[Held] = _encode_held


# -- dtypes


_MASKED: dict[str, Any] = {
    **{kind.__name__: kind for kind in (pd.BooleanDtype, pd.Float32Dtype, pd.Float64Dtype)},
    **{
        f"{sign}Int{bits}Dtype": getattr(pd, f"{sign}Int{bits}Dtype")
        for sign in ("", "U")
        for bits in (8, 16, 32, 64)
    },
}
_NUMPY_DTYPE: Any = type(pd.arrays.NumpyExtensionArray(np.zeros(1)).dtype)
_FILLS = (
    *(type(None), bool, int, float, complex, str, bytes, type(pd.NA), type(pd.NaT)),
    *(pd.Timestamp, pd.Timedelta),
)
_CLOSED = ("left", "right", "both", "neither")


def _encode_categorical_dtype(dtype: Any, encoder: Encoder) -> Row:
    return [tags.PANDAS_DTYPE, "category", dtype._categories, dtype._ordered]


def _encode_zoned_dtype(dtype: Any, encoder: Encoder) -> Row:
    return [tags.PANDAS_DTYPE, "datetime", dtype.unit, dtype.tz]


def _encode_interval_dtype(dtype: Any, encoder: Encoder) -> Row:
    return [tags.PANDAS_DTYPE, "interval", dtype.subtype, dtype.closed]


def _encode_sparse_dtype(dtype: Any, encoder: Encoder) -> Row:
    if numpy_text(dtype.subtype) is None or not _is_fill(dtype.fill_value):
        return encode_pickled(dtype, encoder)
    return [tags.PANDAS_DTYPE, "sparse", numpy_text(dtype.subtype), dtype.fill_value]


def _encode_string_dtype(dtype: Any, encoder: Encoder) -> Row:
    missing = "NA" if dtype.na_value is pd.NA else "nan"
    # pandas 2 has a name of its own for what is "pyarrow" with NaN by now.
    return [tags.PANDAS_DTYPE, "string", dtype.storage.removesuffix("_numpy"), missing]


def _encode_numpy_dtype(dtype: Any, encoder: Encoder) -> Row:
    text = numpy_text(dtype.numpy_dtype)
    return encode_pickled(dtype, encoder) if text is None else [tags.PANDAS_DTYPE, "numpy", text]


def numpy_text(dtype: np.dtype[Any]) -> object:
    """A dtype of numpy's as text, that of objects included, which no other row has."""
    return "O" if dtype.kind == "O" and not dtype.metadata else describe(dtype)


def _numpy_dtype(text: object) -> np.dtype[Any]:
    return np.dtype(object) if expect(text, str) == "O" else dtype_from(text)


def _decode_dtype(row: Row, decoder: Decoder) -> object:
    kind = expect(row[1], str)
    if kind == "category":
        return _category(decoder, *row[2:])
    try:
        found: object = _DTYPES[kind](*row[2:])
    except ImportError as error:
        raise MissingPluginError(
            f"the payload of {decoder.blob.key} has columns that Arrow holds, and pyarrow cannot be imported "
            f"here ({error!s:.100}): pip install 'laila-core[arrow]'",
            plugin="pyarrow",
            distribution="laila-core[arrow]",
        ) from error
    return found


def _category(decoder: Decoder, categories: object, ordered: object) -> object:
    if ordered is not None:
        expect(ordered, bool)
    if categories is None:
        return pd.CategoricalDtype(None, ordered)
    if not isinstance(categories, pd.Index) or isinstance(categories, pd.MultiIndex):
        raise TypeError("categories that are no index")
    if not isinstance(categories, pd.RangeIndex):  # which has no values, and none twice
        data: Any = categories._data  # what every other index has
        decoder.again("categories", whose(data, decoder), 10 * len(categories))
        if categories.hasnans or not _is_unique(categories, decoder):
            raise ValueError("categories twice, or a missing one")
    # Past the constructor, which makes False of an order that is not said.
    return pd.CategoricalDtype._from_fastpath(categories, ordered)


def _is_unique(index: Any, decoder: Decoder) -> bool:
    """Whether no two items of an index are equal, in time that no choice of items makes long.

    Pandas' own tables are not made against numbers that are chosen to have one hash.
    """
    if index.dtype.kind in "iufcbmM" and isinstance(index.dtype, np.dtype):
        return bool(len(np.unique(index._values.view())) == len(index))
    if hasattr(index, "asi8"):
        return bool(len(np.unique(index.asi8)) == len(index))
    if index.dtype.kind == "O":
        items = index._values.tolist() if hasattr(index._values, "tolist") else list(index._values)
        decoder.check_keys(items)
        if len(set(items)) < len(items):
            return False
        if set(map(type, items)) == {str}:
            return True  # the hash of texts cannot be chosen
    return bool(index.is_unique)


def _zoned(unit: object, zone: object) -> object:
    from datetime import tzinfo

    if not isinstance(zone, tzinfo):
        raise TypeError("not a time zone")
    if not one_of(unit, *UNITS):
        raise ValueError("an unknown unit")
    found = pd.DatetimeTZDtype(unit, zone)
    if found.tz is not zone:
        found._tz = zone  # pandas takes another object of the same zone, for zones of pytz
    return found


def _period(freq: object) -> object:
    if not isinstance(freq, pd.offsets.BaseOffset):
        raise TypeError("periods without a frequency")
    return pd.PeriodDtype(freq)


def _interval(subtype: object, closed: object) -> object:
    if not (closed is None or one_of(closed, *_CLOSED)) or not (
        subtype is None or isinstance(subtype, np.dtype | pd.api.extensions.ExtensionDtype)
    ):
        raise ValueError("intervals of an unknown kind")
    return pd.IntervalDtype(subtype, closed)


def _sparse(text: object, fill: object) -> object:
    dtype = _numpy_dtype(text)
    if not is_column_dtype(dtype):
        raise ValueError("a sparse array of an impossible type")
    if not _is_fill(fill):
        raise TypeError("not a fill value")
    found = pd.SparseDtype(dtype)
    found._fill_value = fill
    return found


def _is_fill(value: object) -> bool:
    return type(value) in _FILLS or (isinstance(value, np.generic) and type(value).__module__ == "numpy")


def _string(storage: object, missing: object) -> object:
    if not one_of(storage, "python", "pyarrow") or not one_of(missing, "NA", "nan"):
        raise ValueError("an unknown kind of string")
    if missing == "NA":
        return pd.StringDtype(storage)
    try:
        return pd.StringDtype(storage, na_value=np.nan)
    except TypeError as error:  # pandas before 2.3
        if storage == "pyarrow":
            return pd.StringDtype("pyarrow_numpy")
        raise PayloadError(
            f"the payload has texts that pandas holds by a dtype of pandas 2.3 and later, and this is pandas "
            f"{pd.__version__}: pip install 'pandas>=2.3'",
            path="pandas.StringDtype",
        ) from error


def _masked(name: object) -> object:
    return _MASKED[expect(name, str)]()


def _arrow(kind: object) -> object:
    import pyarrow as pa

    if not isinstance(kind, pa.DataType):
        raise TypeError("an Arrow column without an Arrow type")
    return pd.ArrowDtype(kind)


def _numpy(text: object) -> object:
    return _NUMPY_DTYPE(_numpy_dtype(text))


_DTYPES: dict[str, Any] = {
    "datetime": _zoned,
    "period": _period,
    "interval": _interval,
    "sparse": _sparse,
    "string": _string,
    "masked": _masked,
    "arrow": _arrow,
    "numpy": _numpy,
}

ENCODERS.update(
    {
        pd.CategoricalDtype: _encode_categorical_dtype,
        pd.DatetimeTZDtype: _encode_zoned_dtype,
        pd.PeriodDtype: lambda dtype, encoder: [tags.PANDAS_DTYPE, "period", dtype.freq],
        pd.IntervalDtype: _encode_interval_dtype,
        pd.SparseDtype: _encode_sparse_dtype,
        pd.StringDtype: _encode_string_dtype,
        pd.ArrowDtype: lambda dtype, encoder: [tags.PANDAS_DTYPE, "arrow", dtype.pyarrow_dtype],
        _NUMPY_DTYPE: _encode_numpy_dtype,
        **dict.fromkeys(
            _MASKED.values(), lambda dtype, encoder: [tags.PANDAS_DTYPE, "masked", type(dtype).__name__]
        ),
    }
)
DECODERS[tags.PANDAS_DTYPE] = _decode_dtype


# -- arrays


_TEXTS = frozenset({str, np.str_, float, type(None), type(pd.NA)})
_STRING_ARRAYS = {
    pd.StringDtype("python").construct_array_type(),
    *(
        getattr(pd.core.arrays.string_, name)
        for name in ("StringArrayNumpySemantics",)
        if hasattr(pd.core.arrays.string_, name)
    ),
}
_ARROW_STRING_ARRAYS = {
    pd.arrays.ArrowStringArray,
    *(
        getattr(pd.core.arrays.string_arrow, name)
        for name in ("ArrowStringArrayNumpySemantics",)
        if hasattr(pd.core.arrays.string_arrow, name)
    ),
}


def _encode_categorical(value: Any, encoder: Encoder) -> Row:
    return [tags.PANDAS_ARRAY, "category", value.dtype, Held(value._ndarray)]


def _decode_categorical(decoder: Decoder, dtype: Any, codes: object) -> object:
    if type(dtype) is not pd.CategoricalDtype or dtype._categories is None:
        raise TypeError("a categorical without categories")
    check_codes(codes, len(dtype._categories), decoder)
    take_once(codes, decoder)
    return pd.Categorical._simple_new(codes, dtype)


def check_codes(codes: Any, count: int, decoder: Decoder) -> None:
    """Raise ``ValueError`` or ``TypeError`` unless these are codes for ``count`` values."""
    known: Any = decoder.shared.setdefault(("pandas", "codes"), {})
    bounds = known.get(id(codes))
    if bounds is None:
        expect(codes, np.ndarray)
        decoder.again("codes", whose(codes, decoder), codes.size >> 6)
        if codes.dtype.kind != "i" or not codes.dtype.isnative or codes.ndim != 1:
            raise ValueError("codes of another type")
        bounds = known[id(codes)] = (codes.min(), codes.max()) if len(codes) else (0, -1)
    if not (bounds[0] >= -1 and bounds[1] < count):
        raise ValueError("a code of nothing")


def _encode_datetimes(value: Any, encoder: Encoder) -> Row:
    zoned = type(value.dtype) is pd.DatetimeTZDtype
    return [
        tags.PANDAS_ARRAY,
        "datetime",
        value.dtype if zoned else None,
        Held(value._ndarray),
        getattr(value, "_freq", None),
    ]


def _decode_datetimes(decoder: Decoder, dtype: Any, values: object, freq: object) -> object:
    data = _times(values, "M", decoder)
    if dtype is None:
        dtype = data.dtype
    elif type(dtype) is not pd.DatetimeTZDtype or dtype.unit != np.datetime_data(data.dtype)[0]:
        raise TypeError("times of another type")
    return _with_freq(pd.arrays.DatetimeArray._simple_new(data, dtype=dtype), freq)


def _times(values: object, kind: str, decoder: Decoder) -> Array:
    array: Array = expect(values, np.ndarray)
    dtype = array.dtype
    if dtype.kind != kind or not dtype.isnative or not is_column_dtype(dtype) or array.ndim not in (1, 2):
        raise ValueError("times of another type")
    take_once(array, decoder)
    return array


def _with_freq(found: Any, freq: object) -> object:
    if freq is not None:
        if not isinstance(freq, pd.offsets.BaseOffset):
            raise TypeError("not a frequency")
        if hasattr(found, "_freq"):  # which arrays have in pandas 2 alone
            found._freq = freq
    return found


def _encode_durations(value: Any, encoder: Encoder) -> Row:
    return [tags.PANDAS_ARRAY, "timedelta", Held(value._ndarray), getattr(value, "_freq", None)]


def _decode_durations(decoder: Decoder, values: object, freq: object) -> object:
    data = _times(values, "m", decoder)
    return _with_freq(pd.arrays.TimedeltaArray._simple_new(data, dtype=data.dtype), freq)


def _encode_periods(value: Any, encoder: Encoder) -> Row:
    return [tags.PANDAS_ARRAY, "period", value.dtype, Held(value._ndarray)]


def _decode_periods(decoder: Decoder, dtype: object, values: object) -> object:
    array: Array = expect(values, np.ndarray)
    if type(dtype) is not pd.PeriodDtype or array.dtype != np.dtype("=i8") or array.ndim not in (1, 2):
        raise TypeError("periods of another type")
    take_once(array, decoder)
    return pd.arrays.PeriodArray(array, dtype=dtype)


def _encode_intervals(value: Any, encoder: Encoder) -> Row:
    return [tags.PANDAS_ARRAY, "interval", value.dtype, Held(value._left), Held(value._right)]


def _decode_intervals(decoder: Decoder, dtype: Any, left: Any, right: Any) -> object:
    if type(dtype) is not pd.IntervalDtype or dtype.subtype is None:
        raise TypeError("intervals of another type")
    for side in (left, right):
        if not isinstance(side, np.ndarray | pd.api.extensions.ExtensionArray) or side.dtype != dtype.subtype:
            raise TypeError("intervals of another type")
        if side.ndim != 1 or len(side) != len(left):
            raise ValueError("intervals with one end")
        take_once(side, decoder)
    return pd.arrays.IntervalArray._simple_new(left, right, dtype)


def _encode_sparse(value: Any, encoder: Encoder) -> Row:
    index = value.sp_index
    parts = (index.indices,) if type(index) is IntIndex else (index.blocs, index.blengths)
    return [
        *(tags.PANDAS_ARRAY, "sparse", value.dtype, Held(value.sp_values), index.length),
        *map(Held, map(np.asarray, parts)),
    ]


def _decode_sparse(decoder: Decoder, dtype: Any, values: Any, length: object, *parts: Any) -> object:
    array: Array = expect(values, np.ndarray)
    if type(dtype) is not pd.SparseDtype or array.dtype != dtype.subtype or array.ndim != 1:
        raise TypeError("sparse values of another type")
    for part in (array, *parts):
        take_once(expect(part, np.ndarray), decoder)
    if any(part.dtype != np.dtype("=i4") or part.ndim != 1 for part in parts):
        raise ValueError("places of another type")
    if len(parts) == 1:
        index: Any = IntIndex(expect(length, int), parts[0], check_integrity=True)
    else:
        starts, lengths = parts
        if len(starts) != len(lengths):
            raise ValueError("blocks without a length")
        ends = starts.astype(np.int64) + lengths  # pandas itself does not look below 0
        if len(starts) and (starts.min() < 0 or lengths.min() < 0 or (starts[1:] < ends[:-1]).any()):
            raise ValueError("blocks that overlap")
        index = BlockIndex(expect(length, int), starts, lengths)
    if index.npoints != len(array) or index.length < 0:
        raise ValueError("sparse values without a place")
    return pd.arrays.SparseArray._simple_new(array, index, dtype)


def _encode_masked(value: Any, encoder: Encoder) -> Row:
    return [tags.PANDAS_ARRAY, "masked", value.dtype, Held(value._data), Held(value._mask)]


def _decode_masked(decoder: Decoder, dtype: Any, data: Any, mask: Any) -> object:
    if type(dtype) not in _MASKED.values():
        raise TypeError("a masked array of another type")
    for part, wanted in ((data, dtype.numpy_dtype), (mask, np.dtype(bool))):
        if expect(part, np.ndarray).dtype != wanted or part.shape != data.shape or part.ndim not in (1, 2):
            raise ValueError("a mask that does not fit")
        take_once(part, decoder)
    return dtype.construct_array_type()(data, mask)


def _encode_texts(value: Any, encoder: Encoder) -> Row:
    held = value._ndarray
    kinds = set(map(type, held.tolist())) if held.ndim == 1 else {object}
    if not kinds <= _TEXTS:
        return encode_pickled(value, encoder)
    if type(pd.NA) not in kinds or kinds - {str, type(pd.NA)}:
        return [tags.PANDAS_ARRAY, "string", value.dtype, Held(held)]
    # Nothing but texts and None, which needs no row of its own.
    short = np.empty(len(held), object)
    short[:] = [None if item is pd.NA else item for item in held.tolist()]
    return [tags.PANDAS_ARRAY, "string or none", value.dtype, Held(short)]


def _decode_texts(decoder: Decoder, dtype: Any, values: Any) -> object:
    array: Array = expect(values, np.ndarray)
    if type(dtype) is not pd.StringDtype or not dtype.storage.startswith("python"):
        raise TypeError("texts of another type")
    take_once(array, decoder)
    if array.dtype.kind != "O" or array.ndim != 1 or not _TEXTS.issuperset(map(type, array.tolist())):
        raise TypeError("not texts")
    return dtype.construct_array_type()._simple_new(array, dtype)


def _decode_texts_or_none(decoder: Decoder, dtype: Any, values: Any) -> object:
    found: Any = _decode_texts(decoder, dtype, values)
    items = found._ndarray
    items[[item is None for item in items.tolist()]] = pd.NA
    return found


def _encode_arrow(value: Any, encoder: Encoder) -> Row:
    return [tags.PANDAS_ARRAY, "arrow", value.dtype, value._pa_array]


def _decode_arrow(decoder: Decoder, dtype: Any, data: Any) -> object:
    import pyarrow as pa

    expect(data, pa.ChunkedArray)
    if type(dtype) is pd.ArrowDtype and data.type == dtype.pyarrow_dtype:
        return pd.arrays.ArrowExtensionArray(data)
    if type(dtype) is not pd.StringDtype or not dtype.storage.startswith("pyarrow"):
        raise TypeError("an Arrow column of another type")
    if not (pa.types.is_string(data.type) or pa.types.is_large_string(data.type)):
        raise TypeError("texts of another type")
    found = dtype.construct_array_type()(data)
    found._dtype = dtype
    return found


def _encode_numpy(value: Any, encoder: Encoder) -> Row:
    if numpy_text(value._ndarray.dtype) is None:
        return encode_pickled(value, encoder)
    return [tags.PANDAS_ARRAY, "numpy", Held(value._ndarray)]


def _decode_numpy(decoder: Decoder, values: Any) -> object:
    take_once(expect(values, np.ndarray), decoder)
    return pd.arrays.NumpyExtensionArray(values)


_ARRAYS: dict[str, Any] = {
    "category": _decode_categorical,
    "datetime": _decode_datetimes,
    "timedelta": _decode_durations,
    "period": _decode_periods,
    "interval": _decode_intervals,
    "sparse": _decode_sparse,
    "masked": _decode_masked,
    "string": _decode_texts,
    "string or none": _decode_texts_or_none,
    "arrow": _decode_arrow,
    "numpy": _decode_numpy,
}


def _decode_array(row: Row, decoder: Decoder) -> object:
    found: object = _ARRAYS[expect(row[1], str)](decoder, *row[2:])
    return found


ENCODERS.update(
    {
        pd.Categorical: _encode_categorical,
        pd.arrays.DatetimeArray: _encode_datetimes,
        pd.arrays.TimedeltaArray: _encode_durations,
        pd.arrays.PeriodArray: _encode_periods,
        pd.arrays.IntervalArray: _encode_intervals,
        pd.arrays.SparseArray: _encode_sparse,
        pd.arrays.NumpyExtensionArray: _encode_numpy,
        pd.arrays.ArrowExtensionArray: _encode_arrow,
        **dict.fromkeys(_ARROW_STRING_ARRAYS, _encode_arrow),
        **dict.fromkeys(_STRING_ARRAYS, _encode_texts),
        **dict.fromkeys(
            (pd.arrays.BooleanArray, pd.arrays.IntegerArray, pd.arrays.FloatingArray), _encode_masked
        ),
    }
)
DECODERS[tags.PANDAS_ARRAY] = _decode_array
