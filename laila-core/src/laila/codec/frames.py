"""Rows of pandas frames and series: an Arrow stream where that is exact, else a signed pickle."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pyarrow as pa

from laila.codec import tags
from laila.codec.decoder import Decoder, expect
from laila.codec.registry import DECODERS, ENCODERS
from laila.codec.signed import encode_pickled
from laila.codec.tables import is_zone, read_stream, write_stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from laila.codec.encoder import Encoder

    Row = list[object]

__all__: list[str] = []

# Plain types and those of pandas, without a time zone: that one stands in the schema, where it is checked.
_is_type = re.compile(r"\w+(?:\[\w+\])?", re.ASCII).fullmatch


def _is_exact_dtype(dtype: Any, values: Any) -> bool:
    """Whether a column or index of this dtype holds one kind of thing that Arrow has."""
    if str(dtype) == "category":
        return _is_exact_dtype(dtype.categories.dtype, dtype.categories)
    return not pd.api.types.is_object_dtype(dtype) or all(type(item) is str for item in values)


def _frame_stream(frame: Any) -> memoryview | None:
    """The Arrow stream of a frame, or None where it would not come back the same."""
    levels = [axis.get_level_values(i) for axis in (frame.index, frame.columns) for i in range(axis.nlevels)]
    columns = [frame.iloc[:, i] for i in range(frame.shape[1])]
    if not all(_is_exact_dtype(part.dtype, part) for part in levels) or any(
        pd.api.types.is_object_dtype(column.dtype) or not _is_exact_dtype(column.dtype, ())
        for column in columns
    ):
        return None
    try:
        data = write_stream(pa.Table.from_pandas(frame))
        again = _read_frame(data)
        pd.testing.assert_frame_equal(
            frame, again, check_exact=True, check_index_type="exact", check_column_type="exact"
        )
    except (
        AssertionError,
        ValueError,
        TypeError,
        KeyError,
        NotImplementedError,
        OverflowError,
        pa.ArrowException,
    ):
        return None
    if frame.attrs != again.attrs or not all(
        _same_bits(column, again.iloc[:, i]) for i, column in enumerate(columns)
    ):
        return None
    return data


def _read_frame(data: memoryview) -> Any:
    """The frame of a stream that may come from anywhere. Raises ValueError or what the libraries raise."""
    table = read_stream(data)
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
        if not (_is_type(kind) and (zone is None or is_zone(zone))):
            raise ValueError("a column of an unknown type")
    if len(note["column_indexes"]) > 1:  # type: ignore[index]
        raise ValueError("column names of several levels, which pandas evaluates")


def _same_bits(one: Any, other: Any) -> bool:
    """Arrow takes NaN for null and gives a NaN back: another one, where it had a payload."""
    if not isinstance(one.dtype, np.dtype):
        return True
    return bool(one.to_numpy().tobytes() == other.to_numpy().tobytes())


def _encode_frame(frame: Any, encoder: Encoder) -> Row:
    data = None if frame.attrs else _frame_stream(frame)
    return encode_pickled(frame, encoder) if data is None else [tags.PANDAS, "frame", bytes(data)]


def _encode_series(series: Any, encoder: Encoder) -> Row:
    if series.attrs or not (series.name is None or type(series.name) is str):
        return encode_pickled(series, encoder)
    frame = series.to_frame("0")
    data = _frame_stream(frame)
    return (
        encode_pickled(series, encoder) if data is None else [tags.PANDAS, "series", bytes(data), series.name]
    )


def _decode_pandas(row: Row, decoder: Decoder) -> object:
    kind, data = row[1], expect(row[2], bytes)
    frame = _read_frame(memoryview(data))
    if kind == "frame" and len(row) == 3:
        return frame
    if kind == "series" and len(row) == 4 and list(frame.columns) == ["0"]:
        series = frame["0"]
        series.name = None if row[3] is None else expect(row[3], str)
        return series
    raise ValueError("an unknown kind of pandas object")


ENCODERS.update({pd.DataFrame: _encode_frame, pd.Series: _encode_series})
DECODERS[tags.PANDAS] = _decode_pandas
