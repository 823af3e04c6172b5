"""Rows of pandas' frames and series: indexes and the arrays of the columns, with attributes and flags.

A frame is written as pandas' own blocks. A block is the array of one column, or of several columns of one
type, so ten thousand columns of numbers are one buffer. An instance of a subclass is a frame and its further
attributes.
"""

from __future__ import annotations

import copyreg

import numpy as np
import pandas as pd
from pandas.core.internals.managers import BlockManager, SingleBlockManager

from laila.codec import classnames, registry, tags
from laila.codec.columntypes import is_column_dtype, numpy_text
from laila.codec.containers import only
from laila.codec.decoder import WORK_OF_ATTRIBUTE, Decoder, expect
from laila.codec.heldarrays import Held, take_once
from laila.codec.indexes import check_name
from laila.codec.registry import DECODERS, ENCODERS, FAMILIES
from laila.codec.signed import encode_pickled
from laila.showing import said, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from laila.codec.encoder import Encoder

    Row = list[object]

__all__: list[str] = []

_MAX_EMPTY = 1_000_000
"""How many columns without a row the frames of one payload have together: they take no bytes."""
_INTERNAL = frozenset(pd.DataFrame().__dict__) | frozenset(pd.Series(dtype=float).__dict__)
_INTERNAL |= pd.DataFrame._internal_names_set | pd.Series._internal_names_set
_INTERNAL |= {"_item_cache", "_is_copy", "_cacher"}


# -- what frames and series have in common


def _own_attributes(value: Any) -> dict[str, object]:
    """The attributes that were set on a frame or series, or on one of a derived class."""
    accessors = value._accessors
    return {
        name: held
        for name, held in value.__dict__.items()
        if name not in _INTERNAL and not (name in accessors and hasattr(type(value), name))
    }


def _is_free(name: object, kind: type) -> bool:
    """Whether an attribute of this name hides nothing of the class."""
    return type(name) is str and name not in _INTERNAL and not hasattr(kind, name)


def _extras(value: Any, encoder: Encoder) -> dict[str, object] | None:
    own = _own_attributes(value)
    for name in own:
        if not _is_free(name, type(value)):
            encoder.refuse(f"its attribute {name!s:.80} hides one of pandas' own; use attrs for it")
    return own or None


def _common(value: Any) -> Row:
    """Two fields: attrs, and the flag when it is not what it is by default."""
    return [value.attrs or None, None if value.flags.allows_duplicate_labels else False]


def _restore(table: Any, attrs: object, flag: object, extras: object, decoder: Decoder) -> Any:
    if attrs is not None:
        object.__setattr__(table, "_attrs", expect(attrs, dict))
    if flag is not None:
        flags = pd.Flags(table, allows_duplicate_labels=expect(flag, bool))
        object.__setattr__(table, "_flags", flags)
    if extras is not None:
        decoder.again("attributes", extras, WORK_OF_ATTRIBUTE * len(expect(extras, dict)))
        for name, held in extras.items():  # type: ignore[attr-defined]  # a dict, as was seen
            if not _is_free(name, type(table)):
                raise ValueError("an attribute that hides one of pandas'")
            object.__setattr__(table, name, held)
    return table


def _axis(index: object) -> Any:
    if not isinstance(index, pd.Index):
        raise TypeError("an axis that is no index")
    return index


def _is_column(values: Any) -> bool:
    """Whether pandas holds columns as this array, and laila has a row for it."""
    if type(values) is np.ndarray:
        return is_column_dtype(values.dtype) and numpy_text(values.dtype) is not None
    return isinstance(values, pd.api.extensions.ExtensionArray)


def _check_column(values: Any, decoder: Decoder) -> None:
    if not (type(values) is np.ndarray and is_column_dtype(values.dtype)) and not isinstance(
        values, pd.api.extensions.ExtensionArray
    ):
        raise TypeError("a column of an impossible type")
    take_once(values, decoder)


# -- series


def _encode_series(value: Any, encoder: Encoder) -> Row:
    return _series_row(value, encoder, _extras(value, encoder))


def _series_row(value: Any, encoder: Encoder, extras: dict[str, object] | None) -> Row:
    check_name(value._name, encoder)
    values = value._mgr.blocks[0].values
    if not _is_column(values):
        return encode_pickled(value, encoder)
    index = value._mgr.axes[0]
    held = Held(values, ".iloc[{}]".format)
    return [tags.SERIES, value._name, index, *_common(value), extras, held]


