"""Recipes of astropy: units, quantities, angles, times, coordinates of the sky, columns and tables."""

from __future__ import annotations

import re
from fractions import Fraction

import numpy as np
from astropy import coordinates, table, time, units
from astropy.units import core
from astropy.utils.masked import Masked

from laila.codec.decoder import expect
from laila.codec.recipes import RECIPES, Recipe, add_recipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from laila.codec.decoder import Decoder

__all__: list[str] = []

_WORK = 100
_NONE: Any = type(None)
_TEXT, _ARRAY, _DICT = (str, _NONE), (np.ndarray,), (dict,)
_NUMBERS = (np.ndarray, type(Masked(np.zeros(1), mask=False)))
_MOST_POWER, _MOST_BASES = 1000, 64
_is_name = re.compile(r"[A-Za-z]\w{0,40}", re.ASCII).fullmatch
_UNITS = (core.IrreducibleUnit, core.Unit, core.PrefixUnit)
_KINDS = (core.CompositeUnit, *_UNITS)


_USUAL = {"serialize_method": time.Time(0.0, format="jd").info.serialize_method}
"""The attributes that astropy itself sets on a column."""


# -- units


def _named(name: str) -> Any:
    """The unit of that name, which must be a plain one: no text is parsed for anything else."""
    if not _is_name(name):
        raise ValueError("a name of no unit")
    result = units.Unit(name)
    if type(result) not in _UNITS:
        raise ValueError("another kind of unit")
    return result


def _take_named(value: Any) -> tuple[object, ...] | None:
    try:
        return (value.name,) if _named(value.name) is value else None
    except (ValueError, TypeError):
        return None  # a program defined it


def _take_composite(value: Any) -> tuple[object, ...] | None:
    parts = value.scale, tuple(value.bases), tuple(value.powers)
    return parts if _is_sound(*parts) else None


def _is_sound(scale: Any, bases: tuple[Any, ...], powers: tuple[Any, ...]) -> bool:
    return (
        len(bases) == len(powers) <= _MOST_BASES
        and {float, int, complex}.issuperset({type(scale)})
        and all(type(base) in _UNITS for base in bases)
        and all(type(power) in (int, float, Fraction) and abs(power) < _MOST_POWER for power in powers)
        and all(type(power) is not Fraction or power.denominator < _MOST_POWER for power in powers)
    )


def _build_composite(decoder: Decoder, scale: Any, bases: tuple[Any, ...], powers: tuple[Any, ...]) -> object:
    if not _is_sound(scale, bases, powers):
        raise ValueError("a unit that cannot be")
    return core.CompositeUnit(scale, list(bases), list(powers), _error_check=True)


# -- quantities and angles


def _name_of(value: Any) -> tuple[str | None] | None:
    """The name that a column of a table has, in a tuple; None where it has other notes."""
    notes = getattr(vars(value).get("info"), "_attrs", None) or {}
    known = ("parent_table", "indices", "name")
    if any(held for note, held in notes.items() if note not in known and held != _USUAL.get(note)):
        return None
    return None if notes.get("indices") else (notes.get("name"),)


def _with_name(result: Any, name: str | None) -> Any:
    if name is not None:
        result.info.name = name
    return result


def _values(value: Any, *own: str) -> tuple[Any, ...] | None:
    """Name, numbers and unit of a quantity; None where it has notes, or attributes, besides."""
    name = _name_of(value)
    if name is None or vars(value).keys() - {"_unit", "info", *own} or type(value.unit) not in _KINDS:
        return None
    return *name, value.view(np.ndarray), value.unit


def _quantity(kind: Any) -> Recipe:
    def build(decoder: Decoder, name: str | None, values: Any, unit: Any) -> object:
        if values.dtype.kind not in "iufc":
            raise TypeError("a quantity of what are no numbers")
        decoder.again("quantity", values, values.size >> 3)
        return _with_name(kind(values, unit, dtype=values.dtype, copy=False), name)

    return Recipe(f"astropy.{kind.__name__}", kind, _values, build, called=_TEXT, values=_ARRAY, unit=_KINDS)


def _take_longitude(value: Any) -> tuple[object, ...] | None:
    held, wrap = _values(value, "_wrap_angle"), value.wrap_angle
    plain = type(wrap) is coordinates.Angle and wrap.isscalar and wrap.unit is units.deg
    return None if held is None or not plain else (*held, float(wrap.value))


def _build_longitude(decoder: Decoder, name: str | None, values: Any, unit: Any, wrap: float) -> object:
    if values.dtype.kind != "f" or not 0 <= wrap <= 360:
        raise TypeError("not a longitude")
    decoder.again("quantity", values, values.size >> 3)
    made = coordinates.Longitude(values, unit, dtype=values.dtype, copy=False, wrap_angle=wrap * units.deg)
    return _with_name(made, name)


