"""The contract that every pool is held to: on a server by TCP, and on a private one."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from laila.pool.redis import RedisPool
from laila.testing import PoolConformance
from servers.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    import redis

    from laila.contract import Pool
    from servers.redis import RedisServer


def flip(client: redis.Redis, name: str) -> None:
    """Change a byte in the middle of a value."""
    at = client.strlen(name) // 2
    byte = client.getrange(name, at, at)
    assert isinstance(byte, bytes)
    client.setrange(name, at, bytes([byte[0] ^ 1]))


class TestRedisPool(PoolConformance):
    """A server that others use too, each pool under a prefix of its own."""

    @pytest.fixture
    def proxy(self, server: RedisServer) -> Iterator[Proxy]:
        with Proxy(("127.0.0.1", server.port)) as started:
            yield started

    @pytest.fixture
    def open_pool(
        self, server: RedisServer, prefix: str, request: pytest.FixtureRequest
    ) -> Callable[..., Pool]:
        if "outage" in request.fixturenames:
            port = request.getfixturevalue("proxy").port
            return lambda **options: RedisPool(
                f"redis://127.0.0.1:{port}", prefix=prefix, retry_for=0.3, **options
            )
        return lambda **options: RedisPool(server.url, prefix=prefix, **options)

    @pytest.fixture
    def url(self, server: RedisServer, prefix: str) -> str:
        return f"{server.url}?prefix={prefix}"

    @pytest.fixture
    def damage(self, server: RedisServer, prefix: str) -> Callable[[str], None]:
        return lambda key: flip(server.client(), f"{prefix}/e/{key}")

    @pytest.fixture
    def outage(self, proxy: Proxy) -> Callable[[], AbstractContextManager[object]]:
        @contextlib.contextmanager
        def outage() -> Iterator[None]:
            proxy.refuse = True
            proxy.cut()
            yield
            proxy.refuse = False

        return outage


class TestPrivateRedisPool(PoolConformance):
    """A private server, started and ended by each test."""

    examples = 10

    @pytest.fixture
    def open_pool(self, tmp_path: Path) -> Callable[..., Pool]:
        return lambda **options: RedisPool(path=tmp_path / "redis", **options)
