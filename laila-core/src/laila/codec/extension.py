"""Rows of pandas' own arrays: what columns and indexes are made of.

An array is its dtype and the parts that numpy or Arrow hold. What an array of numpy's holds inside pandas is
written by :class:`Held`, so that nothing outside ever shares memory with a column. Codes and positions are
checked when they are read: pandas' compiled code trusts them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from pandas._libs.sparse import BlockIndex, IntIndex

from laila.codec import tags
from laila.codec.columntypes import MASKED, is_column_dtype, numpy_text
from laila.codec.decoder import Decoder, expect
from laila.codec.heldarrays import Held, take_once, whose
from laila.codec.registry import DECODERS, ENCODERS
from laila.codec.signed import encode_pickled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from laila.codec.encoder import Encoder

    Row = list[object]
    Array = np.ndarray[Any, np.dtype[Any]]

__all__ = ["check_codes"]


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


def _with_freq(array: Any, freq: object) -> object:
    if freq is not None:
        if not isinstance(freq, pd.offsets.BaseOffset):
            raise TypeError("not a frequency")
        if hasattr(array, "_freq"):  # which arrays have in pandas 2 alone
            array._freq = freq
    return array


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
    if type(dtype) not in MASKED.values():
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
    result: Any = _decode_texts(decoder, dtype, values)
    items = result._ndarray
    items[[item is None for item in items.tolist()]] = pd.NA
    return result


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
    array = dtype.construct_array_type()(data)
    array._dtype = dtype
    return array


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
    result: object = _ARRAYS[expect(row[1], str)](decoder, *row[2:])
    return result


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
