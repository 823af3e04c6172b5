"""Indexes and headers that somebody made by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from laila.errors import LailaError
from laila.pool.hdf5 import HDF5Pool
from laila.pool.hdf5.index import Index
from laila.pool.hdf5.layout import Header, decode_blocks, encode_block


def test_a_key_with_more_digits_than_an_int_is_read_of() -> None:
    index = Index()
    index.apply(decode_blocks(encode_block([("a-" + "9" * 5000, 8, 9), ("a-3", 8, 9)]), "x"))
    assert index.evolutions("a") == [3]


@pytest.mark.parametrize("offset", [1 << 63, (1 << 64) - 1])
def test_a_header_that_points_behind_every_file(tmp_path: Path, offset: int) -> None:
    path = tmp_path / "pool.h5"
    HDF5Pool(path).close()
    data = bytearray(path.read_bytes())
    header = Header(bytes(data[16:32]))
    header.generation, header.index = 9, (offset, 100, 100)
    forged = header.encode()
    data[: len(forged)] = forged
    path.write_bytes(data)
    with pytest.raises(LailaError):
        HDF5Pool(path, read_only=True)
