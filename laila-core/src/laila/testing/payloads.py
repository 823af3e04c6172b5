"""Payloads for property tests: hypothesis strategies for what must survive, and the exactest comparison.

``payloads()`` draws anything the core stores without a signature and numpy's types among it, nested in each
other; ``plain_payloads()`` draws what is JSON-like. :func:`assert_same` compares types, bits, order and
sharing,
where ``==`` would take ``1`` for ``True`` and a NaN for a difference. Needs the extra ``testing``.
"""

from __future__ import annotations

import datetime as dt
import pathlib
import sys
import uuid
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from decimal import Decimal
from struct import pack
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from laila.codec.dtypes import copy_values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["arrays", "assert_same", "hashables", "payloads", "plain_payloads", "scalars"]

_MUTABLE = (list, dict, set, bytearray, deque, array, SimpleNamespace, np.ndarray)


TEXT_CODE = "w" if sys.version_info >= (3, 13) else "u"
"""The type code of an array of characters: 'u' is deprecated where there is 'w'."""


def assert_same(a: object, b: object) -> None:
    """Raise ``AssertionError``, naming the place, unless ``b`` is the same payload as ``a``.

    Same types, same bits (NaN payloads and signed zeros too), same order of dicts, same dtype, byte order,
    shape
    and memory order of arrays, and what is one mutable object in one is one object in the other. Any depth.
    """
    there: dict[int, int] = {}
    back: dict[int, int] = {}
    alive: list[object] = []  # views made on the way; an id must not come back for another
    todo: list[tuple[object, object, str]] = [(a, b, "payload")]
    while todo:
        left, right, path = todo.pop()
        assert type(left) is type(right), f"{path}: {type(left)} became {type(right)}"
        if isinstance(left, _MUTABLE) or hasattr(left, "__dict__"):
            if id(left) in there and there[id(left)] == id(right):
                continue
            known = id(left) in there or id(right) in back
            assert not known, f"{path}: sharing is not as it was"
            there[id(left)], back[id(right)] = id(right), id(left)
            alive.append((left, right))
        todo.extend(_parts(left, right, path))


def _same(equal: bool, path: str, left: object, right: object) -> None:
    assert equal, f"{path}: {left!r:.200} became {right!r:.200}"


def _parts(left: Any, right: Any, path: str) -> list[tuple[object, object, str]]:
    """Compare what two objects of one type are by themselves; return the pairs of their parts."""
    if isinstance(left, float) and not isinstance(left, np.generic):
        _same(pack("<d", left) == pack("<d", right), path, left, right)
    elif isinstance(left, complex) and not isinstance(left, np.generic):
        return [(left.real, right.real, path + ".real"), (left.imag, right.imag, path + ".imag")]
    elif isinstance(left, np.ma.MaskedArray):
        return _masked_parts(left, right, path)
    elif isinstance(left, (np.ndarray, np.generic)):
        return _array_parts(left, right, path)
    elif isinstance(left, np.dtype):
        _same(left == right and left.char == right.char and left.type is right.type, path, left, right)
    elif isinstance(left, dict):
        _same(len(left) == len(right), path, left, right)
        if isinstance(left, defaultdict):
            _same(left.default_factory is right.default_factory, path, left, right)
        pairs = [(k, m, f"{path}.keys()[{i}]") for i, (k, m) in enumerate(zip(left, right, strict=True))]
        values = zip(left.items(), right.values(), strict=True)
        return [*pairs, *((v, w, f"{path}[{k!r:.40}]") for (k, v), w in values)]
    elif isinstance(left, (set, frozenset)):
        return _member_parts(left, right, path)
    elif isinstance(left, (list, tuple, deque)):
        _same(len(left) == len(right), path, left, right)
        if isinstance(left, deque):
            _same(left.maxlen == right.maxlen, path, left, right)
        return [(x, y, f"{path}[{i}]") for i, (x, y) in enumerate(zip(left, right, strict=True))]
    elif isinstance(left, array):
        _same(left.typecode == right.typecode and left.tobytes() == right.tobytes(), path, left, right)
    elif isinstance(left, (dt.datetime, dt.time)):
        _same(
            left.replace(tzinfo=None) == right.replace(tzinfo=None) and left.fold == right.fold,
            path,
            left,
            right,
        )
        return [(left.tzinfo, right.tzinfo, path + ".tzinfo")]
    elif isinstance(left, dt.timezone):
        _same(repr(left) == repr(right), path, left, right)
    elif isinstance(left, Decimal):
        _same(left.as_tuple() == right.as_tuple(), path, left, right)
    elif isinstance(left, uuid.UUID):
        _same(left == right and left.is_safe is right.is_safe, path, left, right)
    elif isinstance(left, slice):
        ends = ("start", "stop", "step")
        return [(getattr(left, end), getattr(right, end), f"{path}.{end}") for end in ends]
    elif isinstance(left, range):
        _same((left.start, left.stop, left.step) == (right.start, right.stop, right.step), path, left, right)
    elif isinstance(left, SimpleNamespace):
        return [(left.__dict__, right.__dict__, path + ".__dict__")]
    else:
        _same(bool(left == right), path, left, right)
    return []


