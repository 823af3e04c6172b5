"""Rows of the time zones of pytz and dateutil, which pandas takes beside the standard library's.

A row has the name of a zone, never that of a file: reading finds what the library has by that name.
"""

from __future__ import annotations

import re
from datetime import timedelta

from laila.codec import tags
from laila.codec.decoder import Decoder, expect
from laila.codec.registry import DECODERS, FAMILIES
from laila.errors import MissingPluginError, PayloadError
from laila.showing import said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from laila.codec.encoder import Encoder

    Row = list[object]

__all__ = ["is_zone"]

is_zone = re.compile(r"(?!dateutil/)\w[\w+-]*(?:/\w[\w+-]*)*", re.ASCII).fullmatch
"""Names of zones that name no file: some libraries open others."""


def _encode_pytz(value: Any, encoder: Encoder) -> Row:
    row = [tags.FOREIGN_ZONE, "pytz", *_pytz_fields(value)]
    return row if len(row) > 2 and _pytz(*row[2:]) is value else _pickled(value, encoder)


def _pytz_fields(value: Any) -> Row:
    """Name, and for one of a zone's several rules its offset, its saving and its name; or minutes."""
    if type(value).__name__ == "_FixedOffset":
        return [value._minutes]
    name = value.zone
    if not (type(name) is str and is_zone(name)):
        return []
    if getattr(value, "_tzinfos", None) is None:
        return [name]
    return [name, value._utcoffset, value._dst, value._tzname]


def _pytz(name: object, *rule: object) -> object:
    import pytz

    if type(name) is int and not rule:
        if not -1440 < name < 1440:
            raise ValueError("an impossible offset")
        return pytz.FixedOffset(name)
    if not is_zone(expect(name, str)):
        raise ValueError("no name of a zone")
    result: Any = pytz.timezone(name)
    if rule:
        offset, saving, short = rule
        key = (expect(offset, timedelta), expect(saving, timedelta), expect(short, str))
        result = result._tzinfos[key]
    elif getattr(result, "_tzinfos", None) is not None:
        raise ValueError("a zone without the rule that holds")
    return result


def _encode_dateutil(value: Any, encoder: Encoder) -> Row:
    from dateutil import tz

    kind = type(value)
    if kind is tz.tzutc:
        return [tags.FOREIGN_ZONE, "dateutil"]
    if kind is tz.tzoffset:
        name, offset = value._name, value._offset
        if (name is None or type(name) is str) and type(offset) is timedelta:
            return [tags.FOREIGN_ZONE, "dateutil", name, offset]
    elif kind is tz.tzfile:
        name = getattr(value, "_key", None) or _relative(getattr(value, "_filename", None))
        if type(name) is str and is_zone(name) and _same_zone(tz.gettz(name), value):
            return [tags.FOREIGN_ZONE, "dateutil", name]
    return _pickled(value, encoder)


def _relative(path: object) -> str | None:
    """The part of a path below the folder of zones."""
    before, result, name = str(path).partition("/zoneinfo/")
    return name if result and "/" not in before[-1:] else None


def _same_zone(zone: Any, value: Any) -> bool:
    return zone is value or (
        type(zone) is type(value) and zone == value and zone._filename == value._filename
    )


def _dateutil(*fields: object) -> object:
    from dateutil import tz

    if not fields:
        return tz.tzutc()
    name = None if fields[0] is None else expect(fields[0], str)
    if len(fields) == 2:
        return tz.tzoffset(name, expect(fields[1], timedelta))
    if len(fields) != 1 or name is None or not is_zone(name):
        raise ValueError("no name of a zone")
    result: Any = tz.gettz(name)
    if type(result) is not tz.tzfile:
        raise LookupError(f"no zone of the name {name[:80]}")
    return result


def _decode_zone(row: Row, decoder: Decoder) -> object:
    library = expect(row[1], str)
    if library not in ("pytz", "dateutil"):
        raise ValueError("an unknown library of time zones")
    rebuild: Any = _pytz if library == "pytz" else _dateutil
    try:
        result: object = rebuild(*row[2:])
        return result
    except ImportError as error:
        raise MissingPluginError(
            f"the payload of {decoder.blob.key} needs {library}, which cannot be imported here: "
            f"pip install {library}",
            plugin=library,
            distribution=library,
        ) from error
    except LookupError as error:
        raise PayloadError(
            f"the payload of {decoder.blob.key} uses a time zone of {library} that is not known here: "
            f"{said(error, 100)}; another release of {library}, or of the system's zone data, may know it",
            path=library,
        ) from error


def _pickled(value: object, encoder: Encoder) -> Row:
    from laila.codec.signed import encode_pickled

    return encode_pickled(value, encoder)


FAMILIES.update(
    {
        "pytz.tzinfo:BaseTzInfo": _encode_pytz,
        "pytz:_FixedOffset": _encode_pytz,
        "dateutil.tz.tz:tzutc": _encode_dateutil,
        "dateutil.tz.tz:tzoffset": _encode_dateutil,
        "dateutil.tz.tz:tzfile": _encode_dateutil,
        "dateutil.tz._tzfile:tzfile": _encode_dateutil,
    }
)
DECODERS[tags.FOREIGN_ZONE] = _decode_zone
