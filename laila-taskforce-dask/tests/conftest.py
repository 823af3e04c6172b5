"""One Dask cluster for all tests that end nothing of it: two processes of one thread each."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from distributed import LocalCluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[LocalCluster]:
    """A cluster whose workers are restarted when they die."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # workers die on purpose here
    with LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as cluster:
        yield cluster
