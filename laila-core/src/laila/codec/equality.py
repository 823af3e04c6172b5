"""Whether values are equal bit by bit: atoms, sets of them, arrays and tensors."""

from __future__ import annotations

import sys
from operator import is_

from laila.codec.parts import FLAT, is_array
from laila.codec.plain import pack_object

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["different_tensors", "equal_arrays", "equal_flat", "equal_sets", "is_other_memory"]

_EXACT = frozenset({str, type(None)})  # equal values of these types are interchangeable


def equal_flat(mine: list[Any], its: list[Any]) -> bool:
    """Whether both are the same atoms, bit by bit; False says nothing."""
    kinds = set(map(type, mine))
    if kinds <= _EXACT:
        return mine == its and set(map(type, its)) == kinds
    if not kinds <= FLAT or not FLAT.issuperset(map(type, its)):
        # Members of enums, types and their like are the very same objects.
        same = list(map(is_, mine, its))
        if all(same):
            return True
        if kinds.isdisjoint(FLAT):
            return False
        mine = [a for a, known in zip(mine, same, strict=True) if not known]
        its = [b for b, known in zip(its, same, strict=True) if not known]
        if not FLAT.issuperset(map(type, mine)) or not FLAT.issuperset(map(type, its)):
            return False
    try:
        return pack_object(mine) == pack_object(its)
    except (OverflowError, ValueError):
        return False


def equal_sets(mine: list[Any], its: list[Any]) -> bool:
    """Whether two lists of atoms have the same members. One NaN equals another."""
    nans = [sum(item != item for item in items) for items in (mine, its)]
    return nans[0] == nans[1] and {x for x in mine if x == x} == {y for y in its if y == y}


def is_other_memory(a: Any, b: Any) -> bool:
    """Whether two arrays hold different numbers, each in memory of its own."""
    if not is_array(a) or not is_array(b) or a.dtype.hasobject or a.ctypes.data == b.ctypes.data:
        return False
    return a.dtype == b.dtype and a.shape == b.shape and not equal_arrays(a, b)


def equal_arrays(a: Any, b: Any) -> bool:
    """Whether two numpy arrays of one dtype hold the same bytes; a mask is not compared."""
    numpy = sys.modules["numpy"]
    a, b = numpy.ma.getdata(a).view(numpy.ndarray), numpy.ma.getdata(b).view(numpy.ndarray)
    if a.dtype.names is not None:
        return all(equal_arrays(a[name], b[name]) for name in a.dtype.names)
    return bool(a.tobytes() == b.tobytes())


def different_tensors(a: Any, b: Any) -> str | None:
    """Return how two tensors differ, or None."""
    torch = sys.modules["torch"]
    if a.shape != b.shape or a.dtype != b.dtype or a.requires_grad != b.requires_grad:
        mine, its = (f"{t.dtype} and shape {tuple(t.shape)}" for t in (a, b))
        return f"a tensor of {mine} came back as one of {its}"
    if a.layout != torch.strided or a.is_quantized or a.is_meta:
        return None
    mine, its = (t.detach().cpu().resolve_conj().resolve_neg().contiguous() for t in (a, b))
    same = mine.view(-1).view(torch.uint8).equal(its.view(-1).view(torch.uint8)) if mine.numel() else True
    return None if same else "the items of a tensor came back changed"
