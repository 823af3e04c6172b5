"""The contract that every pool is held to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from laila.contract import Pool
from laila.pool.hdf5 import HDF5Pool
from laila.testing import PoolConformance


class TestHDF5Pool(PoolConformance):
    """One HDF5 file."""

    @pytest.fixture
    def open_pool(self, tmp_path: Path) -> Callable[..., Pool]:
        return lambda **options: HDF5Pool(tmp_path / "pool.h5", **options)

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"hdf5://{tmp_path}/pool.h5"
