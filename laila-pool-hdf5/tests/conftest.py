"""What the tests of this package share: blobs of known content, without the codec."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from laila.contract import Blob, Buffer
from laila.pool.hdf5 import HDF5Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    MakeBlob = Callable[..., Blob]


def make_blob(
    key: str, *arrays: np.ndarray | bytes, tree: bytes = b"\x90", nickname: str | None = None
) -> Blob:
    """A blob with one buffer per array; its content is told apart by ``tree``."""
    buffers = []
    for array in arrays:
        if isinstance(array, bytes):
            buffers.append(Buffer(memoryview(array)))
            continue
        order = "C" if array.flags.c_contiguous else "F"
        data = memoryview(array.tobytes(order="C" if order == "C" else "F"))
        buffers.append(Buffer(data, array.dtype.str, array.shape, order))
    return Blob(key, tree, tuple(buffers), nickname, (1.5, "test", 0, "test", None))


@pytest.fixture(name="make_blob")
def _make_blob() -> MakeBlob:
    return make_blob


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[HDF5Pool]:
    with HDF5Pool(tmp_path / "pool.h5") as pool:
        yield pool
