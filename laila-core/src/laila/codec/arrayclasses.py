"""Rows of numpy's other types: masked arrays, subclasses of arrays with their attributes, scalars, dtypes.

A subclass is the array that it is a view of, and the attributes of the instance. numpy's own classes need
nothing else; another class needs a signature or a registration.
"""

from __future__ import annotations

import copyreg

import numpy as np

from laila.codec import tags
from laila.codec.arrays import Memory, memory_of, plain_array
from laila.codec.attributes import set_attributes, sign_attributes
from laila.codec.containers import only
from laila.codec.decoder import WORK_OF_ATTRIBUTE, Decoder, expect
from laila.codec.dtypes import copy_values, describe, has_padding
from laila.codec.registry import DECODERS, ENCODERS
from laila.codec.walking import NotALeaf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from laila.codec.encoder import Encoder

    Row = list[object]
    Array = np.ndarray[Any, np.dtype[Any]]

__all__ = [
    "encode_subclass",
    "is_plain_subclass",
    "rebuild_subclass",
    "reduce_subclass",
    "set_subclass_state",
]

_CLASSES: dict[str, type[Any]] = {
    "matrix": np.matrix,
    "recarray": np.recarray,
    "chararray": np.char.chararray,
    "mvoid": np.ma.core.mvoid,
}
_NAMES = {kind: name for name, kind in _CLASSES.items()}
_MASKED_STATE = frozenset(
    {"_fill_value", "_hardmask", "_sharedmask", "_isfield", "_baseclass", "_optinfo", "_basedict", "_mask"}
)
"""Names that numpy itself keeps in the ``__dict__`` of a masked array."""


# -- masked arrays


def _encode_masked(value: Any, encoder: Encoder) -> Row:
    if value is np.ma.masked:
        return [tags.MASKED]
    state = value.__dict__
    fill = state.get("_fill_value")
    if fill is not None and (type(fill) is not np.ndarray or fill.shape != ()):
        held = np.empty((), value.dtype)
        held[()] = fill
        fill = held
    mask = state.get("_mask", np.ma.nomask)
    if mask is np.ma.nomask:
        mask = None
    elif type(mask) is not np.ndarray:
        mask = np.array(mask)  # the mask of one record
    attributes = {name: held for name, held in state.items() if name not in _MASKED_STATE}
    for name in ("_optinfo", "_basedict"):
        if state.get(name):
            attributes[name] = state[name]
    if attributes and encoder.in_leaf:
        raise NotALeaf  # what they hold may be in the pickle, too
    base = state.get("_baseclass", np.ndarray)
    data = value.view(np.ndarray)
    if base is not np.ndarray and not issubclass(base, np.ma.MaskedArray):
        data = data.view(base)
        notes = state.get("_basedict")
        if notes and hasattr(data, "__dict__"):
            data.__dict__.update(notes)
    row: Row = [tags.MASKED, data, mask, fill, bool(state.get("_hardmask"))]
    sign_attributes(np.ma.MaskedArray, attributes, encoder)
    return [*row, attributes] if attributes else row


def _decode_masked(row: Row, decoder: Decoder) -> object:
    if len(row) == 1:
        return np.ma.masked
    data, mask, fill, hard = row[1:5]
    (attributes,) = row[5:] or (None,)
    if not isinstance(data, np.ndarray) or isinstance(data, np.ma.MaskedArray):
        raise TypeError("a masked array of something else")
    cover: Any = np.ma.nomask
    if mask is not None:
        cover = expect(mask, np.ndarray)
        if cover.shape != data.shape or cover.dtype != np.ma.make_mask_descr(data.dtype):
            raise ValueError("a mask of another shape or type than its array")
    value: Any = None
    if fill is not None:
        value = expect(fill, np.ndarray)
        if value.shape != ():
            raise ValueError("a fill value that is no single value")
    with np.errstate(all="ignore"):  # numpy makes a fill value of a structure, which need not fit
        array: Any = data.view(np.ma.MaskedArray)
    state = array.__dict__
    state.update(
        _mask=cover,
        _fill_value=value,
        _hardmask=expect(hard, bool),
        _sharedmask=mask is not None,
    )
    if attributes is not None:
        set_attributes(array, attributes, decoder, known=("_optinfo", "_basedict"), own=_MASKED_STATE)
    return array


# -- subclasses


def is_plain_subclass(kind: type) -> bool:
    """Whether an instance of ``kind``, which derives from ``ndarray``, is an array and its attributes."""
    base = np.ma.MaskedArray if issubclass(kind, np.ma.MaskedArray) else np.ndarray
    return (
        issubclass(kind, np.ndarray)
        and not issubclass(kind, np.memmap)
        and kind not in copyreg.dispatch_table
        and all(
            getattr(kind, name, None) is getattr(base, name, None)
            for name in ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__")
        )
    )


