"""The contract that every pool is held to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from laila.contract import Pool
from laila.pool.files import FilesystemPool
from laila.testing import PoolConformance


class TestFilesystemPool(PoolConformance):
    """One folder."""

    @pytest.fixture
    def open_pool(self, tmp_path: Path) -> Callable[..., Pool]:
        return lambda **options: FilesystemPool(tmp_path / "pool", **options)

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"file://{tmp_path}/pool"

    @pytest.fixture
    def damage(self, tmp_path: Path) -> Callable[[str], None]:
        def change_a_byte(key: str) -> None:
            path = Path(FilesystemPool(tmp_path / "pool").file_of(key))
            content = bytearray(path.read_bytes())
            content[-1] ^= 1
            path.write_bytes(content)

        return change_a_byte

    @pytest.fixture
    def outage(self, tmp_path: Path) -> Callable[[], AbstractContextManager[object]]:
        @contextmanager
        def unmounted() -> Iterator[None]:
            (tmp_path / "pool").rename(tmp_path / "elsewhere")
            (tmp_path / "pool").mkdir()  # as a mount point is when nothing is mounted
            yield
            (tmp_path / "pool").rmdir()
            (tmp_path / "elsewhere").rename(tmp_path / "pool")

        return unmounted
