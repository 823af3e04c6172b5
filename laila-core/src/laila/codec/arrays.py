"""Rows of numpy's types: arrays of every dtype, masked and record arrays, scalars, dtypes.

Arrays of simple dtypes are buffers that describe themselves; structured ones carry a description of their
dtype in the row; arrays of objects are written element by element. A dtype that names Python objects is never
built from a blob.
"""

from __future__ import annotations

import re
from math import prod

import numpy as np
from xxhash import xxh3_128

from laila.codec import tags
from laila.codec.containers import only
from laila.codec.decoder import Decoder, expect
from laila.codec.registry import DECODERS, ENCODERS
from laila.contract.buffer import byte_view
from laila.errors import InvalidValueError
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    from laila.codec.encoder import Encoder
    from laila.contract.buffer import Buffer

    Row = list[object]
    Array = np.ndarray[Any, np.dtype[Any]]

__all__ = ["encode_subclass"]

_simple_text = re.compile(
    r"[<>|](?:[biufcSUV][0-9]{1,9}|[mM]8(?:\[[0-9]{0,9}[A-Za-zμ]{1,2}\])?)", re.ASCII
).fullmatch
_CHARS = "qQlLiIgGdDfF"
_MAX_NESTING = 64
_MAX_PARTS = 10_000
_PIECE = 1 << 20


def describe(dtype: np.dtype[Any]) -> object:
    """``dtype`` as text or nested tuples, or None for one that only a pickle carries.

    Text is ``dtype.str``. ``("c", char, order)`` tells C types of one size apart, ``("a", base, shape)`` is a
    sub-array, ``("s", itemsize, aligned, record, fields)`` a structure of ``(name, title, offset, dtype)``.
    """
    try:
        return _describe(dtype, [_MAX_PARTS])
    except OverflowError:
        return None


def _describe(dtype: np.dtype[Any], left: list[int]) -> object:
    _count(left)
    if dtype.metadata or dtype.hasobject or dtype.itemsize == 0:
        return None
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        inner = _describe(base, left)
        return None if inner is None else ("a", inner, tuple(shape))
    if dtype.names is not None:
        fields = []
        assert dtype.fields is not None
        for name in dtype.names:
            field = dtype.fields[name]
            inner = _describe(field[0], left)
            title = field[2] if len(field) > 2 else None
            if inner is None or (title is not None and type(title) is not str):
                return None
            fields.append((name, title, field[1], inner))
        return ("s", dtype.itemsize, dtype.isalignedstruct, dtype.type is np.record, tuple(fields))
    text = dtype.str
    if _simple_text(text):
        same = np.dtype(text)
        if same.char == dtype.char and same == dtype:
            return text
        if dtype.char in _CHARS and np.dtype(dtype.char).newbyteorder(text[0]) == dtype:  # type: ignore[arg-type]
            return ("c", dtype.char, text[0])
    return None


def _count(left: list[int]) -> None:
    """Count a part of a dtype, each as often as it is met: parts of parts can share all theirs."""
    left[0] -= 1
    if left[0] < 0:
        raise OverflowError(f"a dtype of more than {_MAX_PARTS} parts")


def dtype_from(description: object) -> np.dtype[Any]:
    """The dtype of a description.

    Raises ``ValueError``, ``TypeError`` or ``OverflowError`` for one that ``describe`` never gives.
    """
    return _dtype(description, 0, [_MAX_PARTS])