# -- masked numbers


def _take_masked(value: Any) -> tuple[object, ...] | None:
    name = _name_of(value)
    unit = getattr(value, "unit", None)
    if name is None or vars(value).keys() - {"_mask", "_unit", "info"} or value.dtype.kind not in "biufc":
        return None
    if unit is not None and type(unit) not in _KINDS:
        return None
    return *name, value.unmasked.view(np.ndarray), np.asarray(value._mask), unit


def _masked(kind: Any) -> Recipe:
    def build(decoder: Decoder, name: str | None, values: Any, mask: Any, unit: Any) -> object:
        if values.dtype.kind not in "biufc" or mask.dtype != bool or mask.shape != values.shape:
            raise TypeError("not masked numbers")
        decoder.again("quantity", values, values.size >> 3)
        if unit is not None:
            values = units.Quantity(values, unit, dtype=values.dtype, copy=False)
        return _with_name(Masked(values, mask=mask, copy=False), name)

    return Recipe(
        f"astropy.{kind.__name__}",
        kind,
        _take_masked,
        build,
        called=_TEXT,
        values=_ARRAY,
        mask=_ARRAY,
        unit=(_NONE, *_KINDS),
    )


# -- places on earth


def _take_location(value: Any) -> tuple[object, ...] | None:
    name = _name_of(value)
    if name is None or vars(value).keys() - {"_unit", "_ellipsoid", "info"} or type(value.unit) not in _KINDS:
        return None
    return *name, *(np.asarray(value.view(np.ndarray)[axis]) for axis in "xyz"), value.unit, value._ellipsoid


def _build_location(
    decoder: Decoder, name: str | None, x: Any, y: Any, z: Any, unit: Any, ellipsoid: str | None
) -> object:
    if any(axis.dtype != float or axis.shape != x.shape for axis in (x, y, z)):
        raise TypeError("a place of what are no numbers")
    if ellipsoid is not None and ellipsoid not in coordinates.earth.ELLIPSOIDS:
        raise ValueError("an unknown ellipsoid")
    decoder.again("place", x, x.size)
    result = coordinates.EarthLocation.from_geocentric(x, y, z, unit=unit)
    result._ellipsoid = ellipsoid
    return _with_name(result, name)


# -- times


def _take_time(value: Any) -> tuple[object, ...] | None:
    held, called = value._time, _name_of(value)
    if called is None or any(name in vars(value) for name in ("_delta_ut1_utc", "_delta_tdb_tt")):
        return None
    form = value.format, value.scale, value.precision, value.in_subfmt, value.out_subfmt
    return *called, held._jd1, held._jd2, *form, vars(value).get("_location")


def _time(kind: Any) -> Recipe:
    def build(
        decoder: Decoder,
        name: str | None,
        jd1: Any,
        jd2: Any,
        form: str,
        scale: Any,
        precision: int,
        within: str,
        out: str,
        location: Any,
    ) -> object:
        if jd1.dtype != float or jd2.dtype != float or jd1.shape != jd2.shape:
            raise TypeError("a time of what are no numbers")
        if form not in kind.FORMATS or not 0 <= precision <= 9 or max(len(within), len(out)) > 20:
            raise ValueError("a time of an unknown form")
        decoder.again("time", jd1, jd1.size)
        at = {} if location is None else {"location": location}
        result = kind(jd1, jd2, format="jd", scale=scale, precision=precision, **at)
        result._time._jd1, result._time._jd2 = jd1, jd2
        result.format, result.in_subfmt, result.out_subfmt = form, within, out
        return _with_name(result, name)

    return Recipe(
        f"astropy.{kind.__name__}",
        kind,
        _take_time,
        build,
        called=_TEXT,
        jd1=_NUMBERS,
        jd2=_NUMBERS,
        format=(str,),
        scale=_TEXT,
        precision=(int,),
        in_subfmt=(str,),
        out_subfmt=(str,),
        location=(_NONE, coordinates.EarthLocation),
    )


# -- coordinates


_FORMS = {"representation_type": ("spherical", "cartesian"), "differential_type": ("sphericalcoslat",)}
_FRAMES = ("icrs", "fk5", "fk4", "galactic", "supergalactic")


def _take_sky(value: Any) -> tuple[object, ...] | None:
    name, called = value.frame.name, _name_of(value)
    if name not in _FRAMES or called is None or value._extra_frameattr_names - {"obstime"}:
        return None
    held = {key: part for key, part in value.info._represent_as_dict().items() if key != "frame"}
    return (*called, name, held) if _are_simple(held) else None


