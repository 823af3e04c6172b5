"""What :func:`laila.open` gives: containers to walk through, and arrays and bytes to take parts of."""

from __future__ import annotations

from collections import OrderedDict
from math import prod

from laila.blob.blob import Blob
from laila.blob.head import metadata_of
from laila.codec import decode
from laila.codec.skeleton import Leaf, Skeleton, skeleton_of
from laila.errors import (
    CorruptEntryError,
    InvalidArgumentError,
    InvalidValueError,
    LailaError,
    PartNotFoundError,
    UntrustedPayloadError,
)
from laila.showing import said, shown
from laila.views.fetched import FetchedBuffer
from laila.views.leaves import is_tensor, layout_of
from laila.views.places import basic_view, spans_of, spans_of_view

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any, NoReturn

    import numpy as np

    from laila.views.memory import PartialBuffers
    from laila.views.places import Layout

    Array = np.ndarray[Any, np.dtype[Any]]

__all__ = ["ArrayView", "BytesView", "GroupView", "ObjectView", "View", "view_of"]

_BLOCK = 64 << 20
_SHOWN = 20


class Opened:
    """One entry that was opened: its buffers, and its tree as far as it is known without them."""

    __slots__ = ("buffers", "plain", "skeleton")

    def __init__(self, buffers: PartialBuffers) -> None:
        head = buffers.head
        self.buffers = buffers
        fetched = tuple(FetchedBuffer(buffers, number) for number in range(len(head.table)))
        # No digest: that of the head covers the tree, which the head's checksum did.
        blob = Blob(head.key, buffers.tree, fetched, head.nickname, head._meta, (), head.signature)
        self.skeleton: Skeleton | None = None
        self.plain: object = None
        if buffers.tree[:1] == b"\xc1":
            self.skeleton = skeleton_of(blob)
        else:
            self.plain = decode(blob)

    @property
    def root(self) -> object:
        """The payload, with leaves in the place of what is not read."""
        return self.plain if self.skeleton is None else self.skeleton.root

    def value(self, part: object) -> object:
        """Read a part: a leaf or a container of the skeleton."""
        skeleton = self.skeleton
        if skeleton is None:
            from copy import deepcopy

            return deepcopy(part)
        row = part.row if isinstance(part, Leaf) else skeleton.row_of(part)
        key = skeleton.blob.key
        try:
            return self._read(skeleton, row)
        except (LailaError, MemoryError):
            raise
        except Exception as error:
            raise CorruptEntryError(
                f"the blob of {key} is damaged: its rows cannot be read ({type(error).__name__}: "
                f"{said(error, 200)})",
                key=key,
            ) from error

    def _read(self, skeleton: Skeleton, row: int) -> object:
        try:
            return skeleton.decode(row, trusted=False)
        except UntrustedPayloadError:
            if skeleton.blob.signature is None:
                raise
        from laila.codec.trust import verify_blob

        # A signature covers all of the entry: all of it is read to verify it.
        return skeleton.decode(row, trusted=verify_blob(skeleton.blob))


def view_of(buffers: PartialBuffers) -> View:
    """The view of an entry whose head and tree were read.

    Raises:
        CorruptEntryError: its tree is not what the codec writes.
    """
    opened = Opened(buffers)
    found = _wrapped(opened, opened.root)
    return found if isinstance(found, View) else ObjectView(opened, opened.root)


def _wrapped(opened: Opened, part: Any) -> Any:
    """The view of a part, or the part itself where it is neither a container nor unread."""
    kind = type(part)
    if kind is Leaf:
        if part.buffer is None:
            return ObjectView(opened, part)
        if part.tag in BytesView.tags:
            return BytesView(opened, part)
        layout = layout_of(part, opened.skeleton, opened.buffers.head)
        return ObjectView(opened, part) if layout is None else ArrayView(opened, part, layout)
    if isinstance(part, (dict, list, tuple)) and kind in GroupView.kinds:
        return GroupView(opened, part)
    return part


class View:
    """A part of an entry that was opened. Thread-safe; nothing can be changed through it."""

    def __init__(self, opened: Opened, part: Any) -> None:
        self._opened = opened
        self._part = part

    @property
    def global_id(self) -> str:
        """The id of the entry."""
        return self._opened.buffers.head.key

    @property
    def nickname(self) -> str | None:
        """The nickname of the entry, or None."""
        return self._opened.buffers.head.nickname

    @property
    def metadata(self) -> Mapping[str, object]:
        """What the head of the entry says: when it was made, its type, its size, the user's metadata."""
        head = self._opened.buffers.head
        return metadata_of(head._meta, head.key)

    @property
    def type(self) -> str:
        """The name of the type of this part."""
        raise NotImplementedError

    @property
    def nbytes(self) -> int:
        """How many bytes of buffers this part has: what reading all of it takes."""
        skeleton = self._opened.skeleton
        return 0 if skeleton is None else sum(_sizes(skeleton, self._part, self._opened.buffers).values())

    @property
    def data(self) -> Any:
        """The value: all of this part is read and verified, as :func:`laila.remember` does. New each time."""
        return self._opened.value(self._part)

    def __getitem__(self, key: Any) -> Any:
        """A part: what that is, and how it is said, depends on the kind of view.

        Raises:
            PartNotFoundError: there is no such part (a ``KeyError`` and an ``IndexError``).
        """
        raise PartNotFoundError(
            f"no part of this {self.type} in {self.global_id} can be read alone: .data reads all of it",
            key=self.global_id,
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.global_id}: {self._said()}>"

    def _said(self) -> str:
        return self.type