def _dtype(description: object, depth: int, left: list[int]) -> np.dtype[Any]:
    _count(left)
    if depth > _MAX_NESTING:
        raise ValueError("a dtype nested too deep")
    if type(description) is str:
        if not _simple_text(description):
            raise ValueError(f"the dtype {shown(description)}")
        found: np.dtype[Any] = np.dtype(description)
    else:
        kind, *fields = expect(description, tuple)
        if kind == "c":
            char, order = fields
            if len(expect(char, str)) != 1 or char not in _CHARS or order not in ("<", ">", "|"):
                raise ValueError("an unknown C type")
            found = np.dtype(char).newbyteorder(order)
        elif kind == "a":
            base, shape = fields
            found = np.dtype((_dtype(base, depth + 1, left), _shape(shape)))
        elif kind == "s":
            found = _structure(*fields, depth=depth, left=left)
        else:
            raise ValueError("an unknown kind of dtype")
    if found.hasobject or found.itemsize == 0:
        raise ValueError("a dtype of objects, or of nothing")
    return found


def _structure(
    itemsize: object, aligned: object, record: object, fields: object, *, depth: int, left: list[int]
) -> np.dtype[Any]:
    names, titles, offsets, formats = [], [], [], []
    for field in expect(fields, tuple):
        name, title, offset, inner = expect(field, tuple)
        names.append(expect(name, str))
        titles.append(None if title is None else expect(title, str))
        offsets.append(expect(offset, int))
        formats.append(_dtype(inner, depth + 1, left))
    if not 0 < expect(itemsize, int) < 1 << 31 or any(n < 0 for n in offsets):
        raise ValueError("a structure of an impossible size")
    spec: dict[str, object] = {"names": names, "formats": formats, "offsets": offsets, "itemsize": itemsize}
    if any(title is not None for title in titles):
        spec["titles"] = titles
    found: np.dtype[Any] = np.dtype(spec, align=expect(aligned, bool))  # type: ignore[call-overload]
    return np.dtype((np.record, found)) if expect(record, bool) else found


def _shape(value: object) -> tuple[int, ...]:
    shape = tuple(expect(n, int) for n in expect(value, tuple))
    if len(shape) > _MAX_NESTING or not all(0 <= n < 1 << 62 for n in shape):
        raise ValueError("an impossible shape")
    return shape


def _order(array: Array) -> Literal["C", "F"]:
    return "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"


def _frozen(array: Array) -> bool:
    """Whether nothing can write to the memory of ``array``, as far as its chain of bases tells."""
    base: object = array
    while isinstance(base, np.ndarray):
        if base.flags.writeable:
            return False
        base = base.base
    if base is None:
        return True
    return memoryview(base).readonly  # type: ignore[arg-type]


def _encode_array(value: Array, encoder: Encoder) -> Row:
    dtype = value.dtype
    if dtype.kind == "O":
        return _encode_objects(value)
    description = describe(dtype)
    if description is None:
        from laila.codec.signed import encode_pickled

        return encode_pickled(value, encoder)
    order = _order(value)
    if dtype.names is not None:
        # Field by field into zeros: the gaps between fields hold whatever was in memory, which is no content.
        data: Array = np.zeros(value.shape, dtype, order)
        data[...] = value
    elif encoder.copy:
        data = value.copy(order)
    else:
        if not _frozen(value):
            raise InvalidValueError(
                f"{encoder.path()} is a writable array, which copy=False cannot keep: call "
                "setflags(write=False) on it "
                "and what it is a view of, or leave copy=True"
            )
        data = np.asarray(value, order=order)
    if type(description) is str:
        return [tags.NDARRAY, encoder.add_buffer(byte_view(data), description, value.shape, order)]
    return [tags.STRUCTURED, encoder.add_buffer(byte_view(data)), description, value.shape, order]


def _build(
    decoder: Decoder,
    data: memoryview,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    order: object,
    copy: bool | None = None,
) -> Array:
    """An array over ``data``, or a copy of it, once the sizes are known to agree."""
    if prod(shape) * dtype.itemsize != data.nbytes:
        raise ValueError(f"{data.nbytes} bytes for an array of shape {shape} and dtype {dtype}")
    if order != "C" and order != "F":
        raise ValueError("an unknown memory order")
    if not data.nbytes:
        return np.empty(shape, dtype, order)
    view: Array = np.ndarray(shape, dtype, data, order=order)
    return view.copy("K") if (decoder.copy if copy is None else copy) else view


