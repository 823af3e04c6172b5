"""The servers that workloads need, started once for a whole run: those that the tests start."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from obstore.store import S3Store

    from laila.pool.s3 import S3Pool

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

__all__ = ["SERVERS", "s3_pool", "s3_store", "started"]


@contextlib.contextmanager
def started(names: set[str]) -> Iterator[dict[str, dict[str, str]]]:
    """Start them; give for each what a client needs."""
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(_STARTERS[name]()) for name in sorted(names)}


@contextlib.contextmanager
def _redis() -> Iterator[dict[str, str]]:
    from servers.redis import RedisServer

    with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder)) as server:
        yield {"url": server.url}


@contextlib.contextmanager
def _s3() -> Iterator[dict[str, str]]:
    from servers.s3 import S3Server

    with S3Server() as server:
        yield {"bucket_name": server.make_bucket(), **server.options()}


def s3_pool(server: dict[str, str]) -> S3Pool:
    """A pool in the bucket, empty."""
    from laila.pool.s3 import S3Pool

    return S3Pool(**server, prefix=uuid.uuid4().hex)  # type: ignore[arg-type]  # all of them are text


def s3_store(server: dict[str, str]) -> S3Store:
    """The bucket, as the client library opens it alone."""
    from obstore.store import S3Store

    return S3Store(
        server["bucket_name"],
        endpoint=server["endpoint_url"],
        region=server["region_name"],
        access_key_id=server["access_key_id"],
        secret_access_key=server["secret_access_key"],
        client_options={"allow_http": True},
    )


_STARTERS: dict[str, Callable[[], contextlib.AbstractContextManager[dict[str, str]]]] = {
    "redis": _redis,
    "s3": _s3,
}

SERVERS = frozenset(_STARTERS)
"""The names that a workload may ask for."""
