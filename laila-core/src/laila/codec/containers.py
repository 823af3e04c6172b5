"""Rows of the builtin types: containers, and the scalars that MessagePack lacks."""

from __future__ import annotations

from itertools import chain, islice

from laila.codec import tags
from laila.codec.invariants import fields_of_row
from laila.codec.limits import CHEAP, work_of_range
from laila.codec.plain import INLINE_BYTES
from laila.codec.registry import DECODERS, ENCODERS, QUICK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from laila.codec.decoder import Decoder
    from laila.codec.encoder import Encoder

    Row = list[object]

__all__: list[str] = []

_CONSTANTS: tuple[object, ...] = (Ellipsis, NotImplemented)


def pairs_of(mapping: Mapping[Any, object]) -> Row:
    """Keys and values in turn."""
    # One snapshot of both, so that a change by another thread cannot pair a key with another's value.
    if type(mapping) is dict:
        return [*chain.from_iterable(list(mapping.items()))]
    # An OrderedDict with a key whose hash has changed never comes to its end.
    most = 2 * len(mapping) + 1000
    pairs = list(islice(mapping.items(), most))
    if len(pairs) == most:
        raise ValueError("its keys have no end: did the hash of one change?")
    return [*chain.from_iterable(pairs)]


def dict_of(row: Row, start: int, decoder: Decoder) -> dict[object, object]:
    """The dict whose keys and values, in turn, begin at ``start``."""
    keys, values = row[start::2], row[start + 1 :: 2]
    if not CHEAP.issuperset(map(type, keys)):
        decoder.check_keys(keys)
    if len(keys) != len(values):
        raise ValueError("a key without a value")
    result = dict(zip(keys, values, strict=True))
    if len(result) != len(keys):
        raise ValueError("a key twice")
    return result


def members_of(row: Row, decoder: Decoder) -> frozenset[object]:
    """The members of a set's row."""
    decoder.check_keys(row[1:])
    result = frozenset(row[1:])
    if len(result) != len(row) - 1:
        raise ValueError("a member twice")
    return result


def only(row: Row, count: int) -> Row:
    """The fields of a row that has exactly ``count`` of them."""
    if len(row) != count + 1:
        raise ValueError(f"{len(row) - 1} fields where {count} belong")
    return row[1:]


def _encode_int(value: int, encoder: Encoder) -> Row:
    size = (value.bit_length() + 8) // 8
    return [tags.INT, *_inline(value.to_bytes(size, "little", signed=True), encoder)]


def _inline(data: bytes, encoder: Encoder) -> Row:
    """Two fields for bytes: the number of their buffer and None, or None and the bytes."""
    return [encoder.bytes_buffer(data), None] if len(data) >= INLINE_BYTES else [None, data]


def _decode_int(row: Row, decoder: Decoder) -> object:
    number, data = fields_of_row(row)
    raw = decoder.copied(data) if number is None else decoder.plain_buffer(number, row[0])
    return int.from_bytes(raw, "little", signed=True)


def _decode_complex(row: Row, decoder: Decoder) -> object:
    return complex(*fields_of_row(row))


def _encode_bytes(value: bytes, encoder: Encoder) -> Row:
    return [tags.BYTES, *_inline(value, encoder)]


def _encode_bytearray(value: bytearray, encoder: Encoder) -> Row:
    data = bytes(value)
    if len(data) >= INLINE_BYTES:
        return [tags.BYTEARRAY, encoder.add_buffer(memoryview(data)), None]
    return [tags.BYTEARRAY, None, data]


def _decode_bytes(row: Row, decoder: Decoder) -> object:
    number, data = fields_of_row(row)
    return data if number is None else bytes(decoder.plain_buffer(number, row[0]))


def _decode_bytearray(row: Row, decoder: Decoder) -> object:
    number, data = fields_of_row(row)
    return bytearray(decoder.copied(data) if number is None else decoder.plain_buffer(number, row[0]))


def _encode_memoryview(value: memoryview, encoder: Encoder) -> Row:
    encoder.refuse("a memoryview is a window on memory that something else owns; store bytes(view)")


def _decode_list(row: Row, decoder: Decoder) -> object:
    del row[0]
    return row


def _decode_range(row: Row, decoder: Decoder) -> object:
    first, last, width = fields_of_row(row)
    decoder.spend(work_of_range(first, last, width))
    return range(first, last, width)


def _decode_constant(row: Row, decoder: Decoder) -> object:
    (number,) = fields_of_row(row)
    if not 0 <= number < len(_CONSTANTS):
        raise ValueError("no such constant")
    return _CONSTANTS[number]


def _encode_type(value: type, encoder: Encoder) -> Row:
    from laila.codec.typenames import encode_type  # which takes the place of this function in the table

    return encode_type(value, encoder)


ENCODERS.update(
    {
        type: _encode_type,
        list: lambda value, encoder: [tags.LIST, *value],
        tuple: lambda value, encoder: [tags.TUPLE, *value],
        dict: lambda value, encoder: [tags.DICT, *pairs_of(value)],
        set: lambda value, encoder: encoder.set_row(tags.SET, value.copy()),
        frozenset: lambda value, encoder: encoder.set_row(tags.FROZENSET, value),
        int: _encode_int,
        complex: lambda value, encoder: [tags.COMPLEX, value.real, value.imag],
        bytes: _encode_bytes,
        bytearray: _encode_bytearray,
        memoryview: _encode_memoryview,
        range: lambda value, encoder: [tags.RANGE, value.start, value.stop, value.step],
        slice: lambda value, encoder: [tags.SLICE, value.start, value.stop, value.step],
        type(Ellipsis): lambda value, encoder: [tags.CONSTANT, 0],
        type(NotImplemented): lambda value, encoder: [tags.CONSTANT, 1],
    }
)
QUICK.update(ENCODERS[kind] for kind in (set, frozenset, int, complex, bytearray, range))
DECODERS.update(
    {
        tags.LIST: _decode_list,
        tags.TUPLE: lambda row, decoder: tuple(row[1:]),
        tags.DICT: lambda row, decoder: dict_of(row, 1, decoder),
        tags.SET: lambda row, decoder: set(members_of(row, decoder)),
        tags.FROZENSET: members_of,
        tags.INT: _decode_int,
        tags.COMPLEX: _decode_complex,
        tags.BYTES: _decode_bytes,
        tags.BYTEARRAY: _decode_bytearray,
        tags.RANGE: _decode_range,
        tags.SLICE: lambda row, decoder: slice(*only(row, 3)),
        tags.CONSTANT: _decode_constant,
    }
)
