"""Rows of numpy's arrays, of every dtype.

Arrays of simple dtypes are buffers that describe themselves; others carry a description of their dtype in the
row; arrays of objects are written element by element. No bytes of a blob become the address of an object.

**Views.** An array is stored as it looks: a row of a large batch takes the bytes of that row. Arrays of one
payload that share memory share it again when they come back: they lie in one buffer, which has what they show
and nothing else of the memory around them. Where one of them shows all of it, the buffer is that array.
Arrays of Python objects share their items, but not their memory.
"""

from __future__ import annotations

from math import prod

import numpy as np
from xxhash import xxh3_128_digest

from laila.blob.buffer import Buffer, byte_view
from laila.blob.pieces import PIECE
from laila.codec import apart, tags
from laila.codec.containers import only
from laila.codec.decoder import Decoder, expect
from laila.codec.dtypes import copy_values, describe, dtype_from, shape_from, solid
from laila.codec.overlaps import Layout, Span, groups
from laila.codec.registry import DECODERS, ENCODERS
from laila.errors import InvalidValueError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Literal

    from laila.codec.encoder import Encoder
    from laila.codec.rows import Row as OpenRow
    from laila.codec.rows import RowWriter

    Row = list[object]
    Array = np.ndarray[Any, np.dtype[Any]]

__all__ = ["Memory", "memory_of", "plain_array"]

_MAX_STRIDE = 1 << 62


def _order(array: Array) -> Literal["C", "F"]:
    return "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"


def _order_from(value: object) -> Literal["C", "F"]:
    """The memory order that a row holds."""
    if expect(value, str) == "C":
        return "C"
    if value == "F":
        return "F"
    raise ValueError("an unknown memory order")


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
    if dtype.hasobject:
        return _encode_objects(value, encoder)
    memory = encoder.collector(Memory)
    description = memory.describe(dtype)
    if description is None:
        from laila.codec.signed import encode_pickled

        return encode_pickled(value, encoder)
    if not (encoder.copy or encoder.borrow) and dtype.names is None and not _frozen(value):
        raise InvalidValueError(
            f"{encoder.path()} is a writable array, which copy=False cannot keep: call "
            "setflags(write=False) on it "
            "and what it is a view of, or leave copy=True"
        )
    number = memory.add(value, description, encoder)
    if type(description) is str:
        return [tags.NDARRAY, number]
    return [tags.STRUCTURED, number, description, value.shape, _order(value)]


