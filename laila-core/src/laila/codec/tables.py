"""Rows of what Arrow has: tables, batches, arrays, scalars, schemas and types, as streams of Arrow IPC.

A stream has what is seen: of a slice, the slice. Chunks of an array stay as they are, those of a table lie as
the stream has them. Reading trusts nothing: compressed bodies are refused (they unfold to anything), only
known types are let in, and Arrow validates every offset before a value is touched. Extension types are made
by the classes that are registered with Arrow; data names none of Python's.
"""

from __future__ import annotations

import re
import struct
from functools import lru_cache

import pyarrow as pa

from laila.codec import tags
from laila.codec.containers import only
from laila.codec.decoder import expect
from laila.codec.plain import ATOMS
from laila.codec.registry import DECODERS, ENCODERS, FAMILIES
from laila.codec.zones import is_zone
from laila.errors import PayloadError
from laila.showing import said, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, TypeVar

    from laila.codec.decoder import Decoder
    from laila.codec.encoder import Encoder

    Row = list[object]
    T = TypeVar("T")

__all__ = ["is_arrow_zone", "read_stream", "write_stream"]

_MAX_NESTING = 32
_PICKLED = b"arrow.py_extension_type"  # an extension of old releases that is a pickle
_is_offset = re.compile(r"[+-]\d\d:\d\d", re.ASCII).fullmatch


def is_arrow_zone(name: str) -> bool:
    """Whether this is an offset, or the name of a zone that names no file."""
    return bool(_is_offset(name) or is_zone(name))


def _parts(kind: Any) -> Iterator[Any]:
    """The types inside a type."""
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        yield kind.storage_type
    elif types.is_dictionary(kind):
        yield from (kind.index_type, kind.value_type)
    elif types.is_run_end_encoded(kind):
        yield from (kind.run_end_type, kind.value_type)
    elif types.is_map(kind):
        yield from (kind.key_type, kind.item_type)
    else:
        yield from map(_type_of, map(kind.field, range(kind.num_fields)))


def _type_of(field: Any) -> Any:
    """The type of a field; raises ``ValueError`` where its name is no text."""
    _ = field.name
    return field.type


def _is_known(kind: Any, names: set[str], depth: int = 0) -> bool:
    """Whether laila writes columns of this type; ``names`` takes those of its extensions."""
    if depth > _MAX_NESTING:
        return False
    if isinstance(kind, pa.BaseExtensionType):
        names.add(kind.extension_name)
    elif pa.types.is_timestamp(kind) and kind.tz is not None:
        return is_arrow_zone(kind.tz)
    return all(_is_known(part, names, depth + 1) for part in _parts(kind))


def write_stream(table: Any) -> memoryview:
    """The Arrow IPC stream of a table, uncompressed."""
    return _write(table.schema, table.to_batches())


def _write(schema: Any, batches: Iterable[Any]) -> memoryview:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(compression=None)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return memoryview(sink.getvalue())


def read_stream(data: memoryview) -> Any:
    """The table of a stream that may come from anywhere. Raises ValueError or what Arrow raises."""
    schema, batches, _ = _read(data)
    return pa.Table.from_batches(batches, schema)


def _read(data: memoryview) -> tuple[Any, list[Any], set[str]]:
    """The schema and the batches of a stream, and the names of the extension types that it has."""
    source = pa.py_buffer(data)
    for message in pa.ipc.MessageReader.open_stream(source):
        header = bytes(message.metadata)
        if _is_compressed(header):
            raise ValueError("a compressed Arrow message")
        if _PICKLED in header:
            raise ValueError("an Arrow extension that is a pickle")
    names: set[str] = set()
    with pa.ipc.open_stream(source) as reader:
        schema = reader.schema
        if not all(_is_known(_type_of(field), names) for field in schema):
            raise ValueError("an Arrow type that laila does not write")
        batches = list(reader)
    for batch in batches:
        batch.validate(full=True)
    return schema, batches, names


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


def _by_type(function: Callable[[Any], T]) -> Callable[[Any], T]:
    """Cache the results of a function for types, except users' types, which may not be hashable."""
    known = lru_cache(maxsize=1024)(function)

    def call(kind: Any) -> T:
        try:
            return known(kind)
        except TypeError:
            return function(kind)

    return call