def _masked_parts(left: Any, right: Any, path: str) -> list[tuple[object, object, str]]:
    if left is np.ma.masked:
        return []
    _same(left.hardmask == right.hardmask, path + ".hardmask", left, right)
    _same(left.baseclass is right.baseclass, path + ".baseclass", left, right)
    return [
        *_attribute_parts(left, right, path),
        (left.view(np.ndarray), right.view(np.ndarray), path + ".data"),
        (left._mask, right._mask, path + ".mask"),
        (left._fill_value, right._fill_value, path + ".fill_value"),
    ]


def _attribute_parts(left: Any, right: Any, path: str) -> list[tuple[object, object, str]]:
    """The attributes of two instances of a subclass, without what numpy keeps there itself."""
    core = {"_mask", "_fill_value", "_getitem", "_baseclass", "_sharedmask", "_isfield"}
    mine, other = ({k: v for k, v in vars(x).items() if k not in core} for x in (left, right))
    return [(mine, other, path + ".__dict__")]


def _array_parts(left: Any, right: Any, path: str) -> list[tuple[object, object, str]]:
    if isinstance(left, (np.str_, np.bytes_)):
        # Their dtype is made up from the value; as a text or bytes they have an exact length, zeros at the
        # end and all.
        _same(len(left) == len(right) and left == right, path, left, right)
        return []
    same = left.dtype == right.dtype and left.dtype.char == right.dtype.char and left.shape == right.shape
    _same(same and left.dtype.isalignedstruct == right.dtype.isalignedstruct, path, left, right)
    if isinstance(left, np.ndarray):
        fortran = left.flags.f_contiguous and not left.flags.c_contiguous
        _same(
            fortran == (right.flags.f_contiguous and not right.flags.c_contiguous),
            path,
            left.flags,
            right.flags,
        )
    _same(left.dtype.metadata == right.dtype.metadata, path + ".dtype.metadata", left, right)
    if isinstance(left, np.ndarray) and hasattr(left, "__dict__"):
        return [
            *_attribute_parts(left, right, path),
            (left.view(np.ndarray), right.view(np.ndarray), path + ".data"),
        ]
    if left.dtype.hasobject:
        pairs = zip(left.ravel().tolist(), right.ravel().tolist(), strict=True)
        return [(x, y, f"{path}.flat[{i}]") for i, (x, y) in enumerate(pairs)]
    _same(_content(left) == _content(right), path, left, right)
    return []


def _content(value: Any) -> bytes:
    whole = np.zeros(value.shape, value.dtype)  # the gaps between fields are no content
    copy_values(whole, np.array(value, value.dtype).view(np.ndarray))
    return whole.tobytes()


def _member_parts(left: Any, right: Any, path: str) -> list[tuple[object, object, str]]:
    """Pair the members of two sets: by equality, and what equals nothing (a NaN) by how it reads."""
    _same(len(left) == len(right), path, left, right)
    known = {member: member for member in right}
    pairs, alone = [], []
    for member in left:
        if member in known:
            pairs.append((member, known.pop(member), path + ".{member}"))
        else:
            alone.append(member)
    by_text = zip(sorted(alone, key=repr), sorted(known, key=repr), strict=True)
    return [*pairs, *((x, y, path + ".{member}") for x, y in by_text)]


# -- strategies


def _texts() -> st.SearchStrategy[str]:
    return st.text(st.characters(), max_size=8) | st.text(
        st.characters(min_codepoint=0xD7F0, max_codepoint=0xE010), max_size=3
    )


def scalars() -> st.SearchStrategy[object]:
    """Immutable values: everything that is no container."""
    zones = st.none() | st.builds(dt.timezone, st.timedeltas(dt.timedelta(hours=-23), dt.timedelta(hours=23)))
    zones |= st.sampled_from([ZoneInfo("UTC"), ZoneInfo("Europe/Berlin"), ZoneInfo("America/St_Johns")])
    zones |= st.just(dt.timezone(dt.timedelta(hours=1), "named"))
    moments = st.builds(
        lambda moment, zone, fold: moment.replace(tzinfo=zone, fold=fold),
        st.datetimes(),
        zones,
        st.integers(0, 1),
    )
    paths = st.sampled_from(["", ".", "/", "/a/b", "a//b", "..", "c:\\x", "\udcff"])
    return st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64 - 1, 2**64, 10**50]),
        st.floats(),
        _texts(),
        st.binary(max_size=8),
        st.complex_numbers(),
        st.sampled_from([..., NotImplemented]),
        st.builds(range, st.integers(), st.integers(), st.integers(1, 2**70)),
        st.dates(),
        moments,
        moments.map(dt.datetime.timetz),
        st.timedeltas(),
        st.decimals() | st.sampled_from([Decimal("sNaN7"), Decimal("-0E+7"), Decimal("-Infinity")]),
        st.fractions(),
        st.uuids(),
        paths.map(pathlib.PurePosixPath),
        paths.map(pathlib.PureWindowsPath),
        paths.map(pathlib.Path),
        _numpy_scalars(),
    )


