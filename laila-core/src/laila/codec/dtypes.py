"""Descriptions of numpy's dtypes: text or nested tuples that a blob holds, and the dtypes made of them.

A dtype whose items hold Python objects is described too, but only :func:`dtype_from` with ``objects=True``
builds it: no bytes out of a blob ever become an address.
"""

from __future__ import annotations

import re

import numpy as np

from laila.codec.decoder import expect, one_of
from laila.errors import MissingPluginError
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Dtype = np.dtype[Any]

__all__ = ["MAX_PARTS", "copy_values", "describe", "dtype_from", "has_padding", "shape_from", "solid"]

_simple_text = re.compile(
    r"[<>|](?:[biufcSUV][0-9]{1,9}|[mM]8(?:\[[0-9]{0,9}[A-Za-zμ]{1,2}\])?)", re.ASCII
).fullmatch
_CHARS = "qQlLiIgGdDfF"
_MAX_NESTING = 64
MAX_PARTS = 10_000
_ML_DTYPES = frozenset(
    {
        *("bcomplex32", "complex32"),
        *("bfloat16", "float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz", "float8_e4m3fn", "float8_e4m3fnuz"),
        *("float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn", "float6_e2m3fn"),
        *("float6_e3m2fn", "int1", "int2", "int4", "uint1", "uint2", "uint4"),
    }
)
"""The small number types of the package ``ml_dtypes``; other types are pickled."""
_TYPES: dict[str, type] = {"str": str, "bytes": bytes, "int": int, "float": float, "bool": bool}
"""Classes that the metadata of a dtype may name, as h5py's does for text."""
_described: dict[tuple[str, str], Any] = {}
_made: dict[str, Dtype] = {}
_MAX_KNOWN = 1000
_STRUCTURES = np.dtype("V").num
_WIDE = 16
"""The description of a structure with more fields is one tuple, if the fields are simple."""
_ATOMS = frozenset({type(None), bool, int, float, str, bytes})


def describe(dtype: Dtype, *, objects: bool = False, empty: bool = False) -> Any:
    """Return ``dtype`` as text or nested tuples, or None for a dtype that only a pickle carries.

    Text is ``dtype.str``. ``("c", char, order)`` tells C types of one size apart, ``("a", base, shape)`` is a
    sub-array, ``("s", itemsize, aligned, record, fields)`` a structure of ``(name, title, offset, dtype)``,
    ``("f", itemsize, aligned, record, name, offset, dtype, …)`` one of many simple fields,
    ``("x", name)`` a type of ml_dtypes, ``("t", coerce, missing)`` text of any length, and
    ``("m", dtype, metadata)`` a dtype with metadata.

    Args:
        dtype: What to describe.
        objects: Describe one whose items hold Python objects or text of any length, too.
        empty: Describe one whose items have no bytes, too.
    """
    if (dtype.hasobject and not objects) or (dtype.itemsize == 0 and not empty):
        return None
    simple = dtype.num < _STRUCTURES and dtype.metadata is None
    key = dtype.char, dtype.str
    if simple and key in _described:
        return _described[key]
    try:
        result = _describe(dtype, [MAX_PARTS])
    except OverflowError:
        return None
    if simple and len(_described) < _MAX_KNOWN:
        _described[key] = result
    return result


def _describe(dtype: Dtype, left: list[int]) -> object:
    _count(left)
    if dtype.metadata:
        pairs = _describe_metadata(dict(dtype.metadata), left)
        inner = None if pairs is None else _describe_bare(dtype, left)
        return None if inner is None else ("m", inner, pairs)
    return _describe_bare(dtype, left)


def _describe_bare(dtype: Dtype, left: list[int]) -> object:
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        inner = _describe(base, left)
        return None if inner is None else ("a", inner, tuple(shape))
    if dtype.names is not None:
        return _describe_structure(dtype, left)
    if dtype.kind == "O":
        return "|O"
    if dtype.kind == "T":
        return _describe_text(dtype)
    if dtype.type.__module__ == "ml_dtypes":
        name = dtype.type.__name__
        return ("x", name) if name in _ML_DTYPES and dtype.isnative else None
    text = dtype.str
    if _simple_text(text):
        same = np.dtype(text)
        if same.char == dtype.char and same == dtype:
            return text
        if dtype.char in _CHARS and np.dtype(dtype.char).newbyteorder(text[0]) == dtype:  # type: ignore[arg-type]
            return ("c", dtype.char, text[0])
    return None


