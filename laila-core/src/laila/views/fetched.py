"""A buffer whose bytes are read when they are asked for."""

from __future__ import annotations

from laila.blob.buffer import Buffer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from laila.views.memory import PartialBuffers

__all__ = ["FetchedBuffer"]


class FetchedBuffer(Buffer):
    """Buffer ``number`` of an entry that was opened, for the decoder: read and verified at first use."""

    __slots__ = ("_buffers", "_number", "_taken")

    def __init__(self, buffers: PartialBuffers, number: int) -> None:
        self._buffers = buffers
        self._number = number
        _, self.dtype, self.shape, self.order, self._hash = buffers.head.table[number]
        self._sums = b""
        self._taken: memoryview | None = None
        self.checked = True  # what is read is verified on the way

    @property
    def data(self) -> memoryview:  # type: ignore[override]  # computed, where the other has it
        """All bytes, read anew at each use: nothing of them is kept."""
        return self._buffers.window(self._number, [(0, self.nbytes)]).toreadonly()

    @property
    def owned(self) -> memoryview | None:
        """All bytes, where the memory that they were read into is nobody else's; the decoder takes it."""
        if self._taken is None:
            window = self._buffers.window(self._number, [(0, self.nbytes)])
            self._taken = None if window.readonly else window
        return self._taken

    @owned.setter
    def owned(self, value: memoryview | None) -> None:
        self._taken = value

    @property
    def nbytes(self) -> int:
        """The number of bytes, without reading them."""
        return self._buffers.head.table[self._number][0]
