"""The pools that the tests across packages put into chains and copy between: one line each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import laila
from laila.pool.files import FilesystemPool
from laila.pool.hdf5 import HDF5Pool
from laila.pool.redis import RedisPool
from laila.pool.s3 import S3Pool
from laila.pool.sqlite import SQLitePool
from laila.transform import AesGcm


@dataclass
class Place:
    """Where a pool is made, and what is closed when the test ends. ``request`` gives servers: fixtures."""

    folder: Path
    request: pytest.FixtureRequest
    opened: list[laila.Pool] = field(default_factory=list)

    def open(self, kind: str, name: str, **options: Any) -> laila.Pool:
        """Open the pool of this kind and name: the same store when it is opened again."""
        pool = KINDS[kind](self, name, options)
        self.opened.append(pool)
        return pool

    def prefix(self, name: str) -> str:
        """What the pool's keys begin with on a server that other tests use as well."""
        return f"{sha256(str(self.folder).encode()).hexdigest()[:16]}-{name}"


KINDS: dict[str, Callable[[Place, str, dict[str, Any]], laila.Pool]] = {
    "memory": lambda place, name, options: laila.MemoryPool(name, **options),
    "files": lambda place, name, options: FilesystemPool(place.folder / name, durable="process", **options),
    "hdf5": lambda place, name, options: HDF5Pool(place.folder / f"{name}.h5", durable="process", **options),
    "redis": lambda place, name, options: RedisPool(
        place.request.getfixturevalue("redis_server").url, prefix=place.prefix(name), **options
    ),
    "s3": lambda place, name, options: S3Pool(
        place.request.getfixturevalue("s3_bucket"),
        prefix=place.prefix(name),
        **place.request.getfixturevalue("s3_server").options(),
        **options,
    ),
    "sqlite": lambda place, name, options: SQLitePool(
        place.folder / f"{name}.db", durable="process", **options
    ),
}

TRANSFORMED: dict[str, Sequence[Any]] = {
    "plain": (),
    "zstd": ("zstd",),
    "aes a": (AesGcm(key=b"a" * 32),),
    "zlib, aes b": ("zlib", AesGcm(key=b"b" * 32)),
}
