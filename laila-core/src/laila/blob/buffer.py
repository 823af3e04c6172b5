"""Buffer: what of a payload stays out of its tree, as the bytes that an array or a long bytes object is."""

from __future__ import annotations

from laila.blob.head import corrupt
from laila.blob.pieces import DIGEST_BYTES, PIECE, checksum_of, first_damaged, sums_of

__all__ = ["Buffer", "byte_view"]


def byte_view(data: object) -> memoryview:
    """Return ``data`` as a read-only, one-dimensional view of its bytes, without copying.

    Takes whatever gives a contiguous buffer (C or Fortran order), numpy arrays of any dtype without objects
    included. Raises ``TypeError`` or ``BufferError`` for anything else.
    """
    if type(data) is bytes:
        return memoryview(data)
    if type(data).__module__ == "numpy":
        import numpy as np

        if isinstance(data, np.ndarray) and not data.dtype.hasobject:
            flat = data if data.flags.c_contiguous else data.T
            if not flat.flags.c_contiguous:
                raise BufferError("a strided array is no contiguous buffer")
            if not flat.nbytes:
                return memoryview(b"")
            data = flat.reshape(-1).view(np.uint8)
    view = memoryview(data)  # type: ignore[arg-type]  # raises for other types
    if "O" in view.format:
        raise TypeError("the addresses of Python objects are no content")
    if not view.nbytes:
        return memoryview(b"")
    if not view.c_contiguous:
        raise BufferError("a strided view is no contiguous buffer")
    if view.format != "B" or view.ndim != 1:
        view = view.cast("B")
    return view.toreadonly()


class Buffer:
    """One out-of-band piece of a payload: the bytes of an array, a tensor or a long bytes object.

    ``data`` is a read-only one-dimensional view of exactly ``nbytes`` bytes. ``dtype`` is numpy's
    ``dtype.str`` for simple types (``'<f8'``, ``'<M8[ns]'``, ``'|b1'``, …), with the ``shape`` and the memory
    ``order`` (``'C'`` or ``'F'``) of the array; None says plain bytes, of shape ``(nbytes,)``. ``own`` is the
    same memory, writable, where nobody but this blob has it: who lets go of the blob may take it. Immutable
    by convention.
    """

    __slots__ = ("_hash", "_sums", "checked", "data", "dtype", "order", "owned", "shape")

    def __init__(
        self,
        data: memoryview,
        dtype: str | None = None,
        shape: tuple[int, ...] | None = None,
        order: str = "C",
        *,
        checksum: bytes | None = None,
        pieces: bytes = b"",
    ) -> None:
        self.data = data
        self.dtype = dtype
        self.shape = (data.nbytes,) if shape is None else shape
        self.order = order
        self.owned: memoryview | None = None
        self.checked = True
        self._hash = checksum
        self._sums = pieces

    def check(self, key: str, found: bytes | None = None) -> None:
        """Verify the checksum, unless that was done; ``found`` has those of its pieces, if made on the way.

        Raises :class:`CorruptEntryError` about the blob of ``key``.

        Args:
            key: The key of the blob.
            found: Checksums of the pieces, if they are computed already.

        Raises:
            CorruptEntryError: a checksum is wrong.
        """
        if not self.checked:
            number = first_damaged(
                self._sums or self.checksum, sums_of(self.data) if found is None else found
            )
            if number >= 0:
                where = f" from byte {number * PIECE} on" if self._sums else ""
                raise corrupt(key, f"a buffer does not match its checksum{where}")
            self.checked = True

    @property
    def nbytes(self) -> int:
        """The number of bytes."""
        return self.data.nbytes

    @property
    def checksum(self) -> bytes:
        """The XXH3-128 hash of the bytes, or of the hashes of their pieces; computed at first use."""
        if self._hash is None:
            self.give_sums(sums_of(self.data))
        return self._hash  # type: ignore[return-value]  # it was just made

    @property
    def pieces(self) -> bytes:
        """The hashes of the pieces, joined, where there are several; else nothing. Computed at first use."""
        if not self._sums and self.data.nbytes > PIECE:
            self._sums = sums_of(self.data)
        return self._sums

    def give_sums(self, sums: bytes) -> None:
        """Set checksums that were computed elsewhere. Used by one thread.

        Args:
            sums: The checksums of the pieces, joined.
        """
        if len(sums) > DIGEST_BYTES:
            self._sums = sums
        self._hash = checksum_of(sums)

    def __repr__(self) -> str:
        what = "bytes" if self.dtype is None else f"{self.dtype} {self.shape} {self.order}"
        return f"<Buffer {self.nbytes} bytes: {what}>"