def _numpy_scalars() -> st.SearchStrategy[object]:
    plain = npst.scalar_dtypes().filter(lambda dtype: dtype.itemsize > 0)
    return npst.arrays(plain, ()).map(lambda array: array[()]) | st.sampled_from(
        [
            np.longlong(-1),
            np.longdouble("0.1"),
            np.str_("a\0"),
            np.bytes_(b"\0"),
            np.float64("nan"),
            np.datetime64("NaT"),
        ]
    )


def hashables() -> st.SearchStrategy[Any]:
    """What can be a key or a member: scalars, and tuples and frozensets of them."""
    # A signaling NaN refuses to be hashed, slices and void scalars too.
    leaves = scalars().filter(_is_hashable)
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
        max_leaves=5,
    )


def _is_hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def arrays() -> st.SearchStrategy[Any]:
    """Numpy arrays of every dtype without objects: 0-d, empty, strided, Fortran-order, structured, masked."""
    simple = npst.scalar_dtypes().filter(lambda dtype: dtype.itemsize > 0)
    fields = st.lists(
        st.tuples(st.sampled_from("abc"), simple), min_size=1, max_size=3, unique_by=lambda field: field[0]
    )
    structured = st.builds(np.dtype, fields, align=st.booleans())
    nested = st.builds(
        lambda inner, shape: np.dtype([("x", inner, shape)]), structured, st.sampled_from([(), (2,), (1, 3)])
    )
    shapes = npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
    base = npst.arrays(simple | structured | nested, shapes)
    views = st.sampled_from(
        [
            lambda x: x,
            lambda x: x.T,
            lambda x: x[..., ::2] if x.ndim else x,
            lambda x: x[::-1] if x.ndim else x,
            np.asfortranarray,
            lambda x: np.ma.masked_array(x, mask=np.ones(x.shape, bool)) if x.dtype.names is None else x,
            lambda x: np.ma.masked_array(x) if x.dtype.names is None else x,
            _looked_at,
            lambda x: _looked_at(x)[..., :1] if x.ndim else x,
            lambda x: np.ma.masked_array(x, mask=np.ma.make_mask_none(x.shape, x.dtype), hard_mask=True),
            lambda x: x.view(np.recarray) if x.dtype.names is not None else x,
        ]
    )
    return st.builds(_viewed, views, base)


def _viewed(view: Any, array: Any) -> Any:
    with np.errstate(all="ignore"):  # numpy makes a fill value of a structure, which need not fit
        return view(array)


def _looked_at(array: Any) -> Any:
    """A masked array that was printed: numpy then keeps a fill value, often of another dtype."""
    found = np.ma.masked_array(array)
    if found.dtype.kind not in "Vm" or found.dtype.names is not None:
        assert found.fill_value is not None
    return found


def plain_payloads() -> st.SearchStrategy[Any]:
    """None, bools, ints, floats, texts and bytes in lists and in dicts with text keys."""
    leaves = (
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats()
        | _texts()
        | st.binary(max_size=8)
    )
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts(), inner, max_size=4),
        max_leaves=20,
    )


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    items = st.lists(inner, max_size=4)
    dicts = st.dictionaries(hashables(), inner, max_size=3)
    names = st.sampled_from(["a", "b", "_c"])
    factories = st.sampled_from([None, list, dict, int, str, set])
    return st.one_of(
        items,
        items.map(tuple),
        dicts,
        dicts.map(OrderedDict),
        st.builds(defaultdict, factories, dicts),
        st.builds(deque, items, st.none() | st.integers(4, 9)),
        st.dictionaries(names, inner, max_size=2).map(lambda found: SimpleNamespace(**found)),
        st.builds(slice, inner, inner, inner),
        inner.map(lambda x: [x, x, (x,)]),
        items.map(_object_array),
    )


def _object_array(items: list[object]) -> Any:
    found: Any = np.empty(len(items), object)
    for number, item in enumerate(items):
        found[number] = item
    return found.reshape(2, 2, order="F") if len(items) == 4 else found


def payloads() -> st.SearchStrategy[Any]:
    """Anything that is stored exactly without a signature, nested in each other, shared in places.

    No torch.
    """
    leaves = st.one_of(
        scalars(),
        st.binary(max_size=8).map(bytearray),
        st.sets(hashables(), max_size=4),
        st.frozensets(hashables(), max_size=4),
        st.dictionaries(hashables(), st.integers(-3, 3), max_size=3).map(Counter),
        st.lists(st.integers(0, 100), max_size=3).map(lambda found: array("h", found)),
        st.sampled_from([array(TEXT_CODE, "aé"), array("d", [0.0, -0.0]), b"x" * 70_000, bytearray(70_000)]),
        arrays(),
    )
    return st.recursive(leaves, _containers, max_leaves=12)
