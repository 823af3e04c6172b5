"""What the tests of this package share: blobs of known content, without the codec."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from laila.contract import Blob, Buffer
from laila.pool.files import FilesystemPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    MakeBlob = Callable[..., Blob]
    Left = Callable[[], list[str]]


def make_blob(key: str, content: bytes = b"", *, tree: bytes = b"\x90") -> Blob:
    """A blob of ``content``, which is a buffer of its own; without one it is told apart by ``tree``."""
    return Blob(key, tree, (Buffer(memoryview(content)),) if content else ())


@pytest.fixture(name="make_blob")
def _make_blob() -> MakeBlob:
    return make_blob


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[FilesystemPool]:
    with FilesystemPool(tmp_path / "pool", durable="process") as pool:
        yield pool


@pytest.fixture
def left(tmp_path: Path) -> Left:
    """What is left in the pool's folder for temporary files; nothing, as a rule."""
    return lambda: os.listdir(tmp_path / "pool/tmp")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """An empty folder that every user may enter, as pytest's own are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
