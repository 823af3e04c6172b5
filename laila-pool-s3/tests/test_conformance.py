"""The contract that every pool is held to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import pytest

from laila.contract import Pool
from laila.pool.s3 import S3Pool
from laila.pool.s3.names import name_of
from laila.testing import PoolConformance
from servers.proxy import Proxy

if TYPE_CHECKING:
    from servers.s3 import S3Server


class TestS3Pool(PoolConformance):
    """A prefix of a bucket; where it is to be taken away, reached through a proxy."""

    examples = 8  # each of some fifty requests and more

    @pytest.fixture
    def proxy(self, server: S3Server) -> Iterator[Proxy]:
        with Proxy(("127.0.0.1", server.port)) as proxy:
            yield proxy

    @pytest.fixture
    def store(self, server: S3Server, request: pytest.FixtureRequest) -> dict[str, str]:
        """The options that say where the store of this test is."""
        store = {"bucket_name": server.make_bucket(), **server.options()}
        if "outage" in request.fixturenames:
            store["endpoint_url"] = f"http://127.0.0.1:{request.getfixturevalue('proxy').port}"
        return store

    @pytest.fixture
    def open_pool(self, store: dict[str, str]) -> Callable[..., Pool]:
        return lambda **options: S3Pool(**{**store, "retries": 2, "prefix": "a/prefix", **options})

    @pytest.fixture
    def url(self, store: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
        monkeypatch.setenv("AWS_ENDPOINT_URL", store["endpoint_url"])
        monkeypatch.setenv("AWS_REGION", store.get("region_name", "us-east-1"))
        for name in ("access_key_id", "secret_access_key"):
            monkeypatch.setenv(f"AWS_{name.upper()}", store[name])
        return f"s3://{store['bucket_name']}/a/prefix"

    @pytest.fixture
    def damage(self, server: S3Server, store: dict[str, str]) -> Callable[[str], None]:
        def change(key: str) -> None:
            path = f"/{store['bucket_name']}/a/prefix/{name_of(key)}"
            body = bytearray(server.request("GET", path).body)
            body[len(body) // 2] ^= 0x10
            assert server.request("PUT", path, body=bytes(body)).status == 200

        return change

    @pytest.fixture
    def outage(self, proxy: Proxy) -> Callable[[], AbstractContextManager[object]]:
        @contextmanager
        def away() -> Iterator[None]:
            proxy.refuse = True
            proxy.cut()
            try:
                yield
            finally:
                proxy.refuse = False

        return away