def _describe_structure(dtype: Dtype, left: list[int]) -> object:
    fields = []
    assert dtype.names is not None
    assert dtype.fields is not None
    for name in dtype.names:
        field = dtype.fields[name]
        inner = _describe(field[0], left)
        title = field[2] if len(field) > 2 else None
        if inner is None or (title is not None and type(title) is not str):
            return None
        fields.append((name, title, field[1], inner))
    if len(fields) > _WIDE and all(title is None and type(inner) is str for _, title, _, inner in fields):
        flat = [part for name, _, offset, inner in fields for part in (name, offset, inner)]
        return ("f", dtype.itemsize, dtype.isalignedstruct, dtype.type is np.record, *flat)
    return ("s", dtype.itemsize, dtype.isalignedstruct, dtype.type is np.record, tuple(fields))


def _describe_text(dtype: Any) -> object:
    missing: tuple[object, ...] = ()
    if hasattr(dtype, "na_object"):
        missing = (dtype.na_object,)
        if type(missing[0]) not in (type(None), float, str):
            return None
    return ("t", bool(dtype.coerce), missing)


def _describe_metadata(value: object, left: list[int]) -> object:
    _count(left)
    kind = type(value)
    if kind in _ATOMS:
        return ("v", value)
    if isinstance(value, np.dtype):
        inner = _describe(value, left)
        return None if inner is None else ("d", inner)
    if isinstance(value, type):
        return ("t", value.__name__) if _TYPES.get(value.__name__) is value else None
    if kind is dict and all(type(key) is str for key in value):  # type: ignore[attr-defined]
        items = [(key, _describe_metadata(held, left)) for key, held in value.items()]  # type: ignore[attr-defined]
        return None if any(held is None for _, held in items) else ("k", *items)
    return None


def _count(left: list[int]) -> None:
    """Count a part of a dtype, each as often as it is met: parts of parts can share all theirs."""
    left[0] -= 1
    if left[0] < 0:
        raise OverflowError(f"a dtype of more than {MAX_PARTS} parts")


def dtype_from(
    description: object, *, objects: bool = False, empty: bool = False, left: list[int] | None = None
) -> Dtype:
    """The dtype of a description.

    ``left`` says how many parts it may have, and then how many of them it has not.

    Raises ``ValueError``, ``TypeError`` or ``OverflowError`` for one that ``describe`` never gives.
    """
    result = _dtype(description, 0, [MAX_PARTS] if left is None else left)
    if (result.hasobject and not objects) or (result.itemsize == 0 and not empty):
        raise ValueError("a dtype of objects, or of nothing")
    return result


def _dtype(description: object, depth: int, left: list[int]) -> Dtype:
    _count(left)
    if depth > _MAX_NESTING:
        raise ValueError("a dtype nested too deep")
    if type(description) is str:
        known = _made.get(description)
        if known is not None:
            return known
        if not _simple_text(description) and description != "|O":
            raise ValueError(f"the dtype {shown(description)}")
        made: Dtype = np.dtype(description)
        if len(_made) < _MAX_KNOWN:
            _made[description] = made
        return made
    kind, *fields = expect(description, tuple)
    expect(kind, str)
    if kind == "s":
        return _structure(*fields, depth=depth, left=left)
    if kind == "f":
        flat = fields[3:]
        if len(flat) % 3 or any(type(inner) is not str for inner in flat[2::3]):
            raise ValueError("a structure of other than simple fields")
        names, offsets, inners = flat[::3], flat[1::3], flat[2::3]
        parts = tuple(zip(names, [None] * len(names), offsets, inners, strict=True))
        itemsize, aligned, record = fields[:3]
        return _structure(itemsize, aligned, record, parts, depth=depth, left=left)
    if kind == "x":
        (name,) = fields
        return _small_number(expect(name, str))
    first, second = fields
    if kind == "c":
        if len(expect(first, str)) != 1 or first not in _CHARS or not one_of(second, "<", ">", "|"):
            raise ValueError("an unknown C type")
        simple = np.dtype(first)
        # newbyteorder makes a dtype that names its order, also for the order of this machine.
        return simple if simple.str[0] == second else simple.newbyteorder(second)
    if kind == "a":
        return np.dtype((_dtype(first, depth + 1, left), shape_from(second)))
    if kind == "t":
        return _text(expect(first, bool), expect(second, tuple))
    if kind == "m":
        metadata = _metadata(second, depth + 1, left)
        result: Dtype = np.dtype(_dtype(first, depth + 1, left), metadata=expect(metadata, dict))
        return result
    raise ValueError("an unknown kind of dtype")


def _small_number(name: str) -> Dtype:
    if name not in _ML_DTYPES:
        raise ValueError(f"the dtype {shown(name)}")
    try:
        import ml_dtypes

        known = getattr(ml_dtypes, name)
    except (ImportError, AttributeError) as error:
        raise MissingPluginError(
            f"an array of {name} needs ml_dtypes, which is not installed here or is too old ({error}): "
            "pip install -U ml-dtypes",
            plugin="ml_dtypes",
            distribution="ml-dtypes",
        ) from error
    dtype: Dtype = np.dtype(known)
    return dtype


