"""Rows of Arrow tables: Arrow IPC, where that is exact.

Encoding makes the stream, reads it back and compares; what would not come back equal is pickled and signed.
Reading trusts nothing: compressed bodies are refused (they unfold to anything), only known types are let in,
and Arrow validates every offset before a value is touched.
"""

from __future__ import annotations

import re
import struct

import pyarrow as pa

from laila.codec import tags
from laila.codec.containers import only
from laila.codec.registry import DECODERS, ENCODERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from laila.codec.decoder import Decoder
    from laila.codec.encoder import Encoder

    Row = list[object]

__all__ = ["is_zone", "read_stream", "write_stream"]

_MAX_NESTING = 32
is_zone = re.compile(r"[+-]\d\d:\d\d|(?!dateutil/)\w[\w+-]*(?:/\w[\w+-]*)*", re.ASCII).fullmatch
"""Names of zones that name no file: pandas gives others to libraries that open them."""


def _is_allowed(kind: Any, depth: int = 0) -> bool:
    """Whether every row of a column of this type takes at least a bit of what is stored, at any depth."""
    types = pa.types
    if depth > _MAX_NESTING or isinstance(kind, pa.BaseExtensionType):
        return False
    if types.is_dictionary(kind) or types.is_list(kind) or types.is_large_list(kind):
        return _is_allowed(kind.value_type, depth + 1)
    if types.is_struct(kind):
        return kind.num_fields > 0 and all(
            _is_allowed(kind.field(i).type, depth + 1) for i in range(kind.num_fields)
        )
    if types.is_fixed_size_binary(kind):
        return bool(kind.byte_width > 0)
    if types.is_timestamp(kind) and kind.tz is not None:
        return is_zone(kind.tz) is not None
    return (
        (types.is_primitive(kind) and not types.is_null(kind))
        or types.is_boolean(kind)
        or types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_decimal128(kind)
        or types.is_decimal256(kind)
    )


def write_stream(table: Any) -> memoryview:
    """The Arrow IPC stream of a table, uncompressed."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=None)) as writer:
        writer.write_table(table)
    return memoryview(sink.getvalue())


def read_stream(data: memoryview) -> Any:
    """The table of a stream that may come from anywhere. Raises ValueError or what Arrow raises."""
    source = pa.py_buffer(data)
    for message in pa.ipc.MessageReader.open_stream(source):
        if _is_compressed(bytes(message.metadata)):
            raise ValueError("a compressed Arrow message")
    with pa.ipc.open_stream(source) as reader:
        if not all(_is_allowed(field.type) for field in reader.schema):
            raise ValueError("an Arrow type that laila does not write")
        table = reader.read_all()
    if table.num_rows > 8 * data.nbytes or (not table.num_columns and table.num_rows):
        raise ValueError("more rows than bytes for them")
    table.validate(full=True)
    return table


def _is_compressed(message: bytes) -> bool:
    """Whether the flatbuffer of an Arrow message (Message.fbs of Apache Arrow) announces a compressed body.

    Reads three fields by hand since pyarrow tells nobody; raises ``struct.error`` where the offsets lie.
    """
    (root,) = struct.unpack_from("<I", message)
    kind_at = _field(message, root, 1)
    header_at = _field(message, root, 2)
    if not kind_at or not header_at:
        raise ValueError("an Arrow message without a header")
    kind = message[kind_at]
    header = header_at + struct.unpack_from("<I", message, header_at)[0]
    if kind == 2:  # a dictionary batch holds a record batch
        batch_at = _field(message, header, 1)
        if not batch_at:
            raise ValueError("an Arrow dictionary without data")
        header = batch_at + struct.unpack_from("<I", message, batch_at)[0]
    elif kind != 3:
        return False
    return bool(_field(message, header, 3))


def _field(message: bytes, table: int, number: int) -> int:
    """Where field ``number`` of the flatbuffer table at ``table`` is, or 0 when it is not set."""
    vtable = table - struct.unpack_from("<i", message, table)[0]
    if vtable < 0:
        raise ValueError("a flatbuffer that points outside itself")
    (size,) = struct.unpack_from("<H", message, vtable)
    slot = 4 + 2 * number
    if slot + 2 > size:
        return 0
    (offset,) = struct.unpack_from("<H", message, vtable + slot)
    return table + offset if offset else 0


def _encode_table(table: Any, encoder: Encoder) -> Row:
    if all(_is_allowed(field.type) for field in table.schema) and (table.num_columns or not table.num_rows):
        data = write_stream(table)
        if read_stream(data).equals(table, check_metadata=True):
            return [tags.ARROW_TABLE, encoder.add_buffer(data)]
    return _pickled(table, encoder)


def _pickled(value: object, encoder: Encoder) -> Row:
    from laila.codec.signed import encode_pickled

    return encode_pickled(value, encoder)


def _decode_table(row: Row, decoder: Decoder) -> object:
    (number,) = only(row, 1)
    data = decoder.plain_buffer(number, tags.ARROW_TABLE)
    return read_stream(memoryview(bytes(data)) if decoder.copy else data)


ENCODERS[pa.Table] = _encode_table
DECODERS[tags.ARROW_TABLE] = _decode_table