class ObjectView(View):
    """A value that cannot be read in part: :attr:`data` reads all of it."""

    @property
    def type(self) -> str:
        """The name of the type, where it is known before the value is read."""
        if self._part is self._opened.root:
            return str(self.metadata.get("type", "object"))
        return "object" if isinstance(self._part, Leaf) else type(self._part).__name__

    @property
    def data(self) -> Any:
        """The value; see :attr:`View.data`."""
        if isinstance(self._part, Leaf):
            return self._opened.value(self._part)
        skeleton = self._opened.skeleton
        return decode(skeleton.blob) if skeleton is not None else self._opened.value(self._part)


class GroupView(View):
    """A dict, OrderedDict, list or tuple: ``view[key]`` gives the view of a part, or a small value."""

    kinds = frozenset({dict, list, tuple, OrderedDict})

    @property
    def type(self) -> str:
        """The name of the type: dict, OrderedDict, list or tuple."""
        return type(self._part).__name__

    def __len__(self) -> int:
        return len(self._part)

    def __iter__(self) -> Iterator[Any]:
        """The keys of a dict; the parts of a list or tuple."""
        if isinstance(self._part, dict):
            return iter(self._part)
        return (_wrapped(self._opened, part) for part in self._part)

    def __contains__(self, key: object) -> bool:
        return isinstance(self._part, dict) and key in self._part

    def keys(self) -> list[Any]:
        """The keys of a dict; of a list or tuple the numbers of its items."""
        return list(self._part) if isinstance(self._part, dict) else list(range(len(self._part)))

    def __getitem__(self, key: Any) -> Any:
        """The view of a part; its value where that is neither a container nor in a buffer.

        Raises:
            PartNotFoundError: there is none (a ``KeyError`` and an ``IndexError``).
        """
        if isinstance(key, slice) and not isinstance(self._part, dict):
            return [_wrapped(self._opened, part) for part in self._part[key]]
        try:
            part = self._part[key]
        except (KeyError, IndexError, TypeError) as error:
            has = ", ".join(shown(key) for key in self.keys()[:_SHOWN])
            raise PartNotFoundError(
                f"{self.global_id} has no part {shown(key)} here; this {self.type} has {has or 'nothing'}"
                f"{', …' if len(self) > _SHOWN else ''}",
                key=self.global_id,
            ) from error
        return _wrapped(self._opened, part)

    def _said(self) -> str:
        return f"{self.type} of {len(self)}, {self.nbytes} bytes"


class BytesView(View):
    """Bytes that are read by slices: ``view[10:20]``."""

    tags = frozenset({19, 20})

    @property
    def type(self) -> str:
        """The name of the type: bytes or bytearray."""
        return "bytes" if self._part.tag == 19 else "bytearray"

    def __len__(self) -> int:
        size: int = self._opened.buffers.head.table[self._part.buffer][0]
        return size

    def __getitem__(self, index: slice | int) -> bytes | int:
        """Bytes of a slice, or the number that a byte is; the pieces that have them are read.

        Raises:
            PartNotFoundError: there is no such byte (an ``IndexError``).
        """
        size = len(self)
        if isinstance(index, slice):
            numbers = range(size)[index]
            if not numbers:
                return b""
            low, high = min(numbers[0], numbers[-1]), max(numbers[0], numbers[-1]) + 1
            window = self._window(low, high)
            return bytes(window[low:high][:: numbers.step])
        try:
            at = range(size)[index]
        except (IndexError, TypeError) as error:
            _refuse(self, index, error)
        return int(self._window(at, at + 1)[at])

    def _window(self, low: int, high: int) -> memoryview:
        return self._opened.buffers.window(self._part.buffer, [(low, high)])

    def blocks(self, *, nbytes: int = _BLOCK) -> Iterator[bytes]:
        """All the bytes, in order, ``nbytes`` at a time."""
        step = _checked_block(nbytes)
        for start in range(0, len(self), step):
            yield self[start : start + step]  # type: ignore[misc]  # a slice gives bytes

    def __bytes__(self) -> bytes:
        return self[:]  # type: ignore[return-value]  # as above

    def _said(self) -> str:
        return f"{len(self)} {self.type}"


