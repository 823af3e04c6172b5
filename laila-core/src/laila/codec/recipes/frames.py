"""Recipes of polars: types, series and frames, column by column.

Numbers, times and truth values are arrays of numpy's; texts, bytes and decimals are lists; what lists and
structs hold is a series or a frame again. Streams of polars' own would be faster, but polars ends the process
where a forged one names lengths that cannot be.
"""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import polars as pl

from laila.codec.decoder import expect, one_of
from laila.codec.recipes import Recipe, add_recipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from laila.codec.decoder import Decoder

__all__: list[str] = []

_NUMBERS: dict[Any, Any] = {
    **{
        getattr(pl, f"{kind}{bits}"): f"{kind[0].lower()}{bits // 8}"
        for kind, bits in (
            *(("Int", bits) for bits in (8, 16, 32, 64)),
            *(("UInt", bits) for bits in (8, 16, 32, 64)),
            *(("Float", bits) for bits in (16, 32, 64) if hasattr(pl, f"Float{bits}")),
        )
    },
    pl.Boolean: "b1",
}
_TIMES: dict[Any, Any] = {pl.Date: pl.Int32, pl.Time: pl.Int64, pl.Datetime: pl.Int64, pl.Duration: pl.Int64}
_ITEMS: dict[Any, type] = {pl.String: str, pl.Binary: bytes, pl.Decimal: Decimal}
for _name in ("Int128", "UInt128"):
    if hasattr(pl, _name):
        _ITEMS[getattr(pl, _name)] = int
_CATEGORIES = (pl.Categorical, pl.Enum)
_UNITS = ("ms", "us", "ns")
_MOST_LEVELS = 64
_WORK = 20
_WIDEST = 1 << 20


# -- types


def _simple(kind: Any) -> Recipe:
    return Recipe(f"polars.{kind.__name__}", kind, lambda value: (), lambda decoder: kind())


def _build_datetime(decoder: Decoder, unit: str, zone: str | None) -> object:
    from laila.codec.zones import is_zone

    if not one_of(unit, *_UNITS) or (zone is not None and not is_zone(zone)):
        raise ValueError("times of an unknown kind")
    return pl.Datetime(unit, zone)


def _build_duration(decoder: Decoder, unit: str) -> object:
    if not one_of(unit, *_UNITS):
        raise ValueError("durations of an unknown kind")
    return pl.Duration(unit)


def _build_decimal(decoder: Decoder, precision: int, scale: int) -> object:
    if not 0 < precision <= 38 or not 0 <= scale <= precision:
        raise ValueError("decimals that cannot be")
    return pl.Decimal(precision, scale)


def _level(dtype: Any) -> int:
    """How deep a type is nested. Raises ``ValueError`` where that is too deep, ``TypeError`` for no type."""
    if not isinstance(dtype, pl.DataType):
        raise TypeError("not a type")
    level = 0
    inner: list[Any] = [dtype]
    while inner:
        level += 1
        if level > _MOST_LEVELS or len(inner) > _WIDEST:
            raise ValueError("types that are nested too deep")
        inner = [
            part
            for held in inner
            for part in (
                [field.dtype for field in held.fields]
                if isinstance(held, pl.Struct)
                else [held.inner]
                if isinstance(held, pl.List | pl.Array)
                else []
            )
        ]
    return level


def _instance(dtype: Any) -> Any:
    """A type as columns have it: polars takes the class for one without parameters."""
    return dtype() if isinstance(dtype, type) else dtype


def _build_list(decoder: Decoder, inner: Any) -> object:
    decoder.spend(_WORK * _level(inner))
    return pl.List(inner)


def _take_array_type(value: Any) -> tuple[object, ...]:
    return _instance(value.inner), value.shape[0]


def _build_array_type(decoder: Decoder, inner: Any, width: int) -> object:
    decoder.spend(_WORK * _level(inner))
    if not 0 < width < _WIDEST:
        raise ValueError("arrays of an impossible width")
    return pl.Array(inner, width)


def _take_struct_type(value: Any) -> tuple[object, ...]:
    return tuple(field.name for field in value.fields), tuple(
        _instance(field.dtype) for field in value.fields
    )


def _build_struct_type(decoder: Decoder, names: tuple[Any, ...], dtypes: tuple[Any, ...]) -> object:
    decoder.spend(_WORK * (len(names) + sum(map(_level, dtypes))))
    return pl.Struct([pl.Field(expect(name, str), dtype) for name, dtype in zip(names, dtypes, strict=True)])


def _build_enum(decoder: Decoder, categories: list[Any]) -> object:
    decoder.again("enum", categories, _WORK * len(categories))
    if not {str}.issuperset(map(type, categories)) or len(set(categories)) < len(categories):
        raise ValueError("categories that are no texts, or twice")
    return pl.Enum(categories)


