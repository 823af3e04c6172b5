"""The only module that calls HDF5. It makes, moves and copies datasets; their bytes are written past HDF5.

A session opens the file through a :class:`~laila.pool.hdf5.durable.DurableFile`, changes its structure, and
closes it before the commit. So HDF5 keeps nothing open that another process could make stale, or that a fork
or the end of the interpreter would find.
"""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from h5py import Group, h5a, h5d, h5f, h5fd, h5g, h5l, h5o, h5p, h5s, h5t, opaque_dtype

from laila.contract import Renewed
from laila.pool.hdf5.layout import USER_BLOCK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from laila.pool.hdf5.durable import DurableFile

__all__ = ["BufferShape", "Session"]

# Raw data of this size or more begins on a page of its own, which it shares with no metadata.
_ALIGN_FROM = 64 * 1024
_PAGE = 4096
_MOST_DIMENSIONS = 32

BufferShape = tuple[str | None, tuple[int, ...], int]
"""numpy's dtype.str (None for bytes), the shape, the number of bytes."""


def _access(file: DurableFile) -> h5p.PropFAID:
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_fileobj_driver(h5fd.fileobj_driver, file)
    # The formats of HDF5 1.8: large groups as B-trees, not as one heap that each new link writes anew; and
    # not the superblock of 1.10, whose "open for writing" mark would be committed too.
    access.set_libver_bounds(h5f.LIBVER_V18, h5f.LIBVER_LATEST)
    access.set_fclose_degree(h5f.CLOSE_STRONG)
    access.set_alignment(_ALIGN_FROM, _PAGE)
    return access


def _creation() -> h5p.PropDCID:
    creation = h5p.create(h5p.DATASET_CREATE)
    creation.set_layout(h5d.CONTIGUOUS)
    creation.set_alloc_time(h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5d.FILL_TIME_NEVER)
    creation.set_obj_track_times(False)
    return creation


@lru_cache(maxsize=256)
def _hdf5_type(dtype: str) -> h5t.TypeID | None:
    """Return the HDF5 type that describes ``dtype`` byte for byte, or None if there is none."""
    try:
        numpy_dtype = np.dtype(dtype)
        if numpy_dtype.hasobject or not numpy_dtype.itemsize:
            return None
        if numpy_dtype.kind in "mMU":
            # HDF5 has no such type; h5py reads this opaque one back as what it is.
            numpy_dtype = opaque_dtype(numpy_dtype)
        hdf5_type = h5t.py_create(numpy_dtype, logical=True)
    except (TypeError, ValueError, NotImplementedError):
        return None  # unknown to this numpy or HDF5
    return hdf5_type if hdf5_type.get_size() == numpy_dtype.itemsize else None


def _exact(buffer: BufferShape) -> tuple[h5t.TypeID, h5s.SpaceID] | None:
    """Return HDF5's type and space for a buffer, or None if HDF5 cannot describe it like the blob does."""
    dtype, shape, nbytes = buffer
    kind = h5t.STD_U8LE if dtype is None else _hdf5_type(dtype)
    # A blob may come from anywhere: its description need not fit its bytes.
    if kind is None or len(shape) > _MOST_DIMENSIONS or prod(shape) * kind.get_size() != nbytes:
        return None
    return kind, h5s.create_simple(shape) if shape else h5s.create(h5s.SCALAR)


@lru_cache(maxsize=256)
def _text_type(nbytes: int) -> h5t.TypeID:
    kind = h5t.C_S1.copy()
    kind.set_size(nbytes)
    kind.set_cset(h5t.CSET_UTF8)
    kind.set_strpad(h5t.STR_NULLPAD)
    return kind


# A transaction of another thread stays the parent's. Left open in a forked child, its file would be flushed
# when that process ends, into what the parent is just writing.
_sessions: Renewed[Session] = Renewed(lambda session: session.abandon())