def encode_subclass(value: Any, encoder: Encoder) -> Row:
    """The rows of what derives from numpy's types without being exactly one of those in the tables."""
    kind = type(value)
    if isinstance(value, np.generic):
        return _encode_scalar(value, encoder)
    if isinstance(value, np.dtype):
        description = describe(value, objects=True, empty=True)
        if description is not None:
            return [tags.DTYPE, description]
    elif value is np.ma.masked:
        return [tags.MASKED]
    elif kind in _NAMES or is_plain_subclass(kind):
        return _encode_instance(value, kind, encoder)
    from laila.codec.signed import encode_pickled

    return encode_pickled(value, encoder)


def _taken_apart(value: Any, kind: type) -> tuple[Any, dict[Any, object]]:
    """Return the base array of an instance of a subclass, and its attributes."""
    masked = isinstance(value, np.ma.MaskedArray)
    state = dict(getattr(value, "__dict__", {}))
    if masked:
        # Past the class's own view(), which may add to it.
        with np.errstate(all="ignore"):
            base: Any = np.ndarray.view(value, np.ma.MaskedArray)
        core = {name: state.pop(name) for name in _MASKED_STATE if name in state}
        base.__dict__.clear()
        base.__dict__.update(core)
    else:
        base = np.ndarray.view(value, np.ndarray)
    if kind is np.matrix:
        state.pop("_getitem", None)  # a note of a matrix to itself
    for name in copyreg._slotnames(kind):  # type: ignore[attr-defined]  # what pickle itself uses
        try:
            state[name] = getattr(value, name)
        except AttributeError:
            continue
    return base, state


def _encode_instance(value: Any, kind: type, encoder: Encoder) -> Row:
    base, state = _taken_apart(value, kind)
    if kind in _NAMES:
        row: Row = [tags.ARRAY_CLASS, _NAMES[kind], base]
        sign_attributes(kind, state, encoder)
        return [*row, state] if state else row
    slots = copyreg._slotnames(kind)  # type: ignore[attr-defined]
    sign_attributes(kind, {name: held for name, held in state.items() if name not in slots}, encoder)
    return [tags.ARRAY_SUBCLASS, _name_of(kind, encoder), base, state or None]


def _name_of(kind: type, encoder: Encoder) -> object:
    """The class as its row has it: its name, or itself where it cannot be imported by that."""
    from laila.codec.classnames import class_of_row

    return class_of_row(kind, encoder)


def _decode_class(row: Row, decoder: Decoder) -> object:
    name, array = row[1:3]
    (attributes,) = row[3:] or (None,)
    kind = _CLASSES[expect(name, str)]
    if kind is np.ma.core.mvoid:
        return _record(expect(array, np.ma.MaskedArray), attributes, decoder)
    base = expect(array, np.ndarray)
    if kind is np.matrix and base.ndim != 2:
        raise ValueError("a matrix of another number of dimensions")
    if kind is np.char.chararray and base.dtype.kind not in "SU":
        raise ValueError("not an array of characters")
    result = base.view(kind)
    if attributes is not None:
        set_attributes(result, attributes, decoder)
    return result


def _record(base: Any, attributes: object, decoder: Decoder) -> object:
    """One record of a masked array, whose mask is a record, too."""
    if base.shape != () or base.dtype.names is None:
        raise ValueError("not a record")
    state = dict(base.__dict__)
    array: Any = base.view(np.ndarray).view(np.ma.core.mvoid)
    if state["_mask"] is not np.ma.nomask:
        state["_mask"] = state["_mask"][()]
    array.__dict__.update(state)
    if attributes is not None:
        set_attributes(array, attributes, decoder)
    return array


def _decode_subclass(row: Row, decoder: Decoder) -> object:
    from laila.codec.classnames import class_from_row

    name, array, attributes = only(row, 3)
    kind: Any = class_from_row(name, decoder, is_plain_subclass)
    if not isinstance(array, np.ndarray):
        raise TypeError("not an array of another class")
    result = rebuild_subclass(kind, array)
    if attributes is not None:
        decoder.again("attributes", attributes, WORK_OF_ATTRIBUTE * len(expect(attributes, dict)))
    for name, held in attributes.items() if attributes is not None else ():  # type: ignore[attr-defined]
        if name in copyreg._slotnames(kind) or not hasattr(result, "__dict__"):  # type: ignore[attr-defined]
            setattr(result, expect(name, str), held)
        else:
            set_attributes(result, {name: held}, decoder, own=_MASKED_STATE)
    return result


