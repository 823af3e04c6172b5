"""What is no file in the place of one, or a file of holes: refused at once, whatever it is."""

from __future__ import annotations

import os
import socket
import stat
from typing import TYPE_CHECKING

import pytest

from laila.errors import PoolError
from laila.pool.files import FilesystemPool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from laila.contract import Blob

    MakeBlob = Callable[..., Blob]


def put(kind: str, path: Path) -> None:
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        try:
            os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
        except PermissionError:
            pytest.skip("only root makes devices")
    elif kind == "link":
        path.symlink_to("/dev/zero")
    else:
        with path.open("wb") as file:
            file.truncate(1 << 42)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["pipe", "socket", "folder", "device", "link", "holes"])
def test_in_the_place_of_a_file(tmp_path: Path, make_blob: MakeBlob, kind: str) -> None:
    with FilesystemPool(tmp_path / "p") as pool:
        pool._write("k", make_blob("k", b"x"))
        path = tmp_path / "p" / os.path.relpath(pool.file_of("k"), pool.path)
        path.unlink()
        put(kind, path)
        for ask in (pool._read, pool._read_head):
            with pytest.raises(PoolError):
                ask("k")
        assert kind == "holes" or list(pool._keys()) == []
        assert pool._create("k", make_blob("k", b"y")) is False  # something bears the name
        if kind != "folder":
            pool._write("k", make_blob("k", b"z"))
            assert pool["k"] is not None
    for place in ("laila.json", "tmp"):
        folder = tmp_path / place
        folder.mkdir()
        put(kind, folder / place)
        if (kind, place) != ("folder", "tmp"):
            with pytest.raises(PoolError):
                FilesystemPool(folder)._write("k", make_blob("k", b"x"))