@_by_type
def _extensions(kind: Any) -> tuple[str, ...] | None:
    """Return the names of the extensions in a type; None for a type that laila does not write."""
    names: set[str] = set()
    return tuple(sorted(names)) if _is_known(kind, names) else None


def _row(value: Any, schema: Any, batches: list[Any], encoder: Encoder, tag: int, *kind: str) -> Row:
    result = [_extensions(field.type) for field in schema]
    if None in result:
        return _pickled(value, encoder)
    names = sorted({name for names in result for name in names or ()})
    try:
        for batch in batches:
            batch.validate(full=True)
        data = _write(schema, map(_compact, batches))
        if names:  # whether Arrow knows it again, only its class can say
            with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
                if not reader.schema.equals(schema, check_metadata=True):
                    return _pickled(value, encoder)
    except (pa.ArrowException, ValueError, TypeError) as error:
        encoder.refuse(f"Arrow cannot write it ({said(error, 200)})", error)
    return [tag, encoder.add_buffer(data), *kind, *names]


def _compact(batch: Any) -> Any:
    """The batch over memory that holds nothing else: a slice may lie in the middle of what nobody gave."""
    columns = list(map(_cut, batch.columns))
    if all(item is two for item, two in zip(columns, batch.columns, strict=True)):
        return batch
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _cut(array: Any) -> Any:
    kind = array.type
    try:
        if array.get_total_buffer_size() <= array.nbytes + _offsets(kind):
            return array
    except pa.ArrowException:  # there are types whose bytes Arrow does not count
        pass
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, _cut(array.storage))
    if _has_union(kind):
        return array.take(pa.array(range(len(array)), pa.int64()))
    result = pa.concat_arrays([array, array.slice(0, 0)])
    plain = _without_views(kind)
    return result if plain == kind else result.cast(plain).cast(kind)


@_by_type
def _offsets(kind: Any) -> int:
    """The bytes of the last offsets of a type's arrays, which Arrow does not count as theirs."""
    types = pa.types
    large = types.is_large_string(kind) or types.is_large_binary(kind) or types.is_large_list(kind)
    short = types.is_string(kind) or types.is_binary(kind) or types.is_list(kind) or types.is_map(kind)
    return 8 * bool(large) + 4 * bool(short) + sum(map(_offsets, _parts(kind)))


def _has_union(kind: Any) -> bool:
    return bool(pa.types.is_union(kind)) or any(map(_has_union, _parts(kind)))


def _without_views(kind: Any) -> Any:
    """The type with values instead of views, which keep whatever lies around what they show."""
    types = pa.types
    if types.is_string_view(kind):
        return pa.large_string()
    if types.is_binary_view(kind):
        return pa.large_binary()
    if types.is_struct(kind):
        return pa.struct([field.with_type(_without_views(field.type)) for field in kind])
    if types.is_map(kind):
        key, item = map(_without_views, (kind.key_type, kind.item_type))
        return pa.map_(key, item, keys_sorted=kind.keys_sorted)
    make: Any = None
    if types.is_list(kind):
        make = pa.list_
    elif types.is_large_list(kind):
        make = pa.large_list
    elif types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(_without_views(kind.value_type)), kind.list_size)
    return make(kind.value_field.with_type(_without_views(kind.value_type))) if make else kind


def _pickled(value: object, encoder: Encoder) -> Row:
    from laila.codec.signed import encode_pickled

    return encode_pickled(value, encoder)


def _encode_table(table: Any, encoder: Encoder) -> Row:
    if not table.num_columns and table.num_rows:
        batches = [_rows_alone(table.schema, table.num_rows)]
    else:
        batches = table.to_batches()
    return _row(table, table.schema, batches, encoder, tags.ARROW_TABLE)


def _rows_alone(schema: Any, count: int) -> Any:
    """A batch of rows without columns."""
    column = pa.nulls(count)
    return pa.RecordBatch.from_arrays([column], ["x"]).select([]).replace_schema_metadata(schema.metadata)


def _encode_batch(batch: Any, encoder: Encoder) -> Row:
    return _row(batch, batch.schema, [batch], encoder, tags.ARROW, "batch")


def _encode_chunks(value: Any, encoder: Encoder) -> Row:
    return _column(value, value.type, value.chunks, encoder, "chunks")


def _encode_array(value: Any, encoder: Encoder) -> Row:
    return _column(value, value.type, [value], encoder, "array")


