"""Say where two objects differ, without laila: by each library's own means, and by a walk over their state.

Two objects are the same where their types are, and the parts that pickle would write: what ``__reduce_ex__``
gives, compared in turn. Numbers, text, arrays, tensors, frames and tables are compared bit by bit, with their
dtype, order, frequency and other properties. What is shared in one object must be shared in the other.
"""

from __future__ import annotations

import copyreg
import math
import struct
import sys
from collections.abc import Callable, Iterator
from functools import partial
from types import BuiltinFunctionType, FunctionType, GenericAlias, MappingProxyType, MethodType, ModuleType
from typing import Any

__all__ = ["difference"]

_UNSHARED = (tuple, frozenset, float, complex)
_ATOMS = (int, str, bytes, bool, type(None), range, type(...), type(NotImplemented))
_NAMED = (type, FunctionType, BuiltinFunctionType, ModuleType, type(list.append), type(int.__add__))


def _drawn(figure: Any) -> bytes:
    import io

    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


_LOOKS: dict[str, dict[str, Callable[[Any], object]]] = {
    "astropy": {"CompositeUnit": lambda unit: (unit.scale, list(unit.bases), list(unit.powers))},
    "box": {"Box": lambda box: box.to_dict(), "BoxList": lambda box: box.to_list()},
    "bs4": {"BeautifulSoup": str},
    "matplotlib": {"Figure": lambda figure: _drawn(figure)},
    "networkx": dict.fromkeys(
        ("Graph", "DiGraph", "MultiGraph", "MultiDiGraph"),
        lambda graph: (graph.graph, graph._node, graph._adj, getattr(graph, "_pred", None)),
    ),
    "plotly": {"Figure": lambda figure: figure.to_json()},
    "scipy": {"rv_continuous_frozen": lambda frozen: (frozen.dist.name, frozen.args, frozen.kwds)},
    "sqlalchemy": {"Table": repr},
    "xarray": {
        "Dataset": lambda data: (data.to_dict(encoding=True), dict(data.indexes)),
        "Variable": lambda variable: variable.to_dict(encoding=True),
        "IndexVariable": lambda variable: variable.to_dict(encoding=True),
        "DataArray": lambda array: (array.to_dict(encoding=True), dict(array.indexes)),
        "DataTree": lambda tree: {path: node.to_dataset().to_dict() for path, node in tree.subtree_with_keys},
    },
}
"""By package and class: what an object shows, where its state holds caches or what belongs to the process."""


def difference(a: object, b: object) -> str | None:
    """Return where and how ``a`` and ``b`` differ, or None where they are the same."""
    pairs: dict[int, object] = {}
    alive: list[object] = []  # ids stay unique while their objects live
    todo: list[tuple[str, object, object]] = [("", a, b)]
    while todo:
        place, one, two = todo.pop()
        if type(one) is not type(two):
            return f"{place}: {type(one)} became {type(two)}"
        if isinstance(one, _ATOMS) and type(one) in _ATOMS:
            if one != two:
                return f"{place}: {one!r:.100} became {two!r:.100}"
            continue
        if id(one) in pairs:
            if pairs[id(one)] is not two and not isinstance(one, _UNSHARED) and not _is_dtype(one):
                return f"{place}: a {type(one).__name__} is no longer shared, or another one is"
            continue
        pairs[id(one)] = two
        alive += (one, two)
        found = _compare(one, two)
        if isinstance(found, str):
            return f"{place}: {found}"
        for name, left, right in found:
            todo.append((f"{place}{name}", left, right))
    return None


def _compare(one: Any, two: Any) -> str | list[tuple[str, Any, Any]]:
    """What differs, as text, or the parts that remain to be compared."""
    kind = type(one)
    if kind is float:
        same = struct.pack("d", one) == struct.pack("d", two) or (math.isnan(one) and math.isnan(two))
        return [] if same else f"{one!r} became {two!r}"
    if kind is complex:
        return [(".real", one.real, two.real), (".imag", one.imag, two.imag)]
    if isinstance(one, _NAMED):
        return [] if one is two or _name(one) == _name(two) else f"{_name(one)} became {_name(two)}"
    seen = _LOOKS.get(str(kind.__module__).partition(".")[0], {}).get(kind.__name__)
    if seen is not None:
        return [(".look", seen(one), seen(two))]
    for compare in (_numpy, _pandas, _torch, _pillow, _arrow):
        found = compare(one, two)
        if found is not None:
            return found
    return _parts(one, two)