def _copy_checked(decoder: Decoder, buffer: Buffer, dtype: np.dtype[Any]) -> Array:
    """A copy of a large buffer, verified piece by piece while the piece is in the processor's cache."""
    source: Array = np.frombuffer(buffer.data, np.uint8)
    view = _build(decoder, buffer.data, dtype, buffer.shape, buffer.order, copy=False)
    array: Array = np.empty_like(view, order="K", subok=False)
    target = (array if buffer.order == "C" else array.T).reshape(-1).view(np.uint8)
    state = xxh3_128()
    for start in range(0, buffer.nbytes, _PIECE):
        piece = target[start : start + _PIECE]
        piece[:] = source[start : start + _PIECE]
        state.update(piece.data)
    buffer.check(decoder.blob.key, state.digest())
    return array


def _decode_array(row: Row, decoder: Decoder) -> object:
    (number,) = only(row, 1)
    buffer = decoder.buffer(number, tags.NDARRAY, unchecked=decoder.copy)
    dtype = dtype_from(expect(buffer.dtype, str))
    if not buffer.checked:
        return _copy_checked(decoder, buffer, dtype)
    if decoder.copy and decoder.take and buffer.own is not None:
        own, buffer.own = buffer.own, None  # an array over it is as good as a copy, for the first who asks
        return _build(decoder, own, dtype, buffer.shape, buffer.order, copy=False)
    return _build(decoder, buffer.data, dtype, buffer.shape, buffer.order)


def _decode_structured(row: Row, decoder: Decoder) -> object:
    number, description, shape, order = only(row, 4)
    return _build(
        decoder, decoder.plain_buffer(number, tags.STRUCTURED), dtype_from(description), _shape(shape), order
    )


def _encode_objects(value: Array) -> Row:
    order = _order(value)
    if value.dtype.metadata:
        raise ValueError("an object dtype with metadata")
    return [tags.OBJECT_ARRAY, value.shape, order, *value.ravel(order).tolist()]


def _decode_objects(row: Row, decoder: Decoder) -> object:
    shape, order, items = _shape(row[1]), row[2], row[3:]
    if prod(shape) != len(items) or (order != "C" and order != "F"):
        raise ValueError(f"{len(items)} objects for an array of shape {shape}")
    if not items:
        return np.empty(shape, object, order)
    # Assigning an item would unpack arrays and sequences; a ufunc's results are stored as they are.
    flat: Any = np.frompyfunc(items.__getitem__, 1, 1)(np.arange(len(items)))
    found: object = flat.reshape(shape, order=order)
    return found


# -- classes of arrays


def _encode_masked(value: Any, encoder: Encoder) -> Row:
    extra = {k: v for k, v in value.__dict__.items() if k in ("_optinfo", "_basedict") and v}
    if value.baseclass is not np.ndarray or extra:
        from laila.codec.signed import encode_pickled

        return encode_pickled(value, encoder)
    data = value.view(np.ndarray)
    mask = None if value.mask is np.ma.nomask else value.mask
    return [tags.MASKED, data, mask, value._fill_value, value.hardmask]


def _decode_masked(row: Row, decoder: Decoder) -> object:
    if len(row) == 1:
        return np.ma.masked
    data, mask, fill, hard = only(row, 4)
    array: Array = expect(data, np.ndarray)
    cover: Array | None = None
    if mask is not None:
        wanted = np.ma.make_mask_descr(array.dtype)
        cover = expect(mask, np.ndarray)
        if cover.shape != array.shape or cover.dtype != wanted:
            raise ValueError("a mask of another shape or type than its array")
    found: Any = np.ma.MaskedArray(
        array, mask=np.ma.nomask if cover is None else cover, hard_mask=expect(hard, bool)
    )
    if fill is not None:
        value: Array = expect(fill, np.ndarray)
        if value.shape != () or value.dtype != array.dtype:
            raise ValueError("a fill value of another type than its array")
        found._fill_value = value
    return found


