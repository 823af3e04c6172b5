"""The pool itself: the contract's methods. Each method is a call of the store."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, unquote, urlsplit

import redis.connection
from laila.contract import Pool, directory, given_secrets
from laila.pool.redis.answers import AnswerParser
from laila.pool.redis.connections import Connections
from laila.pool.redis.layout import Names
from laila.pool.redis.leases import RedisLeases
from laila.pool.redis.reporting import reporting
from laila.pool.redis.server import PrivateServer, reachable, refuse_stranger
from laila.pool.redis.settings import RedisSettings
from laila.pool.redis.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from socket import socket
    from typing import Unpack

    from laila.contract import Blob, Transformation, TransformationSequence
    from laila.pool.redis.connections import Connection
    from laila.pool.redis.settings import RedisOptions
    from laila.pool.redis.wire import Bytes

    Found = bytes | list[Bytes] | None

__all__ = ["RedisPool"]

# redis-py reads 32 KiB at a time, and then a large value takes twice as long.
_READ_BYTES = 256 * 1024


class RedisPool(Pool):
    """A pool on a Redis or Valkey server, or on a private server that the pool starts.

    ``url`` is ``redis://…``, ``rediss://…`` (TLS) or ``unix:///…``. Without it, or with ``redis://`` alone,
    the pool starts a private server. That server keeps everything in a folder, and ends with the last pool
    that uses it. ``prefix`` begins the names of this pool's keys. The other options are those of
    :class:`RedisSettings`. Arguments override options in the URL. Thread-safe; usable in a forked child. The
    page ``docs/reference/pool-redis.md`` has the details.

    Raises:
        SettingsError: an option, or the URL, is wrong; the message does not show the URL.
        PoolError: the server cannot be reached or refuses, with an ``errno``.
    """

    laila_contract = 1
    writers = "network"
    creation = "network"
    fences = True

    settings: RedisSettings

    @given_secrets
    def __init__(
        self,
        url: str | None = None,
        nickname: str | None = None,
        *,
        transformations: Iterable[str | Transformation] | TransformationSequence = (),
        write: Literal["through"] | None = None,
        **options: Unpack[RedisOptions],
    ) -> None:
        arguments: dict[str, object] = {"url": url, **options}
        arguments["key_prefix"] = arguments.pop("prefix", None)
        settings = RedisSettings.of(arguments)
        super().__init__(nickname=nickname, transformations=transformations, write=write, settings=settings)
        self._given = ((), {})  # the settings count, and the given URL may hold a password
        self._server: PrivateServer | None = None
        if settings.private:
            self._server = PrivateServer(
                settings.path or str(directory("pools") / "redis"),
                durable=settings.durable,
                program=settings.server,
                start_timeout=settings.start_timeout,
            )
            self.durability = settings.durable  # for this pool, in place of the class's
        if settings.private or str(settings.url).startswith("unix:"):
            self.writers = self.creation = "host"  # type: ignore[misc, assignment]  # the same
        self._connections = Connections(
            self._make_connection,
            ready=self._server.ensure if self._server is not None else lambda: None,
            refuse=refuse_stranger if self._server is not None else lambda line: None,
            limit=settings.max_connections,
            timeout=settings.timeout,
            retry_for=settings.retry_for,
        )
        self._store = Store(
            self._connections,
            Names(self.prefix),
            ttl=settings.ttl,
            chunk_bytes=settings.chunk_bytes,
            chunk_count=settings.chunk_count,
            piece_bytes=settings.piece_bytes,
        )
        self._lent = RedisLeases(self._store, self._reporting)
        try:
            with self._reporting("open the pool"):
                self._store.reach()  # a wrong host or password is an error now
        except BaseException:
            self.close()
            raise

    @property
    def prefix(self) -> str:
        """The first part of the names of this pool's keys, before a slash."""
        if self.settings.key_prefix is not None:
            return self.settings.key_prefix
        if self.settings.private and self.nickname is not None:
            return quote(self.nickname, safe="").replace("~", "%7E")
        return "laila"

    @property
    def path(self) -> str | None:
        """The folder of the private server; None if the pool uses another server."""
        return None if self._server is None else self._server.folder

    def options(self) -> dict[str, object]:
        """Return the options that :class:`laila.contract.Pool` lists; no password, absolute paths."""
        options = super().options()
        if "key_prefix" in options:
            options["prefix"] = options.pop("key_prefix")
        if "path" in options:
            options["path"] = self.path
        for name in self.settings.unused():
            options.pop(name, None)
        return options

    def _place(self) -> str:
        if self._server is not None:
            return os.path.basename(self._server.folder)
        return str(self.settings.url).partition("://")[2]

    def _reporting(self, what: str) -> AbstractContextManager[None]:
        where = str(self.settings.url)
        if self._server is not None:
            where = f"the private server in {self.path} (its log: server.log there)"
        return reporting(what, where, self.label, self.settings)

    def _make_connection(self) -> Connection:
        settings = self.settings
        options: dict[str, Any] = {
            "db": settings.db,
            "username": settings.username,
            "password": settings.password,
            "socket_timeout": settings.timeout,
            "socket_connect_timeout": settings.connect_timeout,
            "socket_read_size": _READ_BYTES,
            "protocol": 2,
            "parser_class": AnswerParser,
        }
        kind: Any = _SocketConnection
        parts = urlsplit(str(settings.url))
        if self._server is not None:
            options["path"] = self._server.socket
        elif parts.scheme == "unix":
            options["path"] = unquote(parts.path)
        else:
            kind = redis.connection.Connection
            options |= {"host": parts.hostname, "port": parts.port or 6379}
        if parts.scheme == "rediss":
            kind = redis.connection.SSLConnection
            options |= {
                "ssl_ca_certs": settings.tls_ca,
                "ssl_certfile": settings.tls_cert,
                "ssl_keyfile": settings.tls_key,
                "ssl_cert_reqs": "required" if settings.tls_verify else "none",
                "ssl_check_hostname": settings.tls_verify,
            }
        made: Connection = kind(**options)
        return made

    # -- reading ---------------------------------------------------------------------------------------------

    def _read(self, key: str) -> Found:
        return self._read_many([key])[0]

    def _read_many(self, keys: Sequence[str]) -> list[Found]:
        with self._reporting(f"read {_these(keys)}"):
            return self._store.read(keys)

    def _read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes] | None:
        with self._reporting(f"read {_these([key])}"):
            return self._store.read_ranges(key, ranges)

    def _read_head(self, key: str) -> bytes | None:
        return self._read_heads([key])[0]

    def _read_heads(self, keys: Sequence[str]) -> list[bytes | None]:
        with self._reporting(f"read {_these(keys)}"):
            return self._store.heads(keys)

    def _sizes(self, keys: Sequence[str]) -> list[int | None]:
        with self._reporting(f"read {_these(keys)}"):
            return self._store.sizes(keys)

    def _exists(self, key: str) -> bool:
        return self._exist_many([key])[0]

    def _exist_many(self, keys: Sequence[str]) -> list[bool]:
        with self._reporting(f"look for {_these(keys)}"):
            return self._store.exist(keys)

    def _keys(self) -> Iterator[str]:
        with self._reporting("list the keys"):
            yield from self._store.keys()

    def _newest(self, stem: str) -> str | None:
        return self._newest_many([stem])[0]

    def newest_here(self, stems: Sequence[str]) -> list[str | None]:
        """Return the newest evolution of each stem, for all of them in one round trip. Blocks."""
        self._check_open()
        return self._newest_many(stems)

    def _newest_many(self, stems: Sequence[str]) -> list[str | None]:
        with self._reporting(f"look for the newest evolution of {_these(stems)}"):
            return self._store.newest(stems)

    def _evolutions(self, stem: str) -> list[int]:
        with self._reporting(f"list the evolutions of {stem}"):
            return self._store.evolutions(stem)

    # -- writing ---------------------------------------------------------------------------------------------

    def _write(self, key: str, blob: Blob) -> None:
        self._write_many([(key, blob)])

    def _write_many(self, items: Sequence[tuple[str, Blob]]) -> None:
        with self._reporting(f"store {_these([key for key, _ in items])}"):
            self._store.store(items, replace=True)

    def _create(self, key: str, blob: Blob) -> bool:
        return self._create_many([(key, blob)])[0]

    def _create_many(self, items: Sequence[tuple[str, Blob]]) -> list[bool]:
        with self._reporting(f"store {_these([key for key, _ in items])}"):
            return self._store.store(items, replace=False)

    def _lease_table(self) -> RedisLeases:
        return self._lent

    def _create_leased(self, items: Sequence[tuple[str, Blob]], tokens: Mapping[str, bytes]) -> bool:
        with self._reporting(f"store {_these([key for key, _ in items])}"):
            return self._store.store_leased(items, tokens)

    def _delete(self, key: str) -> bool:
        return self._delete_many([key])[0]

    def _delete_many(self, keys: Sequence[str]) -> list[bool]:
        with self._reporting(f"delete {_these(keys)}"):
            return self._store.delete(keys)

    def _empty(self) -> None:
        with self._reporting("empty the pool"):
            self._store.empty()

    def _close(self) -> None:
        self._connections.close()
        if self._server is not None:
            self._server.leave()


class _SocketConnection(redis.connection.UnixDomainSocketConnection):
    """A connection by a Unix socket whose path may be longer than the system allows."""

    def _connect(self) -> socket:
        path = self.path
        with reachable(path) as self.path:
            try:
                return super()._connect()  # type: ignore[no-any-return, no-untyped-call]
            finally:
                self.path = path


def _these(keys: Sequence[str]) -> str:
    return keys[0] if len(keys) == 1 else f"{len(keys)} entries"
