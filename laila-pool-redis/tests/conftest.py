"""What the tests of this package share: servers, and pools on them that do not meet."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from laila.pool.redis import RedisPool
from servers.redis import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    OpenPool = Callable[..., RedisPool]

_numbers = count()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for all tests that leave it as it is; it keeps nothing on disk."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as started:
        yield started


@pytest.fixture
def prefix() -> str:
    """A prefix that no other test has."""
    return f"test-{next(_numbers)}"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    """Start a server of the test's own."""
    servers: list[RedisServer] = []

    def start(**options: Any) -> RedisServer:
        servers.append(RedisServer(tmp_path / f"server-{len(servers)}", **options))
        return servers[-1]

    yield start
    for one in servers:
        one.kill()


@pytest.fixture
def opened() -> Iterator[OpenPool]:
    """Open a pool that is closed when the test ends."""
    pools: list[RedisPool] = []

    def opened(*arguments: Any, **options: Any) -> RedisPool:
        pools.append(RedisPool(*arguments, **options))
        return pools[-1]

    yield opened
    for one in reversed(pools):
        one.close()


@pytest.fixture
def pool(server: RedisServer, prefix: str, opened: OpenPool) -> RedisPool:
    """A pool that is empty, on the server that all share."""
    return opened(server.url, prefix=prefix)
