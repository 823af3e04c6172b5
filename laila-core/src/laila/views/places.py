"""Which bytes of an array an index touches, found without touching any of them."""

from __future__ import annotations

from math import prod

from laila.blob.pieces import PIECE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]
    Span = tuple[int, int]

__all__ = ["Layout", "basic_view", "spans_of", "spans_of_view"]


class Layout:
    """How the items of an array lie in a buffer: all numbers count bytes but those of ``shape``."""

    __slots__ = ("dtype", "offset", "shape", "strides")

    def __init__(
        self, dtype: np.dtype[Any], shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0
    ) -> None:
        self.dtype = dtype
        self.shape = shape
        self.strides = strides
        self.offset = offset

    def over(self, memory: memoryview) -> Array:
        """The array, over the memory of its buffer."""
        import numpy as np

        return np.ndarray(self.shape, self.dtype, memory, self.offset, self.strides)

    def bounds(self) -> Span:
        """The first byte that the array has in the buffer, and the one after its last."""
        return _bounds(self.offset, self.shape, self.strides, self.dtype.itemsize)


def basic_view(array: Array, index: Any) -> Array | None:
    """The view that numpy gives for an index, of no dimensions for a single item; None for other indexes.

    Raises:
        IndexError: the index does not fit the array.
    """
    given = index if type(index) is tuple else (index,)
    if any(isinstance(item, str) for item in given) or any(map(_names_fields, given)):
        return None
    if any(map(_is_picking, given)):
        return None
    open_end = () if any(item is Ellipsis for item in given) else (Ellipsis,)
    return array[(*given, *open_end)]  # type: ignore[no-any-return]


def spans_of_view(layout: Layout, array: Array, view: Array) -> tuple[int, list[Span]]:
    """Where in the buffer a view of ``array`` begins, and the spans of bytes that it needs."""
    start = view.__array_interface__["data"][0] - array.__array_interface__["data"][0] + layout.offset
    return start, _spans(start, view.shape, view.strides, layout.dtype.itemsize)


def spans_of(layout: Layout, array: Array, index: Any) -> list[Span]:
    """The spans of bytes that ``array[index]`` reads: all that it needs, and less than a piece between them.

    Args:
        layout: How the array lies in its buffer.
        array: The array over some memory of that size, none of which is touched.
        index: What numpy takes as an index.

    Raises:
        IndexError: the index does not fit the array.
    """
    import numpy as np

    given = index if type(index) is tuple else (index,)
    if any(isinstance(item, str) for item in given) or any(map(_names_fields, given)):
        np.broadcast_to(np.zeros((), layout.dtype), layout.shape)[index]  # raises where there is none
        return [layout.bounds()]  # fields of a structure: they lie among the others
    open_end = () if any(item is Ellipsis for item in given) else (Ellipsis,)
    picks = [place for place, item in enumerate(given) if _is_picking(item)]
    base = array.__array_interface__["data"][0] - layout.offset
    if not picks:
        return spans_of_view(layout, array, array[(*given, *open_end)])[1]  # a view, also of a single item
    np.broadcast_to(np.int8(0), layout.shape)[index]  # raises what numpy raises for this index
    if picks != [0]:
        return [layout.bounds()] if 0 not in layout.shape else []
    rows = np.asarray(given[0])
    if rows.dtype == bool:
        if rows.ndim != 1:
            return [layout.bounds()] if rows.any() else []
        rows = np.flatnonzero(rows)
    if not rows.size:
        return []
    rows = np.unique(np.where(rows < 0, rows + layout.shape[0], rows))
    rest = array[(0, *given[1:], *open_end)]
    start = rest.__array_interface__["data"][0] - base
    low, high = _bounds(start, rest.shape, rest.strides, layout.dtype.itemsize)
    if low == high:
        return []
    step = layout.strides[0]
    firsts = (low + rows * step) // PIECE
    lasts = (high - 1 + rows * step) // PIECE
    if int((lasts - firsts).max()) > 1 and high - low > 4 * PIECE:  # rows of many pieces: each on its own
        return [
            span
            for row in rows.tolist()
            for span in _spans(start + row * step, rest.shape, rest.strides, layout.dtype.itemsize)
        ]
    width = int((lasts - firsts).max()) + 1
    pieces = np.unique(np.concatenate([np.minimum(firsts + n, lasts) for n in range(width)]))
    return [(piece * PIECE, piece * PIECE + 1) for piece in pieces.tolist()]


def _names_fields(item: object) -> bool:
    return isinstance(item, list) and bool(item) and all(isinstance(name, str) for name in item)


def _is_picking(item: object) -> bool:
    """Whether it picks items one by one, as numpy's advanced indexes do."""
    import numpy as np

    if isinstance(item, (bool, np.bool_)):
        return True
    return isinstance(item, (list, tuple, np.ndarray)) and not (
        isinstance(item, np.ndarray) and item.ndim == 0
    )


def _bounds(offset: int, shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> Span:
    if 0 in shape:
        return offset, offset
    ends = [(count - 1) * step for count, step in zip(shape, strides, strict=True)]
    low = offset + sum(end for end in ends if end < 0)
    return low, offset + sum(end for end in ends if end > 0) + itemsize


def _spans(offset: int, shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> list[Span]:
    """The spans of a view: one where less than a piece lies between its parts, else those of each part."""
    low, high = _bounds(offset, shape, strides, itemsize)
    if low == high:
        return []
    axes = sorted(zip(shape, strides, strict=True), key=lambda axis: -abs(axis[1]))
    axes = [(count, step) for count, step in axes if count > 1 and step]
    if not axes or abs(axes[0][1]) <= PIECE:
        return [(low, high)]
    if prod(count for count, step in axes if abs(step) > PIECE) > (high - low) // PIECE + 1:
        return [(low, high)]  # its parts lie over one another: somebody made it so
    (count, step), *rest = axes
    inner = tuple(n for n, _ in rest), tuple(step for _, step in rest)
    starts = range(offset, offset + count * step, step)
    return [span for start in starts for span in _spans(start, *inner, itemsize)]