_CLASSES: dict[str, type[Any]] = {"matrix": np.matrix, "recarray": np.recarray}


def encode_subclass(value: Any, encoder: Encoder) -> Row:
    """The rows of what derives from numpy's types without being exactly one of those in the tables."""
    kind = type(value)
    if isinstance(value, np.generic):
        return _encode_scalar(value, encoder)
    if isinstance(value, np.dtype):
        description = describe(value)
        if description is not None:
            return [tags.DTYPE, description]
    elif kind is np.matrix or kind is np.recarray:
        # A matrix keeps a note to itself in its __dict__; anything else there is the user's.
        own = {name: held for name, held in value.__dict__.items() if name != "_getitem"}
        if not own and not value.dtype.hasobject:
            return [tags.ARRAY_CLASS, kind.__name__, value.view(np.ndarray)]
    elif value is np.ma.masked:
        return [tags.MASKED]
    from laila.codec.signed import encode_pickled

    return encode_pickled(value, encoder)


def _decode_class(row: Row, decoder: Decoder) -> object:
    name, array = only(row, 2)
    kind = _CLASSES[expect(name, str)]
    base = expect(array, np.ndarray)
    if kind is np.matrix and base.ndim != 2:
        raise ValueError("a matrix of another number of dimensions")
    return base.view(kind)


# -- scalars and dtypes


def _encode_scalar(value: Any, encoder: Encoder) -> Row:
    kind = type(value)
    if kind is np.str_:
        return [tags.NUMPY_TEXT, str.__str__(value)]  # past numpy, which drops zeros at the end
    if kind is np.bytes_:
        return [tags.NUMPY_TEXT, bytes.__getitem__(value, slice(0, None))]
    if kind.__module__ == "numpy" or kind is np.record:
        if value.dtype.names is not None and describe(value.dtype) is not None:
            return [tags.STRUCTURED_SCALAR, np.array(value, dtype=value.dtype)]
        description = describe(value.dtype)
        if description is not None and value.dtype.type is kind:
            return [tags.SCALAR, description, value.tobytes()]
    from laila.codec.signed import encode_pickled

    return encode_pickled(value, encoder)


def _decode_scalar(row: Row, decoder: Decoder) -> object:
    description, data = only(row, 2)
    dtype = dtype_from(description)
    raw = bytearray(expect(data, bytes))
    if dtype.names is not None or dtype.subdtype is not None or len(raw) != dtype.itemsize:
        raise ValueError("a scalar of another size than its type")
    found: object = np.ndarray((), dtype, raw)[()]
    return found


def _decode_structured_scalar(row: Row, decoder: Decoder) -> object:
    (array,) = only(row, 1)
    base = expect(array, np.ndarray)
    if base.shape != () or base.dtype.names is None:
        raise ValueError("a structured scalar that is none")
    found: object = base[()]
    return found


def _decode_text(row: Row, decoder: Decoder) -> object:
    (text,) = only(row, 1)
    return np.bytes_(text) if type(text) is bytes else np.str_(expect(text, str))


def _decode_dtype(row: Row, decoder: Decoder) -> object:
    (description,) = only(row, 1)
    return dtype_from(description)


ENCODERS.update({np.ndarray: _encode_array, np.ma.MaskedArray: _encode_masked})
DECODERS.update(
    {
        tags.NDARRAY: _decode_array,
        tags.STRUCTURED: _decode_structured,
        tags.OBJECT_ARRAY: _decode_objects,
        tags.MASKED: _decode_masked,
        tags.ARRAY_CLASS: _decode_class,
        tags.SCALAR: _decode_scalar,
        tags.STRUCTURED_SCALAR: _decode_structured_scalar,
        tags.NUMPY_TEXT: _decode_text,
        tags.DTYPE: _decode_dtype,
    }
)
