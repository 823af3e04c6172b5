"""Rows of pandas' own dtypes; :mod:`laila.codec.extension` has those of its arrays."""

from __future__ import annotations

import numpy as np
import pandas as pd

from laila.codec import tags
from laila.codec.decoder import Decoder, expect, one_of
from laila.codec.dtypes import describe, dtype_from
from laila.codec.heldarrays import whose
from laila.codec.moments import UNITS
from laila.codec.registry import DECODERS, ENCODERS
from laila.codec.signed import encode_pickled
from laila.errors import MissingPluginError, PayloadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from laila.codec.encoder import Encoder

    Row = list[object]
    Array = np.ndarray[Any, np.dtype[Any]]

__all__ = ["MASKED", "is_column_dtype", "numpy_text"]

_KINDS = frozenset("biufcOmM")


MASKED: dict[str, Any] = {
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


def is_column_dtype(dtype: np.dtype[Any]) -> bool:
    """Whether pandas keeps columns of this dtype of numpy's."""
    if dtype.kind in "mM":
        unit, count = np.datetime_data(dtype)
        return unit in UNITS and count == 1
    return dtype.kind in _KINDS


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
        result: object = _DTYPES[kind](*row[2:])
    except ImportError as error:
        raise MissingPluginError(
            f"the payload of {decoder.blob.key} has columns that Arrow holds, and pyarrow cannot be imported "
            f"here ({error!s:.100}): pip install 'laila-core[arrow]'",
            plugin="pyarrow",
            distribution="laila-core[arrow]",
        ) from error
    return result


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
    result = pd.DatetimeTZDtype(unit, zone)
    if result.tz is not zone:
        result._tz = zone  # pandas takes another object of the same zone, for zones of pytz
    return result


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
    result = pd.SparseDtype(dtype)
    result._fill_value = fill
    return result


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
    return MASKED[expect(name, str)]()


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
            MASKED.values(), lambda dtype, encoder: [tags.PANDAS_DTYPE, "masked", type(dtype).__name__]
        ),
    }
)
DECODERS[tags.PANDAS_DTYPE] = _decode_dtype