def _decode_series(row: Row, decoder: Decoder) -> object:
    name, index, attrs, flag, extras, values = only(row, 6)
    check_name(name, decoder)
    axis = _axis(index)
    _check_column(values, decoder)
    if values.ndim != 1 or len(values) != len(axis):  # type: ignore[attr-defined, arg-type]
        raise ValueError("values that do not fit their index")
    manager = SingleBlockManager.from_array(values, axis)
    result: Any = pd.Series._from_mgr(manager, manager.axes)
    result._name = name
    return _restore(result, attrs, flag, extras, decoder)


# -- frames


def _encode_frame(value: Any, encoder: Encoder) -> Row:
    return _frame_row(value, encoder, _extras(value, encoder))


def _frame_row(value: Any, encoder: Encoder, extras: dict[str, object] | None) -> Row:
    manager = value._mgr
    columns, index = manager.axes
    if not len(index):
        try:
            _count_empty(len(columns), encoder.notes)
        except ValueError as error:
            encoder.refuse(f"the frames in it have {said(error)}, which is more than is read", error)
    parts: Row = []
    for block in manager.blocks:
        values, places = block.values, block.mgr_locs
        if not _is_column(values):
            return encode_pickled(value, encoder)
        if places.is_slice_like:
            where = places.as_slice
            parts += (Held(values, _labels(block)), where.start, where.step)
        else:
            parts += (Held(values, _labels(block)), Held(places.as_array.astype(np.int64)), None)
    return [tags.FRAME, columns, index, *_common(value), extras, *parts]