def _is_dtype(value: Any) -> bool:
    """Whether numpy decides how many of them there are."""
    np = _module("numpy")
    return np is not None and isinstance(value, np.dtype)


def _name(value: Any) -> str:
    return (
        f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', getattr(value, '__name__', ''))}"
    )


def _parts(one: Any, two: Any) -> str | list[tuple[str, Any, Any]]:
    kind = type(one)
    if kind in (list, tuple):
        if len(one) != len(two):
            return f"{len(one)} items became {len(two)}"
        return [(f"[{i}]", left, right) for i, (left, right) in enumerate(zip(one, two, strict=True))]
    if kind in (set, frozenset):
        return [(".members", sorted(one, key=_order), sorted(two, key=_order))]
    if kind is dict or kind is MappingProxyType:
        return [(".keys", list(one), list(two)), (".values", list(one.values()), list(two.values()))]
    if kind is MethodType:
        return [(".__func__", one.__func__, two.__func__), (".__self__", one.__self__, two.__self__)]
    if kind is GenericAlias:
        return [(".origin", one.__origin__, two.__origin__), (".args", one.__args__, two.__args__)]
    if isinstance(one, BaseException):
        names = ("args", "__cause__", "__context__", "__suppress_context__", "__dict__")
        return [(f".{name}", getattr(one, name), getattr(two, name)) for name in names]
    try:
        left, right = _reduced(one), _reduced(two)
    except Exception as error:  # noqa: BLE001 - whatever a class raises: it has no state that can be told
        return [] if _equal(one, two) else f"cannot be taken apart ({error!r:.100}), and is not equal"
    if isinstance(left, str) or isinstance(right, str):
        return [] if left == right else f"{left} became {right}"
    return [(f".reduced[{i}]", a, b) for i, (a, b) in enumerate(zip(left, right, strict=True))]


def _equal(one: Any, two: Any) -> bool:
    equal = one == two
    return equal if isinstance(equal, bool) else bool(equal.all())


def _order(value: Any) -> tuple[str, str]:
    return type(value).__name__, repr(value)


def _reduced(value: Any) -> str | tuple[Any, ...]:
    """What pickle would write of ``value``: the function, its arguments, the state, items and pairs."""
    reduce = copyreg.dispatch_table.get(type(value))
    parts = reduce(value) if reduce is not None else value.__reduce_ex__(4)
    if isinstance(parts, str):
        return parts
    padded = [*parts, *([None] * (6 - len(parts)))]
    padded[2] = _state(padded[2])
    if isinstance(value, partial) and isinstance(padded[2], tuple):
        padded[2] = (
            *padded[2][:3],
            padded[2][3] or None,
        )  # an empty __dict__ comes to be when it is looked at
    for i in (3, 4):
        if isinstance(padded[i], Iterator):
            padded[i] = list(padded[i])
    if type(value).__name__ in ("set", "frozenset"):
        padded[1] = sorted(padded[1], key=_order)
    return tuple(padded)


def _state(state: Any) -> Any:
    """The attributes in the order of their names: the order in which they were set says nothing."""
    if type(state) is tuple and len(state) == 2:
        return tuple(map(_state, state))
    if type(state) is dict and all(type(name) is str for name in state):
        return {name: state[name] for name in sorted(state)}
    return state


def _module(name: str) -> Any:
    return sys.modules.get(name)


