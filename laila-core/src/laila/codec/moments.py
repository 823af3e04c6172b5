"""Rows of pandas' scalars: timestamps, durations, periods, intervals, offsets, and what is missing."""

from __future__ import annotations

from datetime import time, timedelta, tzinfo

import numpy as np
import pandas as pd

from laila.codec import tags
from laila.codec.arrays import plain_array
from laila.codec.containers import only
from laila.codec.decoder import Decoder, expect, one_of
from laila.codec.registry import DECODERS, ENCODERS, type_name
from laila.codec.signed import encode_pickled
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from laila.codec.encoder import Encoder

    Row = list[object]

__all__ = ["UNITS"]

UNITS = {"s": 7, "ms": 8, "us": 9, "ns": 10}
"""The units of pandas' times, and their numbers in numpy and pandas."""
_CONSTANTS = (pd.NaT, pd.NA)
_NUMBERS = (int, float, pd.Timestamp, pd.Timedelta)
_FEW = 8
_CLOSED = ("left", "right", "both", "neither")


def _no_attributes(value: Any, encoder: Encoder) -> None:
    """Refuse an object on which attributes of its own were set: pandas keeps no such thing either."""
    own = next((name for name in getattr(value, "__dict__", ()) if name[:1] != "_"), None)
    if own is not None:
        encoder.refuse(
            f"an attribute {own!s:.80} was set on a {type_name(type(value))}, which pandas loses "
            "in every operation; store it beside the value"
        )


def _encode_timestamp(value: Any, encoder: Encoder) -> Row:
    _no_attributes(value, encoder)
    return [tags.TIMESTAMP, value._value, value.unit, value.tzinfo, value.fold]


def _decode_timestamp(row: Row, decoder: Decoder) -> object:
    number, unit, zone, fold = only(row, 4)
    if zone is not None and not isinstance(zone, tzinfo):
        raise TypeError("not a time zone")
    result: Any = pd.Timestamp._from_value_and_reso(expect(number, int), UNITS[expect(unit, str)], zone)
    if type(result) is not pd.Timestamp:
        raise ValueError("not a timestamp")
    if result.fold != expect(fold, int):
        if fold not in (0, 1):
            raise ValueError("an impossible fold")
        result = result.replace(fold=fold)
    return result


def _encode_timedelta(value: Any, encoder: Encoder) -> Row:
    _no_attributes(value, encoder)
    return [tags.PANDAS_TIMEDELTA, value._value, value.unit]


def _decode_timedelta(row: Row, decoder: Decoder) -> object:
    number, unit = only(row, 2)
    result: object = pd.Timedelta._from_value_and_reso(expect(number, int), UNITS[expect(unit, str)])
    if type(result) is not pd.Timedelta:
        raise ValueError("not a duration")
    return result


def _encode_period(value: Any, encoder: Encoder) -> Row:
    _no_attributes(value, encoder)
    return [tags.PERIOD, value.ordinal, value.freq]


def _decode_period(row: Row, decoder: Decoder) -> object:
    ordinal, freq = only(row, 2)
    if not isinstance(freq, pd.offsets.BaseOffset):
        raise TypeError("a period without a frequency")
    result: object = pd.Period(ordinal=expect(ordinal, int), freq=freq)
    if type(result) is not pd.Period:
        raise ValueError("not a period")
    return result


def _encode_interval(value: Any, encoder: Encoder) -> Row:
    if not all(_is_endpoint(end) for end in (value.left, value.right)):
        return encode_pickled(value, encoder)
    return [tags.INTERVAL, value.left, value.right, value.closed]


def _is_endpoint(value: object) -> bool:
    return type(value) in _NUMBERS or (isinstance(value, np.number) and type(value).__module__ == "numpy")


def _decode_interval(row: Row, decoder: Decoder) -> object:
    left, right, closed = only(row, 3)
    if not (_is_endpoint(left) and _is_endpoint(right)) or not one_of(closed, *_CLOSED):
        raise ValueError("an interval of what is no number and no time")
    result: object = pd.Interval(left, right, closed)
    return result


# -- offsets

_OFFSETS: dict[str, Any] = {
    kind.__name__: kind
    for kind in map(pd.offsets.__dict__.get, pd.offsets.__all__)
    if kind not in (pd.offsets.BaseOffset, pd.offsets.Tick)
}
_PARTS = frozenset(
    f"{name}{plural}"
    for name in ("year", "month", "day", "hour", "minute", "second", "millisecond", "microsecond")
    for plural in ("", "s")
) | {"nanosecond", "nanoseconds", "weeks", "weekday", "leapdays", "yearday", "nlyearday"}
_ATTRIBUTES = {
    "n": (int,),
    "normalize": (bool,),
    **dict.fromkeys(("weekday", "week", "month", "startingMonth", "day_of_month"), (int, type(None))),
    **dict.fromkeys(("qtr_with_extra_week", "method"), (int,)),
    "variation": (str,),
    "offset": (timedelta, pd.Timedelta),
    "weekmask": (str,),
    "start": (tuple,),
    "end": (tuple,),
    "holidays": (tuple,),
}