class Session:
    """The file open in HDF5, for one transaction."""

    def __init__(self, file: DurableFile, *, create: bool = False, read_only: bool = False) -> None:
        self._durable = file
        self._creation = _creation()
        self._scalar = h5s.create(h5s.SCALAR)
        if create:
            plan = h5p.create(h5p.FILE_CREATE)
            plan.set_userblock(USER_BLOCK)
            self._file = h5f.create(b"laila", h5f.ACC_TRUNC, fcpl=plan, fapl=_access(file))
            h5g.create(self._file, b"entries")
            laila = h5g.create(self._file, b"laila")
            for name in (b"data", b"deleted", b"index"):
                h5g.create(laila, name)
        else:
            mode = h5f.ACC_RDONLY if read_only else h5f.ACC_RDWR
            self._file = h5f.open(b"laila", mode, fapl=_access(file))
        self._entries = h5g.open(self._file, b"entries")
        self._laila = h5g.open(self._file, b"laila")
        _sessions.add(self)

    def segment(self, kind: bytes, serial: int, nbytes: int) -> int:
        """Make a byte dataset ``/laila/<kind>/<serial>`` and return its offset in the file."""
        parent = h5g.open(self._laila, kind)
        space = h5s.create_simple((nbytes,))
        dataset = h5d.create(parent, b"%08d" % serial, h5t.STD_U8LE, space, self._creation)
        return int(dataset.get_offset())

    def entry(
        self,
        name: bytes,
        key: str,
        nickname: str | None,
        created: float | None,
        buffers: Sequence[BufferShape],
    ) -> list[tuple[int, bool]]:
        """Make ``/entries/<name>`` with its attributes.

        Return for each buffer its offset in the file, and whether the dataset has the type and shape of the
        blob's buffer. If not, the dataset is bytes, with the blob's description as attributes.
        """
        parent, names = self._entries, [name]
        owner: h5d.DatasetID | h5g.GroupID | None = None
        if len(buffers) != 1:
            parent = owner = h5g.create(self._entries, name)
            names = [b"%d" % number for number in range(len(buffers))]
        places = []
        for link, buffer in zip(names, buffers, strict=True):
            exact = _exact(buffer)
            kind, space = exact or (h5t.STD_U8LE, h5s.create_simple((buffer[2],)))
            dataset = h5d.create(parent, link, kind, space, self._creation)
            if exact is None:
                self._text(dataset, b"dtype", str(buffer[0]))
                self._text(dataset, b"shape", str(buffer[1]))
            # No offset where there are no bytes.
            places.append((dataset.get_offset() or 0, exact is not None))
            owner = owner or dataset
        if owner is not None:
            self._text(owner, b"global_id", key)
            if nickname:
                self._text(owner, b"nickname", nickname)
            if created is not None:
                attribute = h5a.create(owner, b"created", h5t.IEEE_F64LE, self._scalar)
                attribute.write(np.array(created, dtype="<f8"))
        return places

    def _text(self, owner: h5d.DatasetID | h5g.GroupID, name: bytes, value: str) -> None:
        raw = value.encode("utf-8", "surrogatepass")
        kind = _text_type(len(raw))
        attribute = h5a.create(owner, name, kind, self._scalar)
        attribute.write(np.frombuffer(raw, dtype=f"S{len(raw)}").reshape(()), mtype=kind)

    def retire(self, name: bytes, serial: int) -> None:
        """Move ``/entries/<name>`` out of sight; its bytes stay in place."""
        if name in self._entries:
            self._entries.links.move(name, h5g.open(self._laila, b"deleted"), b"%08d" % serial)

    def retire_all(self, serial: int) -> None:
        """Move all of ``/entries`` out of sight."""
        self._file.links.move(b"entries", h5g.open(self._laila, b"deleted"), b"%08d" % serial)
        self._entries = h5g.create(self._file, b"entries")

    def copy(self, source: Session, name: bytes, count: int) -> list[int]:
        """Copy ``/entries/<name>`` of ``count`` buffers from another file; return the offsets here."""
        h5o.copy(source._entries, name, self._entries, name)
        if count == 1:
            return [h5d.open(self._entries, name).get_offset() or 0]
        group = h5g.open(self._entries, name)
        return [h5d.open(group, b"%d" % number).get_offset() or 0 for number in range(count)]

    def copy_rest(self, source: Session) -> None:
        """Copy the objects that others have put beside ``/entries`` and ``/laila`` in another file."""
        root, mine = h5g.open(source._file, b"/"), h5g.open(self._file, b"/")
        for name in root:
            if name in (b"entries", b"laila"):
                continue
            kind = root.links.get_info(name).type
            # A link stays a link: it may lead to another file, or to nothing.
            if kind == h5l.TYPE_SOFT:
                mine.links.create_soft(name, root.links.get_val(name))
            elif kind == h5l.TYPE_EXTERNAL:
                mine.links.create_external(name, *root.links.get_val(name))
            else:
                h5o.copy(root, name, mine, name)
        Group(mine).attrs.update(Group(root).attrs)

    def close(self) -> None:
        """Write HDF5's own part of the changes to the file object and let go of it."""
        self._file.close()

    def abandon(self) -> None:
        """Let go of the file without writing anything more."""
        self._durable.mute()
        # HDF5 reports the failure once more; it was reported, and nothing of this session counts.
        with suppress(OSError, RuntimeError, ValueError):
            self._file.close()
