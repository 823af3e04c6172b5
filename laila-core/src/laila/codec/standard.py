"""Rows of the standard library's data types: dates, numbers, paths, ids and the richer containers."""

from __future__ import annotations

import re
import sys
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from math import gcd
from pathlib import PosixPath, PurePath, PurePosixPath, PureWindowsPath, WindowsPath
from types import SimpleNamespace
from uuid import UUID, SafeUUID
from zoneinfo import ZoneInfo

from laila.codec import tags
from laila.codec.containers import dict_of, only, pairs_of
from laila.codec.decoder import WORK_OF_ATTRIBUTE, Decoder, expect, one_of
from laila.codec.invariants import fields_of_row
from laila.codec.plain import INLINE_BYTES
from laila.codec.registry import DECODERS, ENCODERS, QUICK
from laila.errors import CorruptEntryError
from laila.showing import said, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from laila.codec.encoder import Encoder
    from laila.codec.registry import EncodeFunction

    Row = list[object]

__all__: list[str] = []

_FACTORIES: dict[type, str] = {
    kind: kind.__name__
    for kind in (
        *(list, dict, set, frozenset, tuple, int, float, complex, bool, str, bytes, bytearray, object),
        *(Counter, OrderedDict, defaultdict, deque, SimpleNamespace, Decimal, Fraction),
    )
}
_FACTORY_NAMES = {name: kind for kind, name in _FACTORIES.items()}
_PATHS = (PurePosixPath, PureWindowsPath, PosixPath, WindowsPath)
_is_zone = re.compile(r"\w[\w+-]*(?:/\w[\w+-]*)*", re.ASCII).fullmatch  # names no file outside the zones
MAX_ZONES = 1000
"""How many zones beside the common ones a payload may have: each is read from the system's files anew."""
_SMALL = 4096  # bits of numbers whose common factor is looked for


def _pickled(value: object, encoder: Encoder) -> Row:
    from laila.codec.signed import encode_pickled

    return encode_pickled(value, encoder)


def _encode_mapping(tag: int) -> EncodeFunction:
    def encode(value: Any, encoder: Encoder) -> Row:
        # Their instances can bear attributes of their own; torch's state dicts do.
        return [tag, _own_attributes(value, encoder), *pairs_of(value)]

    return encode


def _own_attributes(value: Any, encoder: Encoder) -> dict[str, object] | None:
    attributes: dict[str, object] = value.__dict__
    if type(attributes) is not dict or not {str}.issuperset(map(type, attributes)):
        encoder.refuse(
            f"its __dict__ is a {type(attributes).__name__} or has keys that are no text; a plain dict "
            f"comes back"
        )
    return attributes or None


def _with_attributes(instance: object, attributes: object, decoder: Decoder) -> object:
    if attributes is not None:
        decoder.again("attributes", attributes, WORK_OF_ATTRIBUTE * len(expect(attributes, dict)))
        for name, value in expect(attributes, dict).items():
            instance.__dict__[expect(name, str)] = value
    return instance


def _encode_default_dict(value: defaultdict[object, object], encoder: Encoder) -> Row:
    factory = value.default_factory
    name = _FACTORIES.get(factory) if isinstance(factory, type) else None
    if factory is not None and name is None:
        return _pickled(value, encoder)
    return [tags.DEFAULT_DICT, name, *pairs_of(value)]


def _decode_default_dict(row: Row, decoder: Decoder) -> object:
    name = row[1]
    factory = None if name is None else _FACTORY_NAMES[expect(name, str)]
    return defaultdict(factory, dict_of(row, 2, decoder))


def _decode_counter(row: Row, decoder: Decoder) -> object:
    counts: dict[object, Any] = dict_of(row, 2, decoder)
    counter: Counter[object] = Counter()
    for key, count in counts.items():
        counter[key] = count  # Counter(counts) would add up, and hold counts to be numbers
    return _with_attributes(counter, row[1], decoder)


def _decode_deque(row: Row, decoder: Decoder) -> object:
    limit = row[1]
    items = deque(row[2:], None if limit is None else expect(limit, int))
    if len(items) != len(row) - 2:
        raise ValueError("a deque longer than its limit")
    return items


def _decode_namespace(row: Row, decoder: Decoder) -> object:
    result = SimpleNamespace()
    for name, value in dict_of(row, 1, decoder).items():
        result.__dict__[expect(name, str)] = value
    return result


def _encode_namespace(value: SimpleNamespace, encoder: Encoder) -> Row:
    return [tags.NAMESPACE, *pairs_of(_own_attributes(value, encoder) or {})]


def _clock(value: time | datetime) -> Row:
    return [value.hour, value.minute, value.second, value.microsecond, value.fold, value.tzinfo]


def _zone(value: object) -> tzinfo | None:
    if value is not None and not isinstance(value, tzinfo):
        raise TypeError("not a time zone")
    return value