class Memory:
    """The arrays met in a walk. Their bytes are taken at its end, when it is known which share memory.

    An array by itself is stored as it looks, whatever memory it is a view of. Arrays that share memory become
    views of one buffer, which has what any of them shows and zeros elsewhere.
    """

    def __init__(self) -> None:
        self._arrays: list[tuple[Array, object, int]] = []
        self._views = False
        self._dtypes: dict[int, tuple[object, bool, np.dtype[Any]]] = {}

    def describe(self, dtype: np.dtype[Any]) -> Any:
        """The description of a dtype: of one structure always the same, so that it is one row."""
        if dtype.names is None:
            return describe(dtype)
        known = self._dtypes.get(id(dtype))
        if known is None:
            known = self._dtypes[id(dtype)] = describe(dtype), solid(dtype), dtype
        return known[0]

    def is_solid(self, dtype: np.dtype[Any]) -> bool:
        """Whether every byte of an item is part of its value; see :func:`laila.codec.dtypes.solid`."""
        known = self._dtypes.get(id(dtype))
        return solid(dtype) if known is None else known[1]

    def add(self, array: Array, description: object, encoder: Encoder) -> int:
        """Note ``array``; return the number of the buffer that will hold it."""
        number = encoder.reserve_buffer()
        self._arrays.append((array, description, number))
        self._views = self._views or not array.flags.owndata
        return number

    def ranges(self) -> list[tuple[int, int, object]]:
        """Where the arrays lie: the first address, the one after the last, and the array."""
        spans = [(_span(each[0], 0), each[0]) for each in self._arrays if each[0].nbytes]
        return [(span.low, span.high, array) for span, array in spans]

    def _tell_of_borrowed(self, encoder: Encoder) -> None:
        """Say that an array lies in a bytearray or the like which is in the payload, too."""
        for array, _, _ in self._arrays:
            base: Any = array
            while isinstance(base, np.ndarray):
                base = base.base
            owner = base.obj if type(base) is memoryview else base
            if owner is not None and id(owner) in encoder.memo:
                apart.tell(encoder.root, owner, array, "a buffer and an array that is made of it")

    def finish(self, encoder: Encoder, rows: RowWriter) -> None:
        """Fill the buffers; write the rows of arrays that share memory anew."""
        if self._views:
            self._tell_of_borrowed(encoder)
        shared: set[int] = set()
        if self._views and len(self._arrays) > 1:
            # Arrays that own their memory share it with none but views.
            spans = [_span(each[0], place) for place, each in enumerate(self._arrays) if each[0].nbytes]
            for group in groups(spans):
                self._share(group, encoder, rows.change())
                shared.update(span.number for span in group)
        for place, (array, description, number) in enumerate(self._arrays):
            if place not in shared:
                encoder.taken = array
                encoder.buffers[number] = self._buffer_of(array, description, encoder.copy)

    def _share(self, group: list[Span], encoder: Encoder, rows: list[OpenRow]) -> None:
        first = self._arrays[group[0].number]
        number = first[2]
        layout = Layout(group)
        whole = next((span for span in group if self._is_whole(span, layout)), None)
        if whole is not None:
            array, description, number = self._arrays[whole.number]
            encoder.buffers[number] = self._buffer_of(array, description, encoder.copy)
        else:
            arrays = [self._arrays[span.number][0] for span in group]
            encoder.buffers[number] = Buffer(byte_view(_gathered(arrays, group, layout)))
        for span in group:
            if span is whole:
                continue
            array, description, _ = self._arrays[span.number]
            offset, strides = layout.place(span)
            index = encoder.row_of(array)
            # A structure's description is a row by now.
            kind = description if type(description) is str else rows[index][2]
            fixed = not array.flags.writeable and array.nbytes > span.high - span.low
            rows[index] = [tags.VIEW, number, kind, offset, fixed, *array.shape, *strides]

    def _is_whole(self, span: Span, layout: Layout) -> bool:
        array = self._arrays[span.number][0]
        return (
            array.nbytes == layout.nbytes
            and (array.flags.c_contiguous or array.flags.f_contiguous)
            and self.is_solid(array.dtype)
            and type(self._arrays[span.number][1]) is str
        )

    def _buffer_of(self, array: Array, description: object, copy: bool) -> Buffer:
        """A buffer that holds what ``array`` shows, and has its dtype where that is a simple one."""
        order = _order(array)
        if not self.is_solid(array.dtype):
            data: Array = np.zeros(array.shape, array.dtype, order)
            copy_values(data, array)
        elif copy:
            data = array.copy(order)
        else:
            data = np.asarray(array, order=order)
        if type(description) is str:
            return Buffer(byte_view(data), description, array.shape, order)
        return Buffer(byte_view(data))


def _span(array: Array, number: int) -> Span:
    start: int = array.__array_interface__["data"][0]
    return Span(number, start, array.shape, array.strides, array.itemsize, array.dtype.alignment)


def _gathered(arrays: list[Array], group: list[Span], layout: Layout) -> Array:
    """A memory that has what the arrays of ``group`` show, and zeros elsewhere."""
    memory: Array = np.zeros(layout.nbytes, np.uint8)
    for array, span in zip(arrays, group, strict=True):
        # Items that repeat along an axis are taken once.
        index = tuple(slice(1) if step == 0 else slice(None) for step in array.strides)
        source = array[(*index, ...)]
        offset, strides = layout.place(span)
        copy_values(np.ndarray(source.shape, source.dtype, memory, offset, strides), source)
    return memory


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
    order = _order_from(order)
    if not data.nbytes:
        return np.empty(shape, dtype, order)
    view: Array = np.ndarray(shape, dtype, data, order=order)
    if not (decoder.copy if copy is None else copy):
        return view
    array, target = _like(view, order)
    target[:] = np.frombuffer(data, np.uint8)
    return array


def _like(view: Array, order: object) -> tuple[Array, Array]:
    """An array like ``view`` whose memory is to be filled, and that memory as bytes.

    Numpy's own copy of a structure leaves what was in memory between its fields.
    """
    array: Array = np.empty_like(view, order="K", subok=False)
    return array, (array if order == "C" else array.T).reshape(-1).view(np.uint8)


def _copy_checked(decoder: Decoder, buffer: Buffer, dtype: np.dtype[Any]) -> Array:
    """A copy of a large buffer, verified piece by piece while the piece is in the processor's cache."""
    source: Array = np.frombuffer(buffer.data, np.uint8)
    view = _build(decoder, buffer.data, dtype, buffer.shape, buffer.order, copy=False)
    array, target = _like(view, buffer.order)
    sums = []
    for start in range(0, buffer.nbytes, PIECE):
        piece = target[start : start + PIECE]
        piece[:] = source[start : start + PIECE]
        sums.append(xxh3_128_digest(piece.data))
    buffer.check(decoder.blob.key, b"".join(sums))
    return array


