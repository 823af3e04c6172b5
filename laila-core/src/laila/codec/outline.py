"""What rows say of their payload at a glance, without decoding it: the shape and dtype of a tensor."""

from __future__ import annotations

import msgpack
from msgpack import ExtType

from laila.codec import tags
from laila.codec.references import referred

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["shape_of_tensor"]

_LONGEST = 4096
"""The rows of one tensor take fewer bytes."""
_ROWS_MARK = b"\xc1"


def shape_of_tensor(tree: bytes) -> tuple[tuple[int, ...], str] | None:
    """Return shape and dtype of the tensor that a tree is, as the tree says them.

    Args:
        tree: The tree of a blob.

    Returns:
        Shape and dtype; None where the tree is anything else than one tensor.
    """
    if tree[:1] != _ROWS_MARK or len(tree) > _LONGEST:
        return None
    unpacker = msgpack.Unpacker(None, ext_hook=ExtType)
    unpacker.feed(tree[1:])
    try:
        rows: list[Any] = list(unpacker)
        tag, _, dtype, shape, *_ = rows[-1]
        numbers = rows[referred(shape)][1:]
    except (ValueError, TypeError, AttributeError, IndexError, msgpack.UnpackException):
        return None  # decoding it says what is wrong
    if tag != tags.TENSOR or type(dtype) is not str or any(type(n) is not int or n < 0 for n in numbers):
        return None
    return tuple(numbers), dtype