def _take_categorical(value: Any) -> tuple[object, ...] | None:
    held: Any = getattr(value, "categories", None)
    name = getattr(held, "name", lambda: "")()
    return ("", "") if not name else (name, held.namespace()) if held.physical() == pl.UInt32 else None


def _build_categorical(decoder: Decoder, name: str, space: str) -> object:
    return pl.Categorical(pl.Categories(name, space)) if name else pl.Categorical()


# -- series


def _take_series(value: Any) -> tuple[object, ...] | None:
    dtype = value.dtype
    kind = type(dtype)
    valid = value.is_not_null().to_numpy() if value.null_count() else None
    if kind is pl.Null:
        return value.name, dtype, None, len(value)
    if kind in _CATEGORIES:
        return value.name, dtype, None, value.cast(pl.String).to_list()
    if kind in _ITEMS:
        return value.name, dtype, None, value.to_list()
    if kind in _TIMES:
        value = value.cast(_TIMES[kind])
        kind = type(value.dtype)
    if kind in _NUMBERS:
        whole = value if valid is None else value.fill_null(False if kind is pl.Boolean else 0)
        return value.name, dtype, valid, np.ascontiguousarray(whole.to_numpy())
    if kind is pl.Struct:
        return value.name, dtype, valid, value.struct.unnest()
    if kind is pl.Array and value.dtype.shape[0]:
        return value.name, dtype, valid, value.drop_nulls().explode().alias("")
    if kind is pl.List:
        lengths = value.list.len().fill_null(0).cast(pl.Int64)
        full = value.filter(lengths > 0)
        inner = full.explode() if len(full) else pl.Series("", [], dtype=dtype.inner)
        return value.name, dtype, valid, (lengths.to_numpy(), inner.alias(""))
    return None


def _build_series(decoder: Decoder, name: str, dtype: Any, valid: Any, held: Any) -> object:
    kind = type(dtype)
    if valid is not None:
        decoder.again("valid", valid, valid.size >> 3)
        if valid.dtype != bool or valid.ndim != 1:
            raise ValueError("not a mask")
    result = _values(decoder, name, dtype, valid, held)
    if valid is not None:
        if len(result) != len(valid):
            raise ValueError("values of another number")
        mask = pl.Series(valid)
        result = pl.select(pl.when(mask).then(result).otherwise(None).alias(name)).to_series()
    if type(result.dtype) is not kind or result.dtype != dtype:
        raise TypeError("a series of another type")
    return result


def _values(decoder: Decoder, name: str, dtype: Any, valid: Any, held: Any) -> Any:
    """The series of what is ``held``, where nothing is missing but in lists of items."""
    kind = type(dtype)
    if kind is pl.Null:
        if not 0 <= expect(held, int) < 1 << 32:
            raise ValueError("an impossible number of nothings")
        decoder.spend(held >> 3)
        return pl.Series(name, [None], dtype=pl.Null).new_from_index(0, held)
    if kind in _CATEGORIES or kind in _ITEMS:
        item = _ITEMS.get(kind, str)
        decoder.again("items", held, _WORK * len(expect(held, list)))
        if not {item, type(None)}.issuperset(map(type, held)):
            raise TypeError("items of another type")
        result = pl.Series(name, held, dtype=pl.String if kind in _CATEGORIES else dtype, strict=True)
        return result.cast(dtype) if kind in _CATEGORIES else result
    transport = _TIMES.get(kind, kind)
    if transport in _NUMBERS:
        decoder.again("numbers", held, expect(held, np.ndarray).size >> 3)
        if held.ndim != 1 or held.dtype != np.dtype(_NUMBERS[transport]):
            raise TypeError("numbers of another type")
        result = pl.Series(name, held, dtype=transport)
        return result if transport is kind else result.cast(dtype)
    if kind is pl.Struct:
        if held.schema != pl.Schema({field.name: field.dtype for field in dtype.fields}):
            raise TypeError("a struct of other fields")
        decoder.again("struct", held, _WORK * held.width + held.height)
        return held.to_struct(name)
    if kind is pl.Array:
        return _arrays(decoder, dtype, valid, expect(held, pl.Series)).alias(name)
    if kind is pl.List:
        return _lists(decoder, name, dtype, *expect(held, tuple))
    raise ValueError("a series of an unknown type")