def _decode_array(row: Row, decoder: Decoder) -> object:
    (number,) = only(row, 1)
    buffer = decoder.buffer(number, tags.NDARRAY, unchecked=True)
    dtype = dtype_from(expect(buffer.dtype, str))
    place = "numpy", number
    known = decoder.shared.get(place)  # where a view of it came first
    if known is None:
        known = decoder.shared[place] = _read(decoder, buffer, dtype)
    return known


def _read(decoder: Decoder, buffer: Buffer, dtype: np.dtype[Any]) -> Array:
    """The array that ``buffer`` is."""
    if not decoder.copy:
        buffer.check(decoder.blob.key)
    if not buffer.checked:
        return _copy_checked(decoder, buffer, dtype)
    if decoder.copy and decoder.consume and buffer.owned is not None:
        owned, buffer.owned = (
            buffer.owned,
            None,
        )  # only the first array may keep it
        return _build(decoder, owned, dtype, buffer.shape, buffer.order, copy=False)
    return _build(decoder, buffer.data, dtype, buffer.shape, buffer.order)


def _decode_structured(row: Row, decoder: Decoder) -> object:
    number, description, shape, order = only(row, 4)
    dtype = decoder.dtype_of(description)
    return _build(decoder, decoder.plain_buffer(number, tags.STRUCTURED), dtype, shape_from(shape), order)


def _decode_view(row: Row, decoder: Decoder) -> object:
    if len(row) < 5 or len(row) % 2 == 0:
        raise ValueError("a view without its shape or strides")
    number, description, offset, fixed = row[1:5]
    axes = len(row) // 2 - 2
    shape = shape_from(tuple(row[5 : 5 + axes]))
    strides = tuple(expect(n, int) for n in row[5 + axes :])
    dtype = decoder.dtype_of(description)
    if 0 in shape or not all(-_MAX_STRIDE < n < _MAX_STRIDE for n in (*strides, expect(offset, int))):
        raise ValueError("a view that cannot be")
    ends = [(count - 1) * step for count, step in zip(shape, strides, strict=True)]
    low = offset + sum(end for end in ends if end < 0)  # type: ignore[operator]  # an int, as was seen
    high = offset + sum(end for end in ends if end > 0) + dtype.itemsize  # type: ignore[operator]
    memory = _memory(decoder, number)
    if low < 0 or high > memory.nbytes:
        raise ValueError(f"a view of bytes {low} to {high} of {memory.nbytes}")
    octets: Any = (memory if memory.flags.c_contiguous else memory.T).reshape(-1).view(np.uint8)
    array: Array = np.ndarray(shape, dtype, octets, offset, strides)  # type: ignore[arg-type]
    if expect(fixed, bool):
        array.flags.writeable = False
    return array


def _memory(decoder: Decoder, number: object) -> Array:
    """The memory that views share: the array that buffer ``number`` is, made once."""
    buffer = decoder.buffer(number, None, unchecked=True)
    known = decoder.shared.get(("numpy", number))
    if isinstance(known, np.ndarray):
        return known
    memory = _read(decoder, buffer, dtype_from(buffer.dtype or "|u1"))
    decoder.shared["numpy", number] = memory
    return memory


def memory_of(array: Array) -> Array:
    """The array that owns the memory which ``array`` is a view of, for all views of it."""
    result = array
    while isinstance(result.base, np.ndarray):
        result = result.base
    return result


def plain_array(value: object) -> Array:
    """``value`` if it is a numpy array, of no subclass and with no item that is there many times.

    Otherwise raises ``TypeError`` or ``ValueError``. Code that looks at all items of a blob's array calls
    this first: views can make a few bytes look like many.
    """
    array: Array = expect(value, np.ndarray)
    if array.nbytes and not array.flags.owndata:
        span = _span(array, 0)
        if array.nbytes > span.high - span.low:
            raise ValueError("an array whose items lie on top of each other")
    return array


# -- arrays whose items are Python objects


