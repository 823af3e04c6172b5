"""The tags of rows: what the first number of a row says.

A number is never reused or given another meaning; ``docs/reference/blob-format.md`` describes each row.
"""

from __future__ import annotations

ROWS_MARK = b"\xc1"
"""The first byte of a tree of rows: a byte that no MessagePack object begins with."""

# containers
LIST, TUPLE, DICT, SET, FROZENSET = 1, 2, 3, 4, 5
ORDERED_DICT, DEFAULT_DICT, COUNTER, DEQUE, NAMESPACE = 6, 7, 8, 9, 10
MAPPING_PROXY, RECORD, MEMORY_FILE = 11, 12, 13
# scalars that MessagePack lacks
CONSTANT, INT, COMPLEX, BYTES, BYTEARRAY, RANGE, SLICE = 16, 17, 18, 19, 20, 21, 22
TYPE = 23
DATE, TIME, DATETIME, TIMEDELTA, TIMEZONE, ZONE = 24, 25, 26, 27, 28, 29
OWN_ZONE = 30
DECIMAL, FRACTION, UUID, PATH, ARRAY_ARRAY = 32, 33, 34, 35, 36
IP = 37
# numpy
NDARRAY, STRUCTURED, OBJECT_ARRAY, MASKED, ARRAY_CLASS = 48, 49, 50, 51, 52
SCALAR, NUMPY_TEXT, DTYPE, STRUCTURED_SCALAR = 53, 54, 55, 56
VIEW, STRUCTURED_OBJECTS, ARRAY_SUBCLASS = 57, 58, 59
# random generators, scipy.sparse, sklearn's Bunch
RANDOM, SPARSE, BUNCH = 60, 61, 62
# torch, Pillow, Arrow, pandas
TENSOR, DEVICE, TORCH_CONSTANT = 64, 65, 66
COMPOUND_TENSOR, TORCH_GENERATOR = 67, 68
IMAGE, ARROW_TABLE, PANDAS = 72, 73, 74
IMAGE_FILE, LOADED_IMAGE = 75, 76
# pandas: constants and scalars; dtypes, arrays and indexes; series, frames and what derives from them
PANDAS_CONSTANT, TIMESTAMP, PANDAS_TIMEDELTA, PERIOD, INTERVAL, OFFSET = 80, 81, 82, 83, 84, 85
PANDAS_DTYPE, PANDAS_ARRAY, INDEX, SERIES, FRAME, FRAME_CLASS = 86, 87, 88, 89, 90, 91
# time zones of pytz and dateutil, what Arrow has besides tables, polars
FOREIGN_ZONE, ARROW, POLARS = 92, 93, 94
# what needs a registration or a signature
OBJECT, NAMED_TUPLE, ENUM, EXTENSION, PICKLE = 96, 97, 98, 99, 100
PICKLED, PART = 101, 102
SUBCLASS, ODD_OBJECT, EXCEPTION, GENERIC_ALIAS = 104, 105, 106, 107
# classes of libraries that are made from plain parts
REBUILT = 108

# how a row, or many, is written
RUN, REFERENCES = 126, 127

UNWOUND = frozenset(
    {LIST, TUPLE, DICT, SET, FROZENSET, ORDERED_DICT, COUNTER, NAMESPACE, OBJECT, NAMED_TUPLE, SUBCLASS}
    | {ODD_OBJECT, EXCEPTION, PICKLED, PART}
)
"""Rows whose values Python frees without recursion, however deep they are nested."""
SETS = frozenset({SET, FROZENSET})
"""Rows whose members have no order."""
BUFFERED = frozenset(
    {BYTES, BYTEARRAY, ARRAY_ARRAY, NDARRAY, STRUCTURED, VIEW, TENSOR, IMAGE, ARROW_TABLE}
    | {IMAGE_FILE, LOADED_IMAGE, ARROW, POLARS}
)
"""Rows whose first field is the number of a buffer (or None where the bytes are in the row)."""
LEAVES = frozenset({NDARRAY, STRUCTURED, TENSOR})
"""Rows whose values are taken for as good as written, without reading them again."""
MERGED = frozenset(
    {TUPLE, FROZENSET, CONSTANT, INT, COMPLEX, BYTES, RANGE, DATE, TIME, DATETIME, TIMEDELTA, TIMEZONE, ZONE}
    | {DECIMAL, FRACTION, UUID, PATH, SCALAR, NUMPY_TEXT, DTYPE, DEVICE, TORCH_CONSTANT, SLICE}
    | {TYPE, IP, GENERIC_ALIAS}
    | {PANDAS_CONSTANT, TIMESTAMP, PANDAS_TIMEDELTA, PERIOD, INTERVAL, OFFSET, FOREIGN_ZONE}
)
"""Immutable values: written once however many equal ones there are, so that equal content has equal bytes."""
WITH_NAN = frozenset({DECIMAL, SCALAR})
"""Rows whose values may be NaN though no field of theirs is a float."""
SEQUENCES = {LIST: 1, TUPLE: 1, DEQUE: 2}
"""Where the items of a sequence begin in its row."""
MAPPINGS = {DICT: 1, ORDERED_DICT: 2, COUNTER: 2, DEFAULT_DICT: 2, BUNCH: 2}
"""Where keys and values, in turn, begin in the row of a mapping."""
ATTRIBUTES = {NAMESPACE: 1, OBJECT: 2, NAMED_TUPLE: 2, ODD_OBJECT: 3, SUBCLASS: 4, EXCEPTION: 8}
"""Where names and values of attributes, in turn, begin in the row of an instance."""