def _are_simple(held: dict[Any, Any]) -> bool:
    kinds = (coordinates.Longitude, coordinates.Latitude, units.Quantity, coordinates.Distance, time.Time)
    return all(
        part in _FORMS[key] if type(part) is str and key in _FORMS else type(part) in kinds
        for key, part in held.items()
    )


def _build_sky(decoder: Decoder, called: str | None, name: str, held: dict[Any, Any]) -> object:
    decoder.again("sky", held, _WORK * len(held))
    if name not in _FRAMES or len(held) > 16 or not _are_simple(held):
        raise ValueError("coordinates of an unknown kind")
    parts = {expect(key, str): part for key, part in held.items()}
    return _with_name(coordinates.SkyCoord(**parts, frame=name), called)


# -- tables


def _take_column(value: Any) -> tuple[object, ...] | None:
    form = value.format
    if (form is not None and type(form) is not str) or not (value.unit is None or type(value.unit) in _KINDS):
        return None
    if value.indices:
        return None
    held = value.data if isinstance(value, np.ma.MaskedArray) else value.view(np.ndarray)
    return held, value.name, value.unit, form, value.description, dict(value.meta) or None


def _column(kind: Any, data: type) -> Recipe:
    def build(
        decoder: Decoder, values: Any, name: Any, unit: Any, form: Any, description: Any, meta: Any
    ) -> object:
        decoder.again("column", values, values.size >> 3)
        result = kind(values, name=name, unit=unit, description=description, meta=meta, copy=False)
        result._format = form
        return result

    return Recipe(
        f"astropy.{kind.__name__}",
        kind,
        _take_column,
        build,
        data=(data,),
        name=_TEXT,
        unit=(_NONE, *_KINDS),
        format=_TEXT,
        description=_TEXT,
        meta=(dict, _NONE),
    )


def _take_table(value: Any) -> tuple[object, ...] | None:
    if value.indices or value.primary_key is not None:
        return None
    columns = dict(value.columns)
    simple = all(
        type(held) in _COLUMNS and RECIPES[type(held)].take(held) is not None for held in columns.values()
    )
    return (columns, dict(value.meta), bool(value.masked)) if simple else None


def _table(kind: Any) -> Recipe:
    def build(decoder: Decoder, columns: dict[Any, Any], meta: dict[Any, Any], masked: bool) -> object:
        decoder.again("table", columns, _WORK * len(columns))
        for name, held in columns.items():
            expect(name, str)
            if type(held) not in _COLUMNS:
                raise TypeError("not a column")
        result = kind(list(columns.values()), masked=masked or None, names=list(columns), copy=False)
        result.meta.update(meta)
        return result

    return Recipe(
        f"astropy.{kind.__name__}", kind, _take_table, build, columns=_DICT, meta=_DICT, masked=(bool,)
    )


_COLUMNS = frozenset({table.Column, table.MaskedColumn, units.Quantity, time.Time, coordinates.SkyCoord})
for _kind in _UNITS:
    add_recipe(
        Recipe(
            f"astropy.{_kind.__name__}", _kind, _take_named, lambda decoder, name: _named(name), name=(str,)
        )
    )
add_recipe(
    Recipe(
        "astropy.CompositeUnit",
        core.CompositeUnit,
        _take_composite,
        _build_composite,
        scale=(int, float, complex),
        bases=(tuple,),
        powers=(tuple,),
    )
)
for _kind in (units.Quantity, coordinates.Angle, coordinates.Latitude, coordinates.Distance):
    add_recipe(_quantity(_kind))
add_recipe(
    Recipe(
        "astropy.Longitude",
        coordinates.Longitude,
        _take_longitude,
        _build_longitude,
        called=_TEXT,
        values=_ARRAY,
        unit=_KINDS,
        wrap=(float,),
    )
)
for _held in (np.zeros(1), np.zeros(1) * units.m):
    add_recipe(_masked(type(Masked(_held, mask=False))))
add_recipe(
    Recipe(
        "astropy.EarthLocation",
        coordinates.EarthLocation,
        _take_location,
        _build_location,
        called=_TEXT,
        x=_ARRAY,
        y=_ARRAY,
        z=_ARRAY,
        unit=_KINDS,
        ellipsoid=_TEXT,
    )
)
for _kind in (time.Time, time.TimeDelta):
    add_recipe(_time(_kind))
add_recipe(
    Recipe(
        "astropy.SkyCoord",
        coordinates.SkyCoord,
        _take_sky,
        _build_sky,
        called=_TEXT,
        frame=(str,),
        parts=_DICT,
    )
)
add_recipe(_column(table.Column, np.ndarray))
add_recipe(_column(table.MaskedColumn, np.ma.MaskedArray))
for _kind in (table.Table, table.QTable):
    add_recipe(_table(_kind))