class _Objects:
    """The arrays of Python objects that a walk met."""

    def __init__(self) -> None:
        self._arrays: list[Array] = []
        self._views = False

    def add(self, array: Array) -> None:
        """Note ``array``."""
        self._arrays.append(array)
        self._views = self._views or not array.flags.owndata

    def finish(self, encoder: Encoder, rows: RowWriter) -> None:
        """Say that some are views of one memory."""
        if self._views and len(self._arrays) > 1:
            spans = [_span(array, number) for number, array in enumerate(self._arrays) if array.nbytes]
            for first, second, *_ in groups(spans):
                first_array, other = self._arrays[first.number], self._arrays[second.number]
                apart.tell(encoder.root, first_array, other, "views of an array of Python objects")


def _encode_objects(value: Array, encoder: Encoder) -> Row:
    dtype = value.dtype
    order = _order(value)
    if dtype.kind == "O" and not dtype.metadata:
        encoder.collector(_Objects).add(value)
        return [tags.OBJECT_ARRAY, value.shape, order, *value.ravel(order).tolist()]
    description = describe(dtype, objects=True)
    if description is None:
        from laila.codec.signed import encode_pickled

        return encode_pickled(value, encoder)
    leaves = [_leaf(field) for field in _fields_of(value)]
    if _is_sparse(value, leaves):
        encoder.refuse("a structure of objects with gaps much larger than its fields")
    return [tags.STRUCTURED_OBJECTS, description, value.shape, order, *leaves]


def _is_sparse(array: Array, leaves: list[Array]) -> bool:
    """Whether an array takes so much more memory than its fields that a blob could ask for memory at will."""
    return array.nbytes > 64 * sum(leaf.nbytes for leaf in leaves) + 4096


def _fields_of(array: Array) -> Iterator[Array]:
    """The arrays of the innermost fields of a structured array, or the array itself."""
    if array.dtype.names is None:
        yield array
    else:
        for name in array.dtype.names:
            yield from _fields_of(array[name])


def _leaf(array: Array) -> Array:
    if not array.dtype.hasobject:
        # A copy, so that no view of the whole array takes it for shared memory.
        copied = array.copy()
        copied.flags.writeable = False
        return copied
    result: Array = np.empty(array.shape, object)
    result[...] = array
    return result


def _decode_structured_objects(row: Row, decoder: Decoder) -> object:
    if len(row) < 4:
        raise ValueError("an array without its dtype, shape or order")
    dtype, shape, order = decoder.new_dtype(row[1], objects=True), shape_from(row[2]), _order_from(row[3])
    if not dtype.hasobject:
        raise ValueError("not an array of objects")
    leaves = [plain_array(leaf) for leaf in row[4:]]
    if not leaves or any(leaf.shape[: len(shape)] != shape for leaf in leaves):
        raise ValueError("a field of another shape than its array")
    if not all(shape) and any(leaf.size for leaf in leaves):
        raise ValueError("a field of another size than its array")
    array: Array = np.zeros(shape, dtype, order)  # which takes no memory until it is used
    if _is_sparse(array, leaves):
        raise ValueError("an array of more bytes than its fields have")
    for field, leaf in zip(_fields_of(array), leaves, strict=True):
        decoder.again("leaf", memory_of(leaf), leaf.nbytes)
        wanted = object if field.dtype.hasobject else field.dtype
        if leaf.shape != field.shape or leaf.dtype != wanted:
            raise ValueError("a field of another shape or type than its array")
        if field.dtype.kind == "T":
            _check_texts(field.dtype, leaf)
        field[...] = leaf
    return array


def _check_texts(dtype: Any, texts: Array) -> None:
    missing = getattr(dtype, "na_object", "")
    for text in texts.flat:
        if type(text) is not str and not (type(text) is type(missing) and (text is missing or text != text)):
            raise ValueError("an item that is no text")


def _decode_objects(row: Row, decoder: Decoder) -> object:
    shape, order, items = shape_from(row[1]), _order_from(row[2]), row[3:]
    if prod(shape) != len(items):
        raise ValueError(f"{len(items)} objects for an array of shape {shape}")
    if not items:
        return np.empty(shape, object, order)
    # Assigning an item would unpack arrays and sequences; a ufunc's results are stored as they are.
    flat: Any = np.frompyfunc(items.__getitem__, 1, 1)(np.arange(len(items)))
    result: object = flat.reshape(shape, order=order)
    return result


ENCODERS[np.ndarray] = _encode_array
DECODERS.update(
    {
        tags.NDARRAY: _decode_array,
        tags.STRUCTURED: _decode_structured,
        tags.VIEW: _decode_view,
        tags.OBJECT_ARRAY: _decode_objects,
        tags.STRUCTURED_OBJECTS: _decode_structured_objects,
    }
)