def _labels(block: Any) -> Any:
    """The function that gives the place of an item of a block of objects."""

    def place(position: int) -> str:
        count, rows = block.shape[0], max(1, block.shape[-1])
        fortran = block.values.flags.f_contiguous and not block.values.flags.c_contiguous
        column, row = (position % count, position // count) if fortran else divmod(position, rows)
        return f".iloc[{row}, {block.mgr_locs.as_array[column]}]"

    return place


def _count_empty(count: int, notes: dict[object, Any]) -> None:
    notes["columns"] = notes.get("columns", 0) + count
    if notes["columns"] > _MAX_EMPTY:
        raise ValueError(f"more than {_MAX_EMPTY} columns without a row")


def _decode_frame(row: Row, decoder: Decoder) -> object:
    columns, index = _axis(row[1]), _axis(row[2])
    attrs, flag, extras = row[3:6]
    parts = row[6:]
    count, length = len(columns), len(index)
    if not length:
        _count_empty(count, decoder.shared.setdefault(("pandas", "empty"), {}))  # type: ignore[arg-type]
    if len(parts) % 3:
        raise ValueError("columns without a place")
    blocks = [
        _block(values, start, step, length, decoder)
        for values, start, step in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    ]
    decoder.again("columns", columns, count)
    # The checks above bound the sum; memory is taken only after them.
    if sum(wide for _, _, wide in blocks) != count:
        raise ValueError("columns that do not fit their names")
    seen = np.zeros(count, bool)
    for _, place, wide in blocks:
        if isinstance(place, slice):
            last = place.start + (wide - 1) * place.step
            if wide and not (0 <= place.start < count and 0 <= last < count):
                raise ValueError("a column beside its frame")
        elif wide and not (place.min() >= 0 and place.max() < count):
            raise ValueError("a column beside its frame")
        seen[place] = True
    if not seen.all():
        raise ValueError("a name without a column")
    result = _frame_of([(values, place) for values, place, _ in blocks], index, columns)
    return _restore(result, attrs, flag, extras, decoder)


def _block(values: Any, start: Any, step: Any, length: int, decoder: Decoder) -> tuple[Any, Any, int]:
    """The array of a block, its place among the columns, and how many columns it has."""
    _check_column(values, decoder)
    if values.ndim == 2:
        wide = values.shape[0]
        fits = values.shape[1] == length
    else:
        wide, fits = 1, type(values) is not np.ndarray and values.ndim == 1 and len(values) == length
    if not fits:
        raise ValueError("a column that does not fit its index")
    if step is None:
        if expect(start, np.ndarray).dtype != np.dtype("=i8") or start.shape != (wide,):
            raise ValueError("columns without a place")
        return values, start, wide
    first, stride = expect(start, int), expect(step, int)
    end = first + wide * stride
    if not (0 <= first < 1 << 62 and 0 < abs(stride) < 1 << 62 and -(1 << 62) < end < 1 << 62):
        raise ValueError("a column beside its frame")
    return values, slice(first, end if end >= 0 else None, stride), wide


try:
    from pandas.api.internals import create_dataframe_from_blocks
except ImportError:  # pandas 2
    from pandas._libs.internals import BlockPlacement
    from pandas.core.internals.blocks import ensure_block_shape, new_block_2d

    def _frame_of(blocks: list[tuple[Any, Any]], index: Any, columns: Any) -> Any:
        made = [
            new_block_2d(ensure_block_shape(values, ndim=2), BlockPlacement(place))
            for values, place in blocks
        ]
        manager = BlockManager(made, [columns, index])
        return pd.DataFrame._from_mgr(manager, manager.axes)

else:

    def _frame_of(blocks: list[tuple[Any, Any]], index: Any, columns: Any) -> Any:
        return create_dataframe_from_blocks(blocks, index, columns)


# -- classes that derive from them


class _Base:
    """The frame or series that an instance of a derived class is."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def _encode_base(base: _Base, encoder: Encoder) -> Row:
    make = _frame_row if isinstance(base.value, pd.DataFrame) else _series_row
    return make(base.value, encoder, None)


def _is_derived(kind: type) -> bool:
    """Whether an instance of a derived class is a frame or series and its attributes, nothing else."""
    base: Any = pd.DataFrame if issubclass(kind, pd.DataFrame) else pd.Series
    return (
        issubclass(kind, base)
        and kind is not base
        and kind not in copyreg.dispatch_table
        and not any(
            getattr(kind, name, None) is not getattr(base, name, None)
            for name in ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__new__")
        )
    )


def _may_set(name: object, kind: Any) -> bool:
    return (name in kind._metadata and name not in _INTERNAL) or _is_free(name, kind)


def _encode_derived(value: Any, encoder: Encoder) -> Row:
    kind: Any = type(value)
    if not _is_derived(kind) or not (registry.known_name(kind) or classnames.is_importable(kind)):
        return encode_pickled(value, encoder)
    own = {
        name: held
        for name, held in value.__dict__.items()
        if name in kind._metadata and name not in _INTERNAL
    }
    own |= _own_attributes(value)
    name = classnames.name_of(kind, encoder)
    odd = next((name for name in own if not _may_set(name, kind)), None)
    if odd is not None and kind not in encoder.signed_types:
        encoder.sign(
            kind,
            "by its fields",
            f"its attribute {shown(odd)} is no metadata of the class: that would need a signature, which "
            "pickle=False forbids",
        )
    return [tags.FRAME_CLASS, name, _Base(value), own]


def _decode_derived(row: Row, decoder: Decoder) -> object:
    name, base, own = only(row, 3)
    kind: Any = classnames.class_named(name, decoder, _is_derived)
    if type(base) not in (pd.DataFrame, pd.Series) or not issubclass(kind, type(base)):
        raise TypeError("an instance of a class of another base")
    names = list(expect(own, dict))
    decoder.again("attributes", own, WORK_OF_ATTRIBUTE * len(names))
    if not decoder.trusted and not all(_may_set(name, kind) for name in names):
        decoder.demand_trust(f"attributes that are no metadata of {name}", registrable=False)
    result: Any = object.__new__(kind)
    result.__dict__.update(base.__dict__)
    result.__dict__.update(own)
    flag = base.flags.allows_duplicate_labels  # type: ignore[attr-defined]
    object.__setattr__(result, "_flags", pd.Flags(result, allows_duplicate_labels=flag))
    return result


ENCODERS.update({pd.DataFrame: _encode_frame, pd.Series: _encode_series, _Base: _encode_base})
FAMILIES.update(
    {registry.class_path(pd.DataFrame): _encode_derived, registry.class_path(pd.Series): _encode_derived}
)
registry.REGISTRABLE[_encode_derived] = _is_derived
DECODERS.update({tags.FRAME: _decode_frame, tags.SERIES: _decode_series, tags.FRAME_CLASS: _decode_derived})