def _text(coerce: bool, missing: tuple[object, ...]) -> Dtype:
    if not missing:
        return np.dtypes.StringDType(coerce=coerce)
    (value,) = missing
    if type(value) not in (type(None), float, str):
        raise ValueError("a missing text that cannot be")
    return np.dtypes.StringDType(coerce=coerce, na_object=value)


def _metadata(description: object, depth: int, left: list[int]) -> object:
    _count(left)
    if depth > _MAX_NESTING:
        raise ValueError("metadata nested too deep")
    kind, *fields = expect(description, tuple)
    if expect(kind, str) == "k":
        pairs = [expect(pair, tuple) for pair in fields]
        return {expect(key, str): _metadata(held, depth + 1, left) for key, held in pairs}
    (value,) = fields
    if kind == "v" and type(value) in _ATOMS:
        return value
    if kind == "d":
        return _dtype(value, depth + 1, left)
    if kind == "t":
        return _TYPES[expect(value, str)]
    raise ValueError("an unknown kind of metadata")


def _structure(
    itemsize: object, aligned: object, record: object, fields: object, *, depth: int, left: list[int]
) -> Dtype:
    names, titles, offsets, formats = [], [], [], []
    for field in expect(fields, tuple):
        name, title, offset, inner = expect(field, tuple)
        names.append(expect(name, str))
        titles.append(None if title is None else expect(title, str))
        offsets.append(expect(offset, int))
        formats.append(_dtype(inner, depth + 1, left))
    if not 0 <= expect(itemsize, int) < 1 << 31 or any(n < 0 for n in offsets):
        raise ValueError("a structure of an impossible size")
    spec: dict[str, object] = {"names": names, "formats": formats, "offsets": offsets, "itemsize": itemsize}
    if any(title is not None for title in titles):
        spec["titles"] = titles
    result: Dtype = np.dtype(spec, align=expect(aligned, bool))  # type: ignore[call-overload]
    return np.dtype((np.record, result)) if expect(record, bool) else result


def shape_from(value: object) -> tuple[int, ...]:
    """Return the shape that a row holds; raises ``ValueError`` for a shape that no array has."""
    if len(expect(value, tuple)) > _MAX_NESTING:
        raise ValueError("a shape of too many axes")
    shape = tuple(expect(n, int) for n in value)  # type: ignore[attr-defined]
    if not all(0 <= n < 1 << 62 for n in shape):
        raise ValueError("an impossible shape")
    return shape


_EXTENDED = np.finfo(np.longdouble).nmant == 63 and np.dtype("g").itemsize > 10
"""Whether a ``longdouble`` fills ten bytes of its place, as on x86; the others are never written."""


def solid(dtype: Dtype) -> bool:
    """Whether every byte of an item of ``dtype`` is part of its value.

    Bytes between the fields of a structure, and the last ones of a ``longdouble``, hold whatever was in
    memory.
    """
    if dtype.subdtype is not None:
        return solid(dtype.subdtype[0])
    if dtype.names is None:
        return not has_padding(dtype)
    assert dtype.fields is not None
    end = 0
    for field, offset in sorted((f[:2] for f in dtype.fields.values()), key=lambda pair: pair[1]):
        if offset > end or not solid(field):
            return False
        end = max(end, offset + field.itemsize)
    return end == dtype.itemsize


def has_padding(dtype: Dtype) -> bool:
    """Whether it is a long double, whose last bytes are no value; dtypes of ml_dtypes share its letters."""
    return _EXTENDED and dtype.type in (np.longdouble, np.clongdouble)


def _values_only(dtype: Dtype) -> Dtype:
    """A dtype of the same size, whose fields are the bytes that are part of a value."""
    if dtype.subdtype is not None:
        return np.dtype((_values_only(dtype.subdtype[0]), dtype.subdtype[1]))
    if dtype.names is not None:
        assert dtype.fields is not None
        fields = [dtype.fields[name] for name in dtype.names]
        formats, offsets = [_values_only(field[0]) for field in fields], [field[1] for field in fields]
    elif has_padding(dtype):
        size = np.dtype("g").itemsize
        first = 0 if dtype.isnative else size - 10
        offsets = list(range(first, dtype.itemsize, size))
        formats = [np.dtype("V10") for _ in offsets]
    else:
        return dtype
    names = [f"f{number}" for number in range(len(formats))]
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": dtype.itemsize})


def copy_values(target: np.ndarray[Any, Dtype], source: np.ndarray[Any, Dtype]) -> None:
    """Copy ``source`` to ``target``, of the same shape and dtype, without the bytes that are no value."""
    dtype = source.dtype
    if not solid(dtype):
        values = _values_only(dtype)
        target, source = target.view(values), source.view(values)
    target[...] = source
