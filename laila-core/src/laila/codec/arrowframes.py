"""Frames and series as Arrow streams: a form that laila reads and does not write any more."""

from __future__ import annotations

import json
import re

import pyarrow as pa

from laila.codec import tags
from laila.codec.decoder import Decoder, expect
from laila.codec.registry import DECODERS
from laila.codec.tables import is_arrow_zone, read_stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Row = list[object]

__all__: list[str] = []

# Plain types and those of pandas, without a time zone: that one stands in the schema, where it is checked.
_is_type = re.compile(r"\w+(?:\[\w+\])?", re.ASCII).fullmatch


_MAX_NESTING = 32


def _is_allowed(kind: Any, depth: int = 0) -> bool:
    """Whether every row of a column of this type takes at least a bit of what is stored, at any depth."""
    types = pa.types
    if depth > _MAX_NESTING or isinstance(kind, pa.BaseExtensionType):
        return False
    if types.is_dictionary(kind):
        # Inside another type pandas writes a dictionary out, row by row: categories are columns.
        return depth == 0 and _is_allowed(kind.value_type, depth + 1)
    if types.is_list(kind) or types.is_large_list(kind):
        return _is_allowed(kind.value_type, depth + 1)
    if types.is_struct(kind):
        return kind.num_fields > 0 and all(
            _is_allowed(kind.field(i).type, depth + 1) for i in range(kind.num_fields)
        )
    if types.is_fixed_size_binary(kind):
        return bool(kind.byte_width > 0)
    if types.is_timestamp(kind) and kind.tz is not None:
        return is_arrow_zone(kind.tz)
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


def _read_frame(data: memoryview) -> Any:
    """The frame of a stream that may come from anywhere. Raises ValueError or what the libraries raise."""
    table = read_stream(data)
    if not all(_is_allowed(field.type) for field in table.schema) or table.num_rows > 8 * data.nbytes:
        raise ValueError("more rows than bytes for them")
    # Columns of a stream may share their bytes, those of a frame do not.
    if table.nbytes > data.nbytes:
        raise ValueError("columns that overlap")
    noted = (table.schema.metadata or {}).get(b"pandas")
    if noted is not None:
        _check_note(json.loads(noted))
    return table.to_pandas()


def _check_note(note: object) -> None:
    """Refuse what pandas' note in a schema could make pandas open or evaluate."""
    entries = [entry for part in ("columns", "column_indexes") for entry in note[part]]  # type: ignore[index]
    for entry in entries:
        kind = entry["numpy_type"]
        zone = (entry["metadata"] or {}).get("timezone")
        if not (_is_type(kind) and (zone is None or is_arrow_zone(zone))):
            raise ValueError("a column of an unknown type")
    if len(note["column_indexes"]) > 1:  # type: ignore[index]
        raise ValueError("column names of several levels, which pandas evaluates")


def _decode_pandas(row: Row, decoder: Decoder) -> object:
    kind, data = expect(row[1], str), decoder.copied(row[2])
    frame = _read_frame(memoryview(data))
    if kind == "frame" and len(row) == 3:
        return frame
    if kind == "series" and len(row) == 4 and list(frame.columns) == ["0"]:
        series = frame["0"]
        series.name = None if row[3] is None else expect(row[3], str)
        return series
    raise ValueError("an unknown kind of pandas object")


DECODERS[tags.PANDAS] = _decode_pandas
