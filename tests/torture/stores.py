"""The stores that are tortured: where each is, how a process opens it, and the server that can be killed."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pathlib import Path

    from laila.contract import Pool
    from servers.redis import RedisServer
    from servers.s3 import S3Server

__all__ = ["DURABLE", "Address", "Store"]

DURABLE = ("files", "hdf5", "sqlite", "redis", "s3")
"""The pools whose entries outlive the process that stored them."""


@dataclass(frozen=True)
class Address:
    """How a process opens a store: it pickles, so that it can be sent."""

    kind: str
    place: str
    options: tuple[tuple[str, Any], ...] = ()

    def open(self, **more: Any) -> Pool:
        """Open the pool."""
        from laila.pool.files import FilesystemPool
        from laila.pool.hdf5 import HDF5Pool
        from laila.pool.redis import RedisPool
        from laila.pool.s3 import S3Pool
        from laila.pool.sqlite import SQLitePool

        classes: dict[str, Any] = {
            "files": FilesystemPool,
            "hdf5": HDF5Pool,
            "sqlite": SQLitePool,
            "redis": RedisPool,
            "s3": S3Pool,
        }
        pool: Pool = classes[self.kind](self.place, **dict(self.options), **more)
        return pool


class Store:
    """A store of one kind in a folder of its own. Use it as a context: its server ends with it."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.folder = folder
        self.server: RedisServer | S3Server | None = None
        self._number = 0
        folder.mkdir(parents=True)

    def __enter__(self) -> Self:
        from servers.redis import RedisServer
        from servers.s3 import S3Server

        if self.kind == "redis":
            self.server = RedisServer(self.folder / "server", aof=True)
        elif self.kind == "s3":
            self.server = S3Server()
        return self

    def __exit__(self, *_: object) -> None:
        from servers.redis import RedisServer

        if isinstance(self.server, RedisServer):
            self.server.kill()
        elif self.server is not None:
            self.server.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def fresh(self) -> Address:
        """Return the address of a new and empty store."""
        from servers.redis import RedisServer
        from servers.s3 import S3Server

        self._number += 1
        name = f"store-{self._number}"
        if isinstance(self.server, RedisServer):
            return Address("redis", self.server.url, (("prefix", name), ("retry_for", 20.0)))
        if isinstance(self.server, S3Server):
            options = {**self.server.options(), "prefix": name, "deadline": 60.0}
            return Address("s3", self.server.make_bucket(), tuple(options.items()))
        endings = {"files": "", "hdf5": ".h5", "sqlite": ".db"}
        return Address(self.kind, str(self.folder / f"{name}{endings[self.kind]}"))

    def restart_server(self) -> None:
        """Kill the server with SIGKILL, and start it again on the same data."""
        assert self.server is not None
        self.server.kill()
        self.server.start()