def _arrays(decoder: Decoder, dtype: Any, valid: Any, inner: Any) -> Any:
    decoder.again("array", inner, _WORK * len(inner))
    width = dtype.shape[0]
    if inner.dtype != dtype.inner or len(inner) % width:
        raise TypeError("an array of other items")
    count = len(inner) // width
    places = np.arange(count) if valid is None else np.cumsum(valid) - 1
    if valid is not None and valid.sum() != count:
        raise ValueError("arrays of another number")
    groups = _grouped(np.full(count, width), inner, dtype.inner)
    # Where one is missing, any other takes its place until it is taken out again.
    rows = groups.gather(np.maximum(places, 0)) if count else groups.new_from_index(0, len(places))
    return rows.list.to_array(width) if count else rows.clear().cast(dtype).extend_constant(None, len(places))


def _grouped(counts: Any, inner: Any, dtype: Any) -> Any:
    """The lists of so many items in turn, none of them empty, and an empty one last."""
    empty = pl.Series("", [[]], dtype=pl.List(dtype))
    if not len(inner):
        return empty
    frame = pl.DataFrame({"n": np.repeat(np.arange(len(counts)), counts), "v": inner})
    return frame.group_by("n", maintain_order=True).agg("v")["v"].alias("").append(empty)


def _lists(decoder: Decoder, name: str, dtype: Any, lengths: Any, inner: Any) -> Any:
    decoder.again("list", lengths, _WORK * expect(lengths, np.ndarray).size)
    decoder.again("list", inner, len(expect(inner, pl.Series)))
    if lengths.dtype != np.int64 or lengths.ndim != 1 or inner.dtype != dtype.inner:
        raise TypeError("lists of other items")
    if (len(lengths) and lengths.min() < 0) or sum(lengths.tolist()) != len(inner):
        raise ValueError("lists of more or less than there is")
    full = lengths > 0
    groups = _grouped(lengths[full], inner, dtype.inner)
    return groups.gather(np.where(full, np.cumsum(full) - 1, len(groups) - 1)).alias(name)


# -- frames and schemas


def _take_frame(value: Any) -> tuple[object, ...]:
    return value.height, value.get_columns()


def _build_frame(decoder: Decoder, height: int, columns: list[Any]) -> object:
    decoder.again("frame", columns, _WORK * len(columns))
    if not 0 <= height < 1 << 32 or not {pl.Series}.issuperset(map(type, columns)):
        raise TypeError("not columns")
    if any(len(held) != height for held in columns):
        raise ValueError("columns of another length")
    named = {held.name: held for held in columns}
    if len(named) < len(columns):
        raise ValueError("a column twice")
    return pl.DataFrame(named) if named else pl.DataFrame(height=height) if height else pl.DataFrame()


def _take_schema(value: Any) -> tuple[object, ...]:
    return ({name: _instance(dtype) for name, dtype in value.items()},)


def _build_schema(decoder: Decoder, fields: dict[Any, Any]) -> object:
    decoder.again("schema", fields, _WORK * len(fields))
    for name, dtype in fields.items():
        expect(name, str)
        _level(dtype)
    return pl.Schema(fields)


for _kind in {*_NUMBERS, *_ITEMS, pl.Date, pl.Time, pl.Null} - {pl.Decimal}:
    add_recipe(_simple(_kind))
_TEXT, _NONE = (str,), type(None)
for _recipe in (
    Recipe(
        "polars.Datetime",
        pl.Datetime,
        lambda value: (value.time_unit, value.time_zone),
        _build_datetime,
        unit=_TEXT,
        zone=(str, _NONE),
    ),
    Recipe("polars.Duration", pl.Duration, lambda value: (value.time_unit,), _build_duration, unit=_TEXT),
    Recipe(
        "polars.Decimal",
        pl.Decimal,
        lambda value: (value.precision, value.scale),
        _build_decimal,
        precision=(int,),
        scale=(int,),
    ),
    Recipe("polars.List", pl.List, lambda value: (_instance(value.inner),), _build_list, inner=None),
    Recipe("polars.Array", pl.Array, _take_array_type, _build_array_type, inner=None, width=(int,)),
    Recipe(
        "polars.Struct", pl.Struct, _take_struct_type, _build_struct_type, names=(tuple,), dtypes=(tuple,)
    ),
    Recipe(
        "polars.Enum", pl.Enum, lambda value: (value.categories.to_list(),), _build_enum, categories=(list,)
    ),
    Recipe(
        "polars.Categorical",
        pl.Categorical,
        _take_categorical,
        _build_categorical,
        name=_TEXT,
        namespace=_TEXT,
    ),
    Recipe(
        "polars.Series",
        pl.Series,
        _take_series,
        _build_series,
        name=_TEXT,
        dtype=None,
        valid=(np.ndarray, _NONE),
        values=None,
    ),
    Recipe("polars.DataFrame", pl.DataFrame, _take_frame, _build_frame, height=(int,), columns=(list,)),
    Recipe("polars.Schema", pl.Schema, _take_schema, _build_schema, fields=(dict,)),
):
    add_recipe(_recipe)
