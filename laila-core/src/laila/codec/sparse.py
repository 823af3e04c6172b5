"""Rows of scipy's sparse arrays and matrices, of every format: the arrays that they are made of.

scipy's routines take indices on trust, so they are checked when written and when read.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from laila.codec import tags
from laila.codec.arrays import memory_of, plain_array
from laila.codec.attributes import set_attributes, sign_attributes
from laila.codec.decoder import Decoder, expect
from laila.codec.registry import DECODERS, ENCODERS
from laila.showing import said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from laila.codec.encoder import Encoder

    Row = list[object]
    State = dict[str, Any]
    Array = np.ndarray[Any, np.dtype[Any]]

__all__: list[str] = []

_MAX_AXES = 64
_KINDS: dict[str, type[Any]] = {
    f"{name}_{kind}": getattr(sparse, f"{name}_{kind}")
    for name in ("csr", "csc", "bsr", "coo", "dia", "lil", "dok")
    for kind in ("array", "matrix")
    if hasattr(sparse, f"{name}_{kind}")
}
_NAMES = {kind: name for name, kind in _KINDS.items()}
_ARRAYS = frozenset({"indptr", "indices", "data"})
_FLAGS = frozenset({"_has_sorted_indices", "_has_canonical_format", "has_canonical_format"})
_FIELDS = {
    **dict.fromkeys(("csr", "csc", "bsr"), _ARRAYS),
    "coo": frozenset({"coords", "data", "has_canonical_format"}),
    "dia": frozenset({"data", "offsets"}),
    "lil": frozenset({"dtype", "rows", "data"}),
    "dok": frozenset({"dtype", "_dict"}),
}
"""Per format: what an instance has in its ``__dict__``, besides ``_shape``, ``maxprint`` and flags."""


def _check(name: str, shape: tuple[int, ...], state: State, decoder: Decoder | None = None) -> None:
    """Raise ``ValueError`` or ``TypeError`` unless the parts fit together."""
    form = name[:3]
    if decoder is not None:
        _count(state, decoder)
    if not 0 < len(shape) <= _MAX_AXES or any(type(n) is not int or not 0 <= n < 1 << 62 for n in shape):
        raise ValueError("an impossible shape")
    if not state.keys() >= _FIELDS[form] or not state.keys() <= {*_FIELDS[form], *_FLAGS, "maxprint"}:
        raise ValueError(f"a {name} of other fields")
    for flag in _FLAGS & state.keys():
        expect(state[flag], bool)
    if state.get("maxprint") is not None and type(state["maxprint"]) is not int:
        raise TypeError("maxprint is no number")
    if form in ("csr", "csc", "bsr"):
        _check_compressed(form, shape, state)
    elif form == "coo":
        coords, data = expect(state["coords"], tuple), plain_array(state["data"])
        if len(coords) != len(shape) or data.ndim != 1:
            raise ValueError("coordinates for another number of axes")
        for index, size in zip(coords, shape, strict=True):
            _check_indices(index, size)
            if index.shape != data.shape:
                raise ValueError("coordinates of another length than the data")
    elif form == "dia":
        data, offsets = plain_array(state["data"]), plain_array(state["offsets"])
        if data.ndim != 2 or len(shape) != 2 or offsets.shape != data.shape[:1]:
            raise ValueError("diagonals that do not fit their offsets")
        _check_indices(offsets + max(shape), 2 * max(shape) + 1)
    elif form == "lil":
        _check_lists(shape, state)
    else:
        _check_dict(shape, state)


def _count(state: State, decoder: Decoder) -> None:
    """Count what looking at the parts takes that other rows have, too."""
    for part in state.values():
        for array in part if type(part) is tuple else (part,):
            if type(array) is np.ndarray:
                objects = array.dtype == object
                decoder.again("sparse", memory_of(array), array.size if objects else array.size >> 6)
                for item in array.ravel().tolist() if objects else ():
                    if type(item) is list:
                        decoder.again("sparse", item, 2 * len(item))
            elif type(array) is dict:
                decoder.again("sparse", array, 60 * len(array))


def _check_indices(index: object, size: int) -> None:
    array = plain_array(index)
    if array.ndim != 1 or array.dtype not in (np.dtype(np.int32), np.dtype(np.int64)):
        raise TypeError("indices that are no plain array of integers")
    if len(array) and (array.min() < 0 or array.max() >= size):
        raise ValueError("an index out of range")


def _check_compressed(form: str, shape: tuple[int, ...], state: State) -> None:
    ends, data = plain_array(state["indptr"]), plain_array(state["data"])
    major, minor = (1, *shape)[-2:] if form != "csc" else shape[::-1]
    if len(shape) > 2 or (form != "csr" and len(shape) != 2):
        raise ValueError("a shape of too many axes, or too few")
    if form == "bsr":
        if data.ndim != 3 or not all(data.shape[1:]) or major % data.shape[1] or minor % data.shape[2]:
            raise ValueError("blocks that do not fit the shape")
        major, minor = major // data.shape[1], minor // data.shape[2]
    elif data.ndim != 1:
        raise ValueError("data of more than one axis")
    _check_indices(state["indices"], minor)
    _check_indices(ends, len(data) + 1)
    if len(ends) != major + 1 or ends[0] != 0 or len(state["indices"]) != len(data):
        raise ValueError("indices of another length than the data")
    if bool((ends[1:] < ends[:-1]).any()):
        raise ValueError("rows that end before they begin")


def _check_lists(shape: tuple[int, ...], state: State) -> None:
    rows, data = plain_array(state["rows"]), plain_array(state["data"])
    expect_dtype(state["dtype"])
    if len(shape) != 2 or rows.shape != shape[:1] or data.shape != rows.shape or rows.dtype != object:
        raise ValueError("rows that do not fit the shape")
    for columns, values in zip(rows.tolist(), data.tolist(), strict=True):
        if len(expect(columns, list)) != len(expect(values, list)):
            raise ValueError("a row of more columns than values, or fewer")
        if not all(isinstance(n, (int, np.integer)) and 0 <= n < shape[1] for n in columns):
            raise ValueError("an index out of range")


def _check_dict(shape: tuple[int, ...], state: State) -> None:
    expect_dtype(state["dtype"])
    for key in expect(state["_dict"], dict):
        place = key if type(key) is tuple else (key,)
        if len(place) != len(shape) or not all(
            isinstance(n, (int, np.integer)) and 0 <= n < size for n, size in zip(place, shape, strict=True)
        ):
            raise ValueError("an index out of range")


def expect_dtype(value: object) -> None:
    """Raise ``TypeError`` unless ``value`` is a dtype."""
    if not isinstance(value, np.dtype):
        raise TypeError("not a dtype")


def _encode_sparse(value: Any, encoder: Encoder) -> Row:
    name = _NAMES[type(value)]
    held = dict(value.__dict__)
    shape = tuple(int(n) for n in held.pop("_shape"))
    state = {key: held.pop(key) for key in {*_FIELDS[name[:3]], *_FLAGS, "maxprint"} & held.keys()}
    for flag in _FLAGS & state.keys():
        state[flag] = bool(state[flag])
    sign_attributes(type(value), held, encoder)
    try:
        _check(name, shape, state)
    except (TypeError, ValueError) as error:
        encoder.refuse(f"a {name} that scipy itself could not use: {said(error)}", error)
    row: Row = [tags.SPARSE, name, shape, held or None]
    for key in sorted(state):
        row += (key, state[key])
    return row


def _decode_sparse(row: Row, decoder: Decoder) -> object:
    if len(row) < 4 or len(row) % 2:
        raise ValueError("a sparse array of too few fields")
    name, shape, attributes = expect(row[1], str), expect(row[2], tuple), row[3]
    kind = _KINDS[name]
    names = [expect(key, str) for key in row[4::2]]
    state = dict(zip(names, row[5::2], strict=True))
    if len(state) != len(names):
        raise ValueError("a field twice")
    _check(name, shape, state, decoder)
    make: Any = kind.__new__
    result = make(kind)
    result.__dict__.update(_shape=shape, **state)
    if attributes is not None:
        set_attributes(result, attributes, decoder, own={*result.__dict__, "_shape"})
    return result


ENCODERS.update(dict.fromkeys(_NAMES, _encode_sparse))
DECODERS[tags.SPARSE] = _decode_sparse