class ArrayView(View):
    """An array or a tensor that is read in part: ``view[10:20, ::2]`` gives a numpy array."""

    def __init__(self, opened: Opened, part: Leaf, layout: Layout) -> None:
        super().__init__(opened, part)
        self._layout = layout
        self._probe: Array | None = None

    @property
    def type(self) -> str:
        """The name of the type: ndarray or Tensor."""
        return "Tensor" if is_tensor(self._part) else "ndarray"

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each dimension."""
        return self._layout.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy dtype."""
        return self._layout.dtype

    @property
    def ndim(self) -> int:
        """How many dimensions there are."""
        return len(self._layout.shape)

    @property
    def size(self) -> int:
        """How many items there are."""
        return prod(self._layout.shape)

    @property
    def nbytes(self) -> int:
        """How many bytes the items have."""
        return self.size * self._layout.dtype.itemsize

    def __len__(self) -> int:
        if not self.shape:
            raise InvalidArgumentError("an array of no dimensions has no length")
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        """Return what numpy gives for this index; reads the pieces that it needs. A copy, writable.

        Raises:
            PartNotFoundError: there is no such item (an ``IndexError``).
            CorruptEntryError: a piece that it needs is damaged.
        """
        return self.read(index)

    def read(self, index: Any = ..., *, copy: bool = True) -> Any:
        """Read a part.

        Args:
            index: What numpy takes as an index.
            copy: False gives a view, which may not be written to, where what is stored is mapped.

        Returns:
            What numpy gives for the index: an array, or the value of one item.

        Raises:
            PartNotFoundError: there is no such item (an ``IndexError``).
            CorruptEntryError: a piece that it needs is damaged.
        """
        import numpy as np

        layout, number = self._layout, self._part.buffer
        try:
            probe = self._over_nothing()
            view = basic_view(probe, index)
            picked = spans_of(layout, probe, index) if view is None else []
        except (IndexError, TypeError, ValueError) as error:
            _refuse(self, index, error)
        if view is None:
            return self._read_picked(picked, index, copy)
        start, spans = spans_of_view(layout, probe, view)
        if not spans:
            return view.copy()
        if len(spans) == 1:
            memory, first = self._opened.buffers.part(number, *spans[0])
        else:
            memory, first = self._opened.buffers.window(number, spans), 0
        found: Array = np.ndarray(view.shape, layout.dtype, memory, start - first, view.strides)
        if not found.ndim and not _has_ellipsis(index):
            return found[()]
        read = sum(stop - start for start, stop in spans)
        return found.copy(order="K") if self._is_copied(memory, copy, read, found.nbytes) else found

    def _read_picked(self, spans: Sequence[tuple[int, int]], index: Any, copy: bool) -> Any:
        """Read what an index gives that picks items one by one, or fields."""
        import numpy as np

        window = self._opened.buffers.window(self._part.buffer, spans)
        found = self._layout.over(window)[index]
        if not isinstance(found, np.ndarray) or not np.may_share_memory(
            found, np.frombuffer(window, np.uint8)
        ):
            return found
        read = sum(stop - start for start, stop in spans)
        return found.copy(order="K") if self._is_copied(window, copy, read, found.nbytes) else found

    @staticmethod
    def _is_copied(memory: memoryview, copy: bool, read: int, nbytes: int) -> bool:
        """Whether an array gets memory of its own: what is not the caller's, or holds more than the array."""
        return copy if memory.readonly else read > 2 * nbytes

    def _over_nothing(self) -> Array:
        """The whole array over memory that nobody fills, to find out what an index means."""
        if self._probe is None:
            from laila.views.memory import scratch

            size = self._opened.buffers.head.table[self._part.buffer][0]
            self._probe = self._layout.over(scratch(size))
        return self._probe

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """All of it, for ``numpy.asarray``."""
        import numpy as np

        found: Array = np.asarray(self.read(copy=copy is not False))
        return found if dtype is None else found.astype(dtype, copy=False)

    def __iter__(self) -> Iterator[Any]:
        """The rows, read a block at a time."""
        for block in self.blocks():
            yield from block

    def blocks(self, *, nbytes: int = _BLOCK) -> Iterator[Array]:
        """All rows, in order, as many at a time as fit into ``nbytes``, one at least."""
        step = _checked_block(nbytes)
        rows = max(1, step // max(1, self.nbytes // max(1, len(self))))
        for start in range(0, len(self), rows):
            yield self[start : start + rows]

    def _said(self) -> str:
        return f"{self.type} {self.shape} {self.dtype}"


def _has_ellipsis(index: object) -> bool:
    return any(item is Ellipsis for item in (index if type(index) is tuple else (index,)))


def _checked_block(nbytes: object) -> int:
    if type(nbytes) is not int or nbytes < 1:
        raise InvalidValueError(f"nbytes={shown(nbytes)}: a block has so many bytes, 1 at least")
    return nbytes


def _refuse(view: View, index: object, error: Exception) -> NoReturn:
    raise PartNotFoundError(
        f"{view.global_id} has no part {shown(index)} of this {view._said()}: {said(error)}",
        key=view.global_id,
    ) from error


def _sizes(skeleton: Skeleton, part: object, buffers: PartialBuffers) -> dict[int, int]:
    """The bytes of each buffer that is below a part, by its number."""
    row = part.row if isinstance(part, Leaf) else None
    if row is None:
        try:
            row = skeleton.row_of(part)
        except KeyError:
            return {}
    table = buffers.head.table
    return {number: table[number][0] for number in skeleton.buffers_of(row) if number < len(table)}
