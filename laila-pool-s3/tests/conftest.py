"""What the tests of this package share: one real S3 server, and pools in buckets of their own.

The server is SeaweedFS; with ``LAILA_TEST_S3=rgw`` (``make test-full``) it is Ceph's gateway.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from laila.pool.s3 import S3Pool
from servers.faults import Faults
from servers.proxy import Proxy
from servers.rgw import RGW
from servers.s3 import S3Server

if TYPE_CHECKING:
    from pathlib import Path

    OpenPool = Callable[..., S3Pool]


@pytest.fixture(autouse=True)
def _no_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the variables and profiles of whoever runs it."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "LAILA_S3_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(scope="session")
def server() -> Iterator[S3Server]:
    """The server, the same for all tests; who kills it starts it again."""
    with RGW() if os.environ.get("LAILA_TEST_S3") == "rgw" else S3Server() as server:
        yield server


@pytest.fixture(scope="session")
def shared_bucket(server: S3Server) -> str:
    return server.make_bucket()


@pytest.fixture
def bucket(server: S3Server) -> str:
    """An empty bucket."""
    return server.make_bucket()


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """A prefix that no other test uses, for those that need no bucket of their own: making one takes long."""
    return f"tests/{abs(hash(request.node.nodeid)):x}"


@pytest.fixture
def open_pool(server: S3Server, shared_bucket: str, prefix: str) -> Iterator[OpenPool]:
    """Opens pools on one and the same empty store; they are closed after the test.

    Faults of the server end soon: few retries, and short ones.
    """
    pools: list[S3Pool] = []

    def open_one(**options: Any) -> S3Pool:
        given = {
            "bucket_name": shared_bucket,
            "prefix": prefix,
            "timeout": 10.0,
            "deadline": 20.0,
            "retries": 3,
            **server.options(),
        }
        pools.append(S3Pool(**{**given, **options}))
        return pools[-1]

    yield open_one
    for pool in pools:
        pool.close()


@pytest.fixture
def faults(server: S3Server) -> Iterator[Faults]:
    """Stands before the server, and answers by itself where it is told to."""
    with Faults(("127.0.0.1", server.port)) as faults:
        yield faults


@pytest.fixture
def proxy(server: S3Server) -> Iterator[Proxy]:
    """Stands before the server, and cuts, stalls or refuses what passes."""
    with Proxy(("127.0.0.1", server.port)) as proxy:
        yield proxy


@pytest.fixture
def pool(open_pool: OpenPool) -> S3Pool:
    """One pool."""
    return open_pool()
