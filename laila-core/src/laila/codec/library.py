"""Rows of more data types of the standard library.

Addresses, read-only views of mappings, records of the operating system, files in memory.
"""

from __future__ import annotations

import io
import ipaddress
import os
import sys
import time
from gc import get_referents
from types import MappingProxyType, ModuleType

from laila.codec import tags
from laila.codec.containers import only
from laila.codec.decoder import Decoder, expect
from laila.codec.invariants import fields_of_row
from laila.codec.registry import DECODERS, ENCODERS, QUICK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from laila.codec.encoder import Encoder

    Row = list[object]

__all__ = ["NAMESPACES"]

_NETS: tuple[Any, ...] = (
    *(ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Network, ipaddress.IPv6Network),
    *(ipaddress.IPv4Interface, ipaddress.IPv6Interface),
)
_NUMBERS = {kind: number for number, kind in enumerate(_NETS)}
_RECORDS: dict[str, Any] = {
    f"os.{kind.__name__}": kind
    for name in ("stat_result", "statvfs_result", "terminal_size", "times_result", "uname_result")
    if (kind := getattr(os, name, None)) is not None
} | {"time.struct_time": time.struct_time}
_RECORD_NAMES = {kind: name for name, kind in _RECORDS.items()}


def _encode_ip4(value: ipaddress.IPv4Address, encoder: Encoder) -> Row:
    return [tags.IP, 0, int(value._ip)]  # type: ignore[attr-defined]  # made of a bool or a member of an enum


def _encode_ip6(value: ipaddress.IPv6Address, encoder: Encoder) -> Row:
    return [tags.IP, 1, value.packed if value.scope_id is None else str(value)]


def _encode_net(value: Any, encoder: Encoder) -> Row:
    return [tags.IP, _NUMBERS[type(value)], str(value)]


def _decode_ip(row: Row, decoder: Decoder) -> object:
    number, content = fields_of_row(row)
    if not 0 <= number < len(_NETS):
        raise ValueError("an unknown kind of address")
    if number == 0:
        return ipaddress.IPv4Address(expect(content, int))
    if number == 1 and type(content) is bytes:
        return ipaddress.IPv6Address(content)
    found = _NETS[number](expect(content, str))
    if str(found) != content:
        raise ValueError("an address that is written otherwise")
    return found


def _encode_proxy(value: MappingProxyType[Any, Any], encoder: Encoder) -> Row:
    (mapping,) = get_referents(value)
    return [tags.MAPPING_PROXY, mapping]


def _decode_proxy(row: Row, decoder: Decoder) -> object:
    (mapping,) = only(row, 1)
    return MappingProxyType(mapping)  # type: ignore[arg-type]  # raises TypeError for other types


def _encode_record(value: Any, encoder: Encoder) -> Row:
    _, (items, named) = value.__reduce__()
    return [tags.RECORD, _RECORD_NAMES[type(value)], items, named]


def _decode_record(row: Row, decoder: Decoder) -> object:
    name, items, named = only(row, 3)
    kind = _RECORDS.get(expect(name, str))
    if kind is None:
        raise ValueError("an unknown kind of record")
    return kind(expect(items, tuple), expect(named, dict))


NAMESPACES = frozenset({"numpy", "scipy._lib.array_api_compat.numpy"})
"""The modules that results of scipy hold: the functions for their arrays."""


def _encode_module(value: ModuleType, encoder: Encoder) -> Row:
    name = value.__name__
    if name in NAMESPACES and value is sys.modules.get(name):
        return [tags.REBUILT, "numpy.module", name]
    from laila.codec.signed import encode_pickled

    return encode_pickled(value, encoder)


_LINE_ENDS = ("\n", "\r", "\r\n")


def _encode_memory_file(value: Any, encoder: Encoder) -> Row:
    if value.closed:
        encoder.refuse("a closed file in memory has no content any more")
    *state, attributes = value.__getstate__()
    if attributes:
        from laila.codec.signed import encode_pickled

        return encode_pickled(value, encoder)
    met = getattr(value, "newlines", None)
    if met is None:
        return [tags.MEMORY_FILE, *state]
    ends = (met,) if type(met) is str else met
    return [tags.MEMORY_FILE, *state, sum(1 << _LINE_ENDS.index(end) for end in ends)]


def _decode_memory_file(row: Row, decoder: Decoder) -> object:
    content, *more = row[1:]
    if type(content) is bytes:
        (place,) = more
        position = expect(place, int)
        file = io.BytesIO(content)  # which copies nothing before somebody writes
        file.seek(position)  # ValueError before the file
        return file
    content = expect(content, str)
    newline, place, *ends = more
    if not (newline is None or type(newline) is str):
        raise TypeError("not the state of a file in memory")
    found: Any = io.StringIO(newline=newline)
    if ends:
        _write_lines(found, content, newline, ends)
        found.seek(expect(place, int))
    else:
        found.__setstate__((content, newline, expect(place, int), None))
    return found


def _write_lines(file: io.StringIO, content: str, newline: str | None, ends: list[Any]) -> None:
    """Fill ``file`` so that it has met just these ends of lines, which it tells as ``newlines``."""
    (number,) = ends
    if not 0 < expect(number, int) < 1 << len(_LINE_ENDS) or newline:
        raise ValueError("unknown ends of lines")
    met = [end for place, end in enumerate(_LINE_ENDS) if number >> place & 1]
    if newline is None:  # each end became a line feed when it was written
        file.write(content.replace("\n", met[-1]))
    elif "\r\n" in met:
        file.write(content)
    else:
        first, *pieces = content.split("\r\n")
        file.write(first)
        for piece in pieces:
            file.write("\r")  # by itself, as it was
            file.write("\n" + piece)
    size = file.tell()
    file.writelines(met)
    file.truncate(size)


ENCODERS.update(
    {
        ipaddress.IPv4Address: _encode_ip4,
        ipaddress.IPv6Address: _encode_ip6,
        **dict.fromkeys(_NETS[2:], _encode_net),
        MappingProxyType: _encode_proxy,
        **dict.fromkeys(_RECORD_NAMES, _encode_record),
        ModuleType: _encode_module,
        io.BytesIO: _encode_memory_file,
        io.StringIO: _encode_memory_file,
    }
)
QUICK.update((_encode_ip4, _encode_ip6, _encode_net))
DECODERS.update(
    {
        tags.IP: _decode_ip,
        tags.MAPPING_PROXY: _decode_proxy,
        tags.RECORD: _decode_record,
        tags.MEMORY_FILE: _decode_memory_file,
    }
)