_PLAIN = {
    str(kind): kind
    for kind in (
        *(
            pa.bool_(),
            pa.float64(),
            pa.string(),
            pa.large_string(),
            pa.binary(),
            pa.large_binary(),
            pa.null(),
        ),
        *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
    )
}
_PLAIN_NAMES = {kind.id: name for name, kind in _PLAIN.items()}


def _encode_scalar(value: Any, encoder: Encoder) -> Row:
    plain = _PLAIN_NAMES.get(value.type.id)
    if plain is not None:
        return [tags.ARROW, None, "value", plain, value.as_py()]
    try:
        array = pa.repeat(value, 1)
    except (pa.ArrowException, ValueError, TypeError):
        return _pickled(value, encoder)
    return _column(value, value.type, [array], encoder, "scalar")


def _column(value: Any, kind: Any, chunks: list[Any], encoder: Encoder, name: str) -> Row:
    schema = pa.schema([pa.field("", kind)])
    batches = [pa.RecordBatch.from_arrays([chunk], schema=schema) for chunk in chunks]
    return _row(value, schema, batches, encoder, tags.ARROW, name)


def _encode_schema(value: Any, encoder: Encoder) -> Row:
    return _row(value, value, [], encoder, tags.ARROW, "schema")


def _encode_field(value: Any, encoder: Encoder) -> Row:
    return _row(value, pa.schema([value]), [], encoder, tags.ARROW, "field")


def _encode_type(value: Any, encoder: Encoder) -> Row:
    return _row(value, pa.schema([pa.field("", value)]), [], encoder, tags.ARROW, "type")


def _read_row(row: Row, extensions: list[object], decoder: Decoder) -> tuple[Any, list[Any]]:
    data = decoder.plain_buffer(row[1], row[0])
    schema, batches, names = _read(memoryview(bytes(data)) if decoder.copy else data)
    for extension in extensions:
        name = expect(extension, str)
        if name not in names:
            raise PayloadError(
                f"the payload of {decoder.blob.key} needs the Arrow extension type {shown(name)}, which is "
                "not registered here: pyarrow.register_extension_type",
                path=name[:80],
            )
    return schema, batches


def _decode_table(row: Row, decoder: Decoder) -> object:
    schema, batches = _read_row(row, row[2:], decoder)
    return pa.Table.from_batches(batches, schema)


def _decode_arrow(row: Row, decoder: Decoder) -> object:
    kind = expect(row[2], str)
    if kind == "value":
        _, _, name, value = only(row, 4)
        if type(value) not in ATOMS:
            raise TypeError("the value of an Arrow scalar of another type")
        if type(value) is bytes:
            decoder.copied(value)
        return pa.scalar(value, _PLAIN[expect(name, str)])
    schema, batches = _read_row(row, row[3:], decoder)
    if kind == "schema" and not batches:
        return schema
    if kind == "batch" and len(batches) == 1:
        return batches[0]
    (field,) = schema
    if kind == "field" and not batches:
        return field
    if kind == "type" and not batches:
        return field.type
    chunks = [batch.column(0) for batch in batches]
    if kind == "chunks":
        return pa.chunked_array(chunks, field.type)
    (array,) = chunks
    if kind == "array":
        return array
    if kind == "scalar" and len(array) == 1:
        return array[0]
    raise ValueError("an unknown kind of Arrow data")


def _classes(base: Any) -> set[Any]:
    """A class of pyarrow's and all that pyarrow derives from it."""
    result = {base} if base.__module__ == "pyarrow.lib" else set()
    return result.union(*map(_classes, base.__subclasses__()))


ENCODERS.update(
    {
        pa.Table: _encode_table,
        pa.RecordBatch: _encode_batch,
        pa.ChunkedArray: _encode_chunks,
        pa.Schema: _encode_schema,
        pa.Field: _encode_field,
        **dict.fromkeys(_classes(pa.Array), _encode_array),
        **dict.fromkeys(_classes(pa.Scalar), _encode_scalar),
        **dict.fromkeys(_classes(pa.DataType), _encode_type),
    }
)
# Classes that users derive for their extension types.
FAMILIES.update(
    {
        "pyarrow.lib:ExtensionArray": _encode_array,
        "pyarrow.lib:ExtensionScalar": _encode_scalar,
        "pyarrow.lib:ExtensionType": _encode_type,
    }
)
DECODERS.update({tags.ARROW_TABLE: _decode_table, tags.ARROW: _decode_arrow})