def _decode_time(row: Row, decoder: Decoder) -> object:
    hour, minute, second, micro, fold, zone = fields_of_row(row)
    return time(hour, minute, second, micro, _zone(zone), fold=fold)


def _encode_datetime(value: datetime, encoder: Encoder) -> Row:
    return [tags.DATETIME, value.year, value.month, value.day, *_clock(value)]


def _decode_datetime(row: Row, decoder: Decoder) -> object:
    year, month, day, hour, minute, second, micro, fold, zone = fields_of_row(row)
    return datetime(year, month, day, hour, minute, second, micro, _zone(zone), fold=fold)


def _encode_timezone(value: timezone, encoder: Encoder) -> Row:
    offset, *name = value.__getinitargs__()  # type: ignore[attr-defined]  # the one exact way to its name
    return [tags.TIMEZONE, offset.days, offset.seconds, offset.microseconds, *(name or [None])]


def _decode_timezone(row: Row, decoder: Decoder) -> object:
    *numbers, name = fields_of_row(row)
    offset = timedelta(*numbers)
    # It may be a text of another class, such as numpy's.
    return timezone(offset) if name is None else timezone(offset, name)


def _encode_zone(value: ZoneInfo, encoder: Encoder) -> Row:
    if value.key is None:
        encoder.refuse(
            "a ZoneInfo without a key: it was read from a file that nobody else has; use ZoneInfo(key)"
        )
    if type(value.key) is not str or not _is_zone(value.key):
        encoder.refuse(f"a ZoneInfo with the odd key {shown(value.key)}; use ZoneInfo(key)")
    try:
        reduced: Any = value.__reduce__()
        common = bool(reduced[1][1])
    except Exception as error:  # noqa: BLE001 - pickle's own error, which nothing here may import
        encoder.refuse(
            "a ZoneInfo that was read from a file, whatever its key says; use ZoneInfo(key)", error
        )
    # After a cache was cleared there are two objects for one zone, and one may be the shared one.
    if common and encoder.notes.setdefault((tags.ZONE, value.key), value) is value:
        return [tags.ZONE, value.key]
    # One beside the one that everybody gets: two datetimes in it and in that one are not subtracted by the
    # clock on the wall.
    if not encoder.count(tags.OWN_ZONE, MAX_ZONES):
        encoder.refuse(f"more than {MAX_ZONES} ZoneInfo objects of their own (no_cache); use ZoneInfo(key)")
    return [tags.OWN_ZONE, value.key]


def _decode_zone(row: Row, decoder: Decoder) -> object:
    (text,) = fields_of_row(row)
    if row[0] == tags.OWN_ZONE and not decoder.count(tags.OWN_ZONE, MAX_ZONES):
        raise ValueError(f"more than {MAX_ZONES} time zones of their own")
    try:
        if not _is_zone(text):
            raise ValueError("no name of a zone")
        return ZoneInfo(text) if row[0] == tags.ZONE else ZoneInfo.no_cache(text)
    except (LookupError, OSError, ValueError) as error:
        raise CorruptEntryError(
            f"the payload of {decoder.blob.key} uses the time zone {shown(text)}, which is not known here "
            f"({said(error)}); "
            "the system's zone data may be missing: pip install tzdata",
            key=decoder.blob.key,
        ) from error


def _decode_date(row: Row, decoder: Decoder) -> object:
    return date(*fields_of_row(row))


def _decode_timedelta(row: Row, decoder: Decoder) -> object:
    return timedelta(*fields_of_row(row))


def _decimal_text(value: Decimal) -> str:
    return str(value).replace("e", "E")  # the context decides which of both


def _decode_decimal(row: Row, decoder: Decoder) -> object:
    (text,) = fields_of_row(row)
    result = Decimal(text)
    if _decimal_text(result) != text:
        # Where the context does not trap it, Decimal makes a NaN of what is no number.
        raise ValueError("a decimal that is written otherwise")
    return result


def is_integer(value: object) -> bool:
    """Whether ``value`` is an int, or an integer of numpy's, which ``Fraction`` and ``UUID`` keep."""
    numpy = sys.modules.get("numpy")
    return isinstance(value, int) or (numpy is not None and isinstance(value, numpy.integer))


def _encode_fraction(value: Fraction, encoder: Encoder) -> Row:
    parts = (value._numerator, value._denominator)  # type: ignore[attr-defined]
    if not all(map(is_integer, parts)):
        return _pickled(value, encoder)
    return [tags.FRACTION, *parts]


def _decode_fraction(row: Row, decoder: Decoder) -> object:
    parts: Any = only(row, 2)
    if not all(map(is_integer, parts)):
        raise TypeError("a fraction of what is no int")
    numerator, denominator = map(int, parts)
    if denominator <= 0:
        raise ValueError("a fraction with an impossible denominator")
    if max(numerator.bit_length(), denominator.bit_length()) <= _SMALL and gcd(numerator, denominator) != 1:
        raise ValueError("a fraction that is not in lowest terms")
    # Not Fraction(n, d): it would look for a common factor, which takes minutes for hostile numbers.
    result = Fraction()
    result._numerator, result._denominator = parts  # type: ignore[attr-defined]
    return result