def _encode_offset(value: Any, encoder: Encoder) -> Row:
    kind = type(value)
    name = kind.__name__
    if kind._attributes == ("n", "normalize"):
        return [tags.OFFSET, name, value.n, value.normalize]
    fields = _fields_of(value, encoder)
    try:
        arguments = _arguments(name, fields)
        # Other classes keep their argument as an attribute; this class changes it.
        same = kind is not pd.DateOffset or bool(kind(**arguments) == value)
    except (TypeError, ValueError, KeyError, AttributeError):
        same = False
    return [tags.OFFSET, name, *fields] if same else encode_pickled(value, encoder)


def _fields_of(value: Any, encoder: Encoder) -> Row:
    if type(value) is pd.DateOffset:
        return [value.n, value.normalize, _plain_parts(value.kwds)]
    fields = [getattr(value, name) for name in value._attributes]
    for position, field in enumerate(fields):
        if type(field) is np.busdaycalendar:
            # Many offsets may have one calendar, which is kept alive by them.
            parts = (field.weekmask.copy(), field.holidays.copy())
            for part in parts:
                part.setflags(write=False)  # they are laila's alone, and need no second copy
            fields[position] = encoder.notes.setdefault(("calendar", id(field)), parts)
    return fields


def _plain_parts(parts: dict[str, Any]) -> dict[str, object]:
    """The parts of a DateOffset, a weekday of dateutil (``MO(+1)``) as a tuple."""
    return {
        name: (part.weekday, part.n) if type(part).__name__ == "weekday" else part
        for name, part in parts.items()
    }


def _decode_offset(row: Row, decoder: Decoder) -> object:
    for field in row[2:]:
        for part in field if type(field) is tuple and len(field) < _FEW else (field,):
            if type(part) in (tuple, np.ndarray):
                decoder.again("offset", part, 100 * len(part))
    arguments = _arguments(row[1], row[2:])
    result: object = _OFFSETS[expect(row[1], str)](**arguments)
    return result


def _arguments(name: object, fields: Row) -> dict[str, Any]:
    """Return the arguments for the class of an offset. Raises an error for an unknown class."""
    kind = _OFFSETS[expect(name, str)]
    if kind is pd.DateOffset:
        n, normalize, parts = fields
        return {"n": expect(n, int), "normalize": expect(normalize, bool), **_parts(expect(parts, dict))}
    names = kind._attributes
    if len(fields) != len(names):
        raise ValueError(f"{len(fields)} attributes for an offset {shown(name)}")
    values: dict[str, Any] = dict(zip(names, fields, strict=True))
    for key, value in values.items():
        if key == "calendar":
            values[key] = _calendar(value)
        elif type(value) not in _ATTRIBUTES[key]:
            raise TypeError(f"an impossible {key}")
        elif key in ("start", "end") and not all(type(item) is time for item in value):
            raise TypeError("hours that are no times")
        elif key == "holidays" and not all(type(item) is np.datetime64 for item in value):
            raise TypeError("holidays that are no days")
    return values


def _parts(arguments: dict[object, Any]) -> dict[str, Any]:
    from dateutil.relativedelta import weekday

    result: dict[str, Any] = {}
    for name, part in arguments.items():
        if name not in _PARTS:
            raise ValueError("an unknown part of an offset")
        if type(part) is tuple and name == "weekday":
            day, n = part
            result[name] = weekday(expect(day, int), None if n is None else expect(n, int))
        elif type(part) in (int, float):
            result[str(name)] = part
        else:
            raise TypeError("a part of an offset that is no number")
    return result


def _calendar(value: object) -> Any:
    if value is None:
        return None
    mask, days = expect(value, tuple)
    if plain_array(mask).dtype != np.bool_ or plain_array(days).dtype != "M8[D]":
        raise ValueError("a calendar of another type")
    return np.busdaycalendar(mask, days)


ENCODERS.update(
    {
        pd.Timestamp: _encode_timestamp,
        pd.Timedelta: _encode_timedelta,
        pd.Period: _encode_period,
        pd.Interval: _encode_interval,
        type(pd.NaT): lambda value, encoder: [tags.PANDAS_CONSTANT, 0],
        type(pd.NA): lambda value, encoder: [tags.PANDAS_CONSTANT, 1],
    }
)
ENCODERS.update(dict.fromkeys(_OFFSETS.values(), _encode_offset))


def _decode_constant(row: Row, decoder: Decoder) -> object:
    (number,) = only(row, 1)
    if type(number) is not int or not 0 <= number < len(_CONSTANTS):
        raise ValueError("no such constant")
    return _CONSTANTS[number]


DECODERS.update(
    {
        tags.PANDAS_CONSTANT: _decode_constant,
        tags.TIMESTAMP: _decode_timestamp,
        tags.PANDAS_TIMEDELTA: _decode_timedelta,
        tags.PERIOD: _decode_period,
        tags.INTERVAL: _decode_interval,
        tags.OFFSET: _decode_offset,
    }
)
