"""How the arrays and tensors of a skeleton lie in their buffers."""

from __future__ import annotations

from math import prod

from laila.codec import tags
from laila.errors import CorruptEntryError, LailaError
from laila.showing import said
from laila.views.places import Layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import numpy as np

    from laila.blob.head import BlobHead
    from laila.codec.skeleton import Leaf, Skeleton

__all__ = ["is_tensor", "layout_of"]

_MAX = 1 << 62
_OF_TORCH = {
    "bool": "|b1",
    **{
        f"{kind}int{8 * size}": f"{'|' if size == 1 else '<'}{kind or 'i'}{size}"
        for kind in ("", "u")
        for size in (1, 2, 4, 8)
    },
    **{f"float{8 * size}": f"<f{size}" for size in (2, 4, 8)},
    **{f"complex{8 * size}": f"<c{size}" for size in (8, 16)},
}
"""The dtypes that numpy has of those of torch, by the names of these."""


def is_tensor(leaf: Leaf) -> bool:
    """Whether the leaf is a tensor of torch."""
    return leaf.tag == tags.TENSOR


def layout_of(leaf: Leaf, skeleton: Skeleton | None, head: BlobHead) -> Layout | None:
    """Say how an array or a tensor lies in its buffer; None where numpy has no dtype for it.

    Raises:
        CorruptEntryError: its row is not what the codec writes.
    """
    if skeleton is None:
        raise AssertionError  # only a skeleton has leaves
    try:
        found = _layout(leaf, skeleton, head)
        if found is not None and (number := leaf.buffer) is not None:
            low, high = found.bounds()
            if low < 0 or high > head.table[number][0]:
                raise ValueError(f"bytes {low} to {high} of {head.table[number][0]}")
        return found
    except (LailaError, MemoryError):
        raise
    except Exception as error:
        raise CorruptEntryError(
            f"the blob of {head.key} is damaged: a row of an array cannot be read ({type(error).__name__}: "
            f"{said(error, 200)})",
            key=head.key,
        ) from error


def _layout(leaf: Leaf, skeleton: Skeleton, head: BlobHead) -> Layout | None:
    from laila.codec.dtypes import dtype_from, shape_from

    row, number = leaf.fields, leaf.buffer
    if number is None or not 0 <= number < len(head.table):
        raise ValueError("no such buffer")
    nbytes, name, shape, order, _ = head.table[number]
    if leaf.tag == tags.NDARRAY:
        if len(row) != 2 or name is None:
            raise ValueError("an array over plain bytes")
        return _whole(dtype_from(name), shape, order, nbytes)
    if leaf.tag == tags.STRUCTURED:
        _, _, description, dimensions, how = row
        return _whole(skeleton.dtype(description), shape_from(dimensions), how, nbytes)
    if leaf.tag == tags.VIEW:
        _, _, description, offset, _, *rest = row
        axes, odd = divmod(len(rest), 2)
        if odd or type(offset) is not int:
            raise ValueError("a view without its shape or strides")
        strides = tuple(rest[axes:])
        if any(type(step) is not int or not -_MAX < step < _MAX for step in strides):
            raise ValueError("strides that no view has")
        return Layout(skeleton.dtype(description), shape_from(tuple(rest[:axes])), strides, offset)
    _, _, kind, lengths, steps, start, flags, *_ = row
    numbers = (*lengths, *steps, start, flags)
    if (
        len(lengths) != len(steps)
        or len(lengths) > 64
        or any(type(n) is not int or not 0 <= n < _MAX for n in numbers)
    ):
        raise ValueError("a tensor that cannot be")
    text = _OF_TORCH.get(kind)
    if text is None or flags & 3:
        return None
    dtype = dtype_from(text)
    return Layout(dtype, tuple(lengths), tuple(n * dtype.itemsize for n in steps), start * dtype.itemsize)


def _whole(dtype: np.dtype[Any], shape: tuple[int, ...], order: object, nbytes: int) -> Layout:
    """The layout of an array that is all of its buffer."""
    if order not in ("C", "F") or prod(shape) * dtype.itemsize != nbytes:
        raise ValueError(f"{nbytes} bytes for an array of shape {shape}")
    strides, step = [], dtype.itemsize
    for count in shape if order == "F" else reversed(shape):
        strides.append(step)
        step *= max(count, 1)
    return Layout(dtype, shape, tuple(strides if order == "F" else reversed(strides)))