def _encode_uuid(value: UUID, encoder: Encoder) -> Row:
    number = value.int
    return [
        tags.UUID,
        number.to_bytes(16, "big") if type(number) is int else number,  # which may be numpy's
        value.is_safe.value,
    ]


def _decode_uuid(row: Row, decoder: Decoder) -> object:
    data: Any
    data, safe = row[1:] if is_integer(row[1]) else fields_of_row(row)
    if type(data) is bytes:
        return UUID(bytes=data, is_safe=SafeUUID(safe))
    result = UUID(int=int(data), is_safe=SafeUUID(safe))
    object.__setattr__(result, "int", data)
    return result


def _encode_path(value: PurePath, encoder: Encoder) -> Row:
    return [tags.PATH, _PATHS.index(type(value)), str(value)]


def _decode_path(row: Row, decoder: Decoder) -> object:
    number, text = fields_of_row(row)
    if not 0 <= number < len(_PATHS):
        raise ValueError("an unknown kind of path")
    return _PATHS[number](text)


def _encode_array(value: array[Any], encoder: Encoder) -> Row:
    if value.typecode in "uw":
        # Its width differs between systems and it may hold what is no text: code points are exact.
        points = array("I", [ord(c) for c in value])
        return [tags.ARRAY_ARRAY, None, value.typecode, 4, sys.byteorder, points.tobytes()]
    data = value.tobytes()
    fields = [value.typecode, value.itemsize, sys.byteorder]
    if len(data) >= INLINE_BYTES:
        return [tags.ARRAY_ARRAY, encoder.add_buffer(memoryview(data)), *fields, None]
    return [tags.ARRAY_ARRAY, None, *fields, data]


def _decode_array(row: Row, decoder: Decoder) -> object:
    number, typecode, itemsize, byteorder, inline = only(row, 5)
    code = expect(typecode, str)
    data = decoder.copied(inline) if number is None else decoder.plain_buffer(number, row[0])
    if len(code) != 1 or code not in "bBuwhHiIlLqQfd" or not one_of(byteorder, "little", "big"):
        raise ValueError("an unknown kind of array")
    text = code in "uw"
    result = array("I" if text else code)
    if result.itemsize != expect(itemsize, int):
        raise ValueError(f"an array of another size of item than {result.itemsize}, which it is here")
    result.frombytes(data)
    if byteorder != sys.byteorder:
        result.byteswap()
    return array(code, "".join(map(chr, result))) if text else result


ENCODERS.update(
    {
        OrderedDict: _encode_mapping(tags.ORDERED_DICT),
        Counter: _encode_mapping(tags.COUNTER),
        defaultdict: _encode_default_dict,
        deque: lambda value, encoder: [tags.DEQUE, value.maxlen, *value],
        SimpleNamespace: _encode_namespace,
        date: lambda value, encoder: [tags.DATE, value.year, value.month, value.day],
        time: lambda value, encoder: [tags.TIME, *_clock(value)],
        datetime: _encode_datetime,
        timedelta: lambda value, encoder: [tags.TIMEDELTA, value.days, value.seconds, value.microseconds],
        timezone: _encode_timezone,
        ZoneInfo: _encode_zone,
        Decimal: lambda value, encoder: [tags.DECIMAL, _decimal_text(value)],
        Fraction: _encode_fraction,
        UUID: _encode_uuid,
        array: _encode_array,
    }
)
ENCODERS.update((kind, _encode_path) for kind in _PATHS)
QUICK.update(
    ENCODERS[kind]
    for kind in (OrderedDict, date, time, datetime, timedelta, timezone, Decimal, UUID, *_PATHS)
)
DECODERS.update(
    {
        tags.ORDERED_DICT: lambda row, decoder: _with_attributes(
            OrderedDict(dict_of(row, 2, decoder)), row[1], decoder
        ),
        tags.COUNTER: _decode_counter,
        tags.DEFAULT_DICT: _decode_default_dict,
        tags.DEQUE: _decode_deque,
        tags.NAMESPACE: _decode_namespace,
        tags.DATE: _decode_date,
        tags.TIME: _decode_time,
        tags.DATETIME: _decode_datetime,
        tags.TIMEDELTA: _decode_timedelta,
        tags.TIMEZONE: _decode_timezone,
        tags.ZONE: _decode_zone,
        tags.OWN_ZONE: _decode_zone,
        tags.DECIMAL: _decode_decimal,
        tags.FRACTION: _decode_fraction,
        tags.UUID: _decode_uuid,
        tags.PATH: _decode_path,
        tags.ARRAY_ARRAY: _decode_array,
    }
)