def _numpy(one: Any, two: Any) -> str | list[tuple[str, Any, Any]] | None:
    np = _module("numpy")
    if np is None or not isinstance(one, (np.ndarray, np.generic, np.dtype)):
        return None
    if isinstance(one, np.dtype):
        same = one == two and one.str == two.str and dict(one.metadata or {}) == dict(two.metadata or {})
        return [] if same else f"{one!r} became {two!r}"
    left, right = np.asarray(one), np.asarray(two)
    if left.dtype != right.dtype or left.dtype.str != right.dtype.str or left.shape != right.shape:
        return f"{left.dtype!r} {left.shape} became {right.dtype!r} {right.shape}"
    if left.dtype.isalignedstruct != right.dtype.isalignedstruct:
        return "an aligned structure became another one"
    if isinstance(one, np.ndarray):
        for flag in ("C_CONTIGUOUS", "F_CONTIGUOUS"):
            if (
                left.size > 1
                and left.flags[flag] != right.flags[flag]
                and (left.flags.c_contiguous or left.flags.f_contiguous)
            ):
                return f"{flag} was {left.flags[flag]}"
    parts: list[tuple[str, Any, Any]] = []
    if left.dtype.hasobject or left.dtype.kind == "T":
        parts.append((".items", left.tolist(), right.tolist()))
    elif left.dtype.names is not None:
        for name in left.dtype.names:  # field by field: the padding between them says nothing
            parts.append((f"[{name!r}]", np.ascontiguousarray(left[name]), np.ascontiguousarray(right[name])))
    elif left.dtype.char in "gG":  # its spare bytes say nothing
        if not np.array_equal(left, right, equal_nan=True):
            return "other values"
    elif left.tobytes() != right.tobytes():
        return "other bytes"
    if type(one) is not np.ndarray and isinstance(one, np.ndarray):
        if isinstance(one, np.ma.MaskedArray):
            parts.append((".mask", np.ma.getmaskarray(one), np.ma.getmaskarray(two)))
            parts.append((".fill_value", one.fill_value, two.fill_value))
            parts.append((".hardmask", one.hardmask, two.hardmask))
        for name, value in getattr(one, "__dict__", {}).items():
            if not (name.startswith("_") and isinstance(one, (np.ma.MaskedArray, np.matrix, np.recarray))):
                parts.append((f".{name}", value, two.__dict__.get(name)))
    return parts


def _pandas(one: Any, two: Any) -> str | list[tuple[str, Any, Any]] | None:
    pd = _module("pandas")
    if pd is None or not hasattr(pd, "DataFrame"):
        return None
    options: dict[str, Any] = {"check_exact": True}
    try:
        if isinstance(one, pd.DataFrame):
            pd.testing.assert_frame_equal(one, two, check_freq=True, check_column_type="exact", **options)
            return [
                (".attrs", one.attrs, two.attrs),
                (".index", one.index, two.index),
                (".columns", one.columns, two.columns),
                *(
                    (f".iloc[:, {i}]", one.iloc[:, i].array, two.iloc[:, i].array)
                    for i in range(one.shape[1])
                ),
            ]
        if isinstance(one, pd.Series):
            pd.testing.assert_series_equal(one, two, check_freq=True, **options)
            return [
                (".attrs", one.attrs, two.attrs),
                (".name", one.name, two.name),
                (".index", one.index, two.index),
                (".array", one.array, two.array),
            ]
        if isinstance(one, pd.MultiIndex):
            pd.testing.assert_index_equal(one, two, exact=True)
            return [
                (".levels", list(one.levels), list(two.levels)),
                (".codes", list(one.codes), list(two.codes)),
                (".names", list(one.names), list(two.names)),
            ]
        if isinstance(one, pd.Index):
            pd.testing.assert_index_equal(one, two, exact=True)
            return [
                (".name", one.name, two.name),
                (".dtype", str(one.dtype), str(two.dtype)),
                (".freq", getattr(one, "freq", None), getattr(two, "freq", None)),
                (".tz", getattr(one, "tz", None), getattr(two, "tz", None)),
            ]
        if isinstance(one, pd.api.extensions.ExtensionArray):
            if isinstance(one, pd.Categorical):
                same = one.codes.tobytes() == two.codes.tobytes() and one.ordered == two.ordered
                return [(".categories", one.categories, two.categories)] if same else "other codes"
            pd.testing.assert_extension_array_equal(one, two, check_exact=True)
            return [
                (".dtype", repr(one.dtype), repr(two.dtype)),
                (".freq", getattr(one, "freq", None), getattr(two, "freq", None)),
            ]
        if one is pd.NaT or one is pd.NA:
            return [] if one is two else "another object"
    except AssertionError as error:
        return str(error)[:300]
    return None