def rebuild_subclass(kind: Any, array: Any) -> Any:
    """A view of ``array`` as an instance of ``kind``, without attributes. Pickles call it by this name."""
    with np.errstate(all="ignore"):  # numpy makes a fill value of a structure, which need not fit
        result = array.view(kind)
    state = getattr(result, "__dict__", None)
    if state is not None:
        # __array_finalize__ may have set attributes that the instance did not have.
        state.clear()
        state.update(array.__dict__ if isinstance(array, np.ma.MaskedArray) else {})
    return result


def set_subclass_state(instance: Any, attributes: dict[str, object]) -> None:
    """Set what :func:`reduce_subclass` took apart. Pickles call it by this name."""
    slots = copyreg._slotnames(type(instance))  # type: ignore[attr-defined]
    for name, held in attributes.items():
        if name in slots:
            setattr(instance, name, held)
        else:
            instance.__dict__[name] = held


def reduce_subclass(value: Any) -> tuple[object, ...] | None:
    """Return the pickle form of an array with its own attributes; None if numpy keeps all."""
    kind = type(value)
    if kind is np.ndarray or value is np.ma.masked or not is_plain_subclass(kind):
        return None
    base, attributes = _taken_apart(value, kind)
    for name in ("_optinfo", "_basedict"):
        if kind is np.ma.MaskedArray and base.__dict__.get(name):
            attributes[name] = base.__dict__.pop(name)
    if not attributes or kind is np.ma.core.mvoid:
        return None
    return rebuild_subclass, (kind, base), attributes, None, None, set_subclass_state


# -- scalars and dtypes


def _encode_scalar(value: Any, encoder: Encoder) -> Row:
    kind = type(value)
    if kind is np.str_:
        return [tags.NUMPY_TEXT, str.__str__(value)]  # past numpy, which drops zeros at the end
    if kind is np.bytes_:
        return [tags.NUMPY_TEXT, bytes.__getitem__(value, slice(0, None))]
    if kind.__module__ in ("numpy", "ml_dtypes") or kind is np.record:
        dtype = value.dtype
        if dtype.hasobject and describe(dtype, objects=True) is not None:
            return [tags.STRUCTURED_SCALAR, _single(value)]
        description = encoder.collector(Memory).describe(dtype)
        if description is not None and dtype.names is not None:
            return [tags.STRUCTURED_SCALAR, description, _single(value).tobytes()]
        if description is not None and dtype.type is kind:
            # Others than a longdouble have nothing but their value.
            whole = _single(value) if has_padding(dtype) else value
            return [tags.SCALAR, description, whole.tobytes()]
    from laila.codec.signed import encode_pickled

    return encode_pickled(value, encoder)


def _single(value: Any) -> Array:
    """A scalar as an array of its own, which has nothing of the memory around the value."""
    array: Array = np.array(value, dtype=value.dtype)
    result: Array = np.zeros((), value.dtype)
    if array.dtype.hasobject:
        result[()] = array[()]
    else:
        copy_values(result, array)
    result.flags.writeable = False
    return result


def _decode_scalar(row: Row, decoder: Decoder) -> object:
    description, data = only(row, 2)
    return _scalar(decoder.dtype_of(description), decoder.copied(data), structured=False)


def _scalar(dtype: np.dtype[Any], data: bytes, *, structured: bool) -> object:
    raw = bytearray(data)
    if (dtype.names is None) == structured or dtype.subdtype is not None or len(raw) != dtype.itemsize:
        raise ValueError("a scalar of another size than its type")
    array: object = np.ndarray((), dtype, raw)[()]
    return array


def _decode_structured_scalar(row: Row, decoder: Decoder) -> object:
    if len(row) == 3:
        return _scalar(decoder.dtype_of(row[1]), decoder.copied(row[2]), structured=True)
    (array,) = only(row, 1)
    base = plain_array(array)
    if base.shape != () or base.dtype.names is None:
        raise ValueError("not a structured scalar")
    decoder.again("scalar", memory_of(base), base.nbytes)
    result: object = base[()]
    return result


def _decode_text(row: Row, decoder: Decoder) -> object:
    (text,) = only(row, 1)
    if type(text) is bytes:
        return np.bytes_(decoder.copied(text))
    return np.str_(expect(text, str))


def _decode_dtype(row: Row, decoder: Decoder) -> object:
    (description,) = only(row, 1)
    return decoder.new_dtype(description, objects=True, empty=True)


ENCODERS[np.ma.MaskedArray] = _encode_masked
DECODERS.update(
    {
        tags.MASKED: _decode_masked,
        tags.ARRAY_CLASS: _decode_class,
        tags.ARRAY_SUBCLASS: _decode_subclass,
        tags.SCALAR: _decode_scalar,
        tags.STRUCTURED_SCALAR: _decode_structured_scalar,
        tags.NUMPY_TEXT: _decode_text,
        tags.DTYPE: _decode_dtype,
    }
)

import laila.codec.recipes.numbers  # noqa: E402, F401 - what it knows is of numpy, too
