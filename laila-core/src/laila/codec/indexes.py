"""Rows of pandas' indexes: values, name and frequency; of a MultiIndex its levels and codes as they are.

What several indexes hold together (the rows of a frame and of its columns) is written once and shared again.
An index that was made as a view of another one comes back as a view of it: the two have names of their own.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from laila.codec import tags
from laila.codec.columntypes import is_column_dtype
from laila.codec.decoder import Decoder, expect
from laila.codec.extension import check_codes
from laila.codec.heldarrays import held_once, whose
from laila.codec.plain import ATOMS
from laila.codec.registry import DECODERS, ENCODERS
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from laila.codec.encoder import Encoder

    Row = list[object]

__all__ = ["check_name"]

_CLASSES: dict[type, Any] = {
    pd.Categorical: pd.CategoricalIndex,
    pd.arrays.DatetimeArray: pd.DatetimeIndex,
    pd.arrays.TimedeltaArray: pd.TimedeltaIndex,
    pd.arrays.PeriodArray: pd.PeriodIndex,
    pd.arrays.IntervalArray: pd.IntervalIndex,
}
_WITH_FREQUENCY = (pd.DatetimeIndex, pd.TimedeltaIndex)
_KEPT = frozenset({"sortorder"})
_WORK_OF_LEVEL = 200


def check_name(name: object, walk: Encoder | Decoder) -> None:
    """Refuse the name of an index or a series that cannot be hashed, or only in ages."""
    if type(name) not in ATOMS:
        walk.check_keys((name,))
        hash(name)


def _first_of(index: Any, encoder: Encoder) -> Any:
    """The first index met that holds the same as this one: pandas makes a new view each time it is asked."""
    kind = type(index)
    if kind is pd.MultiIndex:
        key: tuple[object, ...] = (
            *map(_identity, index._levels),
            *(code.__array_interface__["data"][0] for code in index._codes),
            *map(id, index._names),
            len(index),
            index.sortorder,
        )
    else:
        freq = index.freq if kind in _WITH_FREQUENCY else None
        key = (id(index._data), id(index._name), id(freq))
    return encoder.notes.setdefault((kind, key), index)


def _identity(level: Any) -> object:
    return (level.start, level.stop, level.step) if type(level) is pd.RangeIndex else id(level._data)


def _no_attributes(index: Any, encoder: Encoder) -> None:
    for name in index.__dict__:
        if name[:1] != "_" and name not in _KEPT:
            encoder.refuse(
                f"an attribute {shown(name)} was set on a {type(index).__name__}, which pandas loses in "
                "every operation; store it beside the index"
            )


def _encode_index(index: Any, encoder: Encoder) -> Row:
    _no_attributes(index, encoder)
    check_name(index._name, encoder)
    first = _first_of(index, encoder)
    if first is not index:
        return [tags.INDEX, "view", first]
    data: Any = index._data
    if type(data) is np.ndarray:
        data = held_once(data, encoder)
    return [tags.INDEX, "index", index._name, data, index.freq if type(index) in _WITH_FREQUENCY else None]


def _decode_index(decoder: Decoder, name: object, data: Any, freq: object) -> object:
    check_name(name, decoder)
    if type(data) is np.ndarray:
        whose(data, decoder)
        if not is_column_dtype(data.dtype) or data.dtype.kind in "mM":
            raise TypeError("an index of an impossible type")
    elif not isinstance(data, pd.api.extensions.ExtensionArray):
        raise TypeError("an index of what is no array")
    if data.ndim != 1:
        raise ValueError("an index of several dimensions")
    kind = _CLASSES.get(type(data), pd.Index)
    if freq is None:
        return kind._simple_new(data, name=name)
    if kind not in _WITH_FREQUENCY or not isinstance(freq, pd.offsets.BaseOffset):
        raise TypeError("a frequency of what has none")
    if hasattr(data, "_freq"):  # pandas 2, where the array has it
        data = data.view()
        data._freq = freq
        return kind._simple_new(data, name=name)
    result = kind._simple_new(data, name=name)
    result._freq = freq
    return result


def _encode_range(index: Any, encoder: Encoder) -> Row:
    _no_attributes(index, encoder)
    check_name(index._name, encoder)
    return [tags.INDEX, "range", index._name, index.start, index.stop, index.step]


def _decode_range(decoder: Decoder, name: object, start: object, stop: object, step: object) -> object:
    check_name(name, decoder)
    numbers = range(expect(start, int), expect(stop, int), expect(step, int))
    if not all(abs(n) < 1 << 62 for n in (numbers.start, numbers.stop, numbers.step)):
        raise ValueError("a range beyond 64 bits")
    return pd.RangeIndex._simple_new(numbers, name=name)


def _encode_multi(index: Any, encoder: Encoder) -> Row:
    _no_attributes(index, encoder)
    for name in index._names:
        check_name(name, encoder)
    first = _first_of(index, encoder)
    if first is not index:
        return [tags.INDEX, "view", first]
    names, levels = list(index._names), list(index._levels)
    codes = [held_once(np.asarray(code), encoder) for code in index._codes]
    parts = [part for three in zip(names, levels, codes, strict=True) for part in three]
    return [tags.INDEX, "multi", index.sortorder, *parts]


def _decode_multi(decoder: Decoder, sortorder: object, *parts: object) -> object:
    names, levels, codes = parts[::3], parts[1::3], parts[2::3]
    if len(parts) % 3 or not parts:
        raise ValueError("levels without codes")
    for name, level, code in zip(names, levels, codes, strict=True):
        check_name(name, decoder)
        if not isinstance(level, pd.Index) or isinstance(level, pd.MultiIndex):
            raise TypeError("a level that is no index")
        check_codes(code, len(level), decoder)
        if len(code) != len(codes[0]):  # type: ignore[arg-type]
            raise ValueError("codes of several lengths")
    if sortorder is not None and not 0 <= expect(sortorder, int) <= len(levels):
        raise ValueError("an impossible order")
    return pd.MultiIndex(levels=levels, codes=codes, names=names, sortorder=sortorder, verify_integrity=False)


def _decode_view(decoder: Decoder, index: object) -> object:
    if not isinstance(index, pd.Index) or isinstance(index, pd.RangeIndex):
        raise TypeError("a view of what is no index with values")
    decoder.again("views", index, _WORK_OF_LEVEL * index.nlevels)
    return index.view()


_DECODERS: dict[str, Any] = {
    "index": _decode_index,
    "range": _decode_range,
    "multi": _decode_multi,
    "view": _decode_view,
}


def _decode(row: Row, decoder: Decoder) -> object:
    result: object = _DECODERS[expect(row[1], str)](decoder, *row[2:])
    return result


ENCODERS.update(
    {
        **dict.fromkeys((pd.Index, *_CLASSES.values()), _encode_index),
        pd.RangeIndex: _encode_range,
        pd.MultiIndex: _encode_multi,
    }
)
DECODERS[tags.INDEX] = _decode