def _torch(one: Any, two: Any) -> str | list[tuple[str, Any, Any]] | None:
    torch = _module("torch")
    if torch is None or not hasattr(torch, "Tensor"):
        return None
    if isinstance(one, torch.nn.Module):
        return [(".__dict__", dict(one.__dict__), dict(two.__dict__))]
    if not isinstance(one, torch.Tensor):
        return None
    for name in ("dtype", "shape", "layout", "device", "requires_grad", "is_quantized"):
        if getattr(one, name) != getattr(two, name):
            return f"{name} {getattr(one, name)} became {getattr(two, name)}"
    if one.layout == torch.strided and not one.is_quantized:
        if one.stride() != two.stride():
            return f"stride {one.stride()} became {two.stride()}"
        left, right = (
            x.detach().resolve_conj().resolve_neg().contiguous().view(torch.uint8)
            if x.numel() and x.dim()
            else x.detach()
            for x in (one, two)
        )
        if not torch.equal(left, right):
            return "other values"
    elif not torch.equal(
        one.to_dense() if one.layout != torch.strided else one.dequantize(),
        two.to_dense() if two.layout != torch.strided else two.dequantize(),
    ):
        return "other values"
    return [(".grad", one.grad, two.grad)] if one.is_leaf else []


def _pillow(one: Any, two: Any) -> str | list[tuple[str, Any, Any]] | None:
    image = _module("PIL.Image")
    if image is None or not isinstance(one, image.Image):
        return None
    if hasattr(one, "seek"):
        one.seek(0)
        two.seek(0)
    parts: list[tuple[str, Any, Any]] = [
        (f".{name}", getattr(one, name), getattr(two, name)) for name in ("mode", "size", "format", "info")
    ]
    for number in range(getattr(one, "n_frames", 1)):
        if hasattr(one, "seek"):
            one.seek(number)
            two.seek(number)
        parts.append((f".frame {number}", one.tobytes(), two.tobytes()))
    parts += [
        (".palette", one.getpalette(), two.getpalette()),
        (".exif", dict(one.getexif()), dict(two.getexif())),
        (".text", getattr(one, "text", None), getattr(two, "text", None)),
    ]
    return parts


def _arrow(one: Any, two: Any) -> str | list[tuple[str, Any, Any]] | None:
    module = str(type(one).__module__)
    if module.startswith("pyarrow"):
        pa = _module("pyarrow")
        if isinstance(one, (pa.Table, pa.RecordBatch, pa.Schema)):
            schemas = (one, two) if isinstance(one, pa.Schema) else (one.schema, two.schema)
            if not schemas[0].equals(schemas[1], check_metadata=True):
                return f"{schemas[0]} became {schemas[1]}"
            return [] if isinstance(one, pa.Schema) else [(".columns", one.columns, two.columns)]
        if isinstance(one, (pa.Array, pa.ChunkedArray)):
            left, right = (x.to_pylist() for x in (one, two))
            return [(".type", str(one.type), str(two.type)), (".items", left, right)]
        return [] if one.equals(two) else f"{one} became {two}"
    if module.startswith("polars"):
        if hasattr(one, "collect"):
            one, two = one.collect(), two.collect()
        if not hasattr(one, "equals"):
            return [] if one == two else f"{one} became {two}"
        if not one.equals(two, null_equal=True) and not _same_nans(one, two):
            return f"{one} became {two}"
        return [
            (
                ".dtypes",
                str(getattr(one, "schema", getattr(one, "dtype", None))),
                str(getattr(two, "schema", getattr(two, "dtype", None))),
            )
        ]
    return None


def _same_nans(one: Any, two: Any) -> bool:
    return difference(one.to_list(), two.to_list()) is None if hasattr(one, "to_list") else False
