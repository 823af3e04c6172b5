"""What holds for every test: a home of its own, and the blame for what it leaves behind.

No test touches the home of whoever runs it: the whole run has one of its own, child processes included.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

# Here, and not in a hook: conftest files below import laila, which notes the home, before any hook runs.
_HOME = os.environ["HOME"] = tempfile.mkdtemp(prefix="laila-tests-home-")
os.environ.pop("LAILA_HOME", None)

# A shell starts what it runs in the background with interrupts ignored, and child processes inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove it again."""
    shutil.rmtree(_HOME, ignore_errors=True)


# Files with tests that take long, the longest first: make test ARGS="-n 4 --dist loadfile --durations=100".
LONGEST = (
    "tests/test_docs.py",
    "laila-core/tests/test_conformance_finds_more.py",
    "tests/test_third_party.py",
    "tests/test_cluster_example.py",
    "tests/test_home.py",
    "laila-pool-s3/tests/test_conformance.py",
    "laila-comm-tcpip/tests/test_conformance.py",
    "tests/test_demo.py",
    "laila-taskforce-dask/tests/test_conformance.py",
    "tests/test_task_force_page.py",
    "laila-comm-tcpip/tests/test_failure.py",
    "laila-taskforce-dask/tests/test_dask_local.py",
    "laila-core/tests/test_conformance_finds.py",
    "laila-pool-redis/tests/test_conformance.py",
    "laila-taskforce-processes/tests/test_conformance.py",
    "laila-pool-files/tests/test_conformance.py",
    "laila-pool-hdf5/tests/test_conformance.py",
    "laila-pool-sqlite/tests/test_conformance.py",
    "tests/test_install.py",
    "tests/test_copies.py",
    "tests/test_slurm.py",
    "tests/test_typing.py",
    "tests/test_namespace.py",
    "tests/test_locks.py",
    "tests/test_forks.py",
    "laila-taskforce-dask/tests/",
    "laila-taskforce-processes/tests/",
    "laila-pool-hdf5/tests/",
    "laila-pool-sqlite/tests/",
    "laila-pool-redis/tests/",
    "laila-comm-tcpip/tests/",
    "laila-pool-s3/tests/",
    "laila-pool-files/tests/",
    "laila-taskforce-threads/tests/",
    "tests/",
    "laila-core/tests/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that no worker is busy alone at the end. The order in a file stays."""

    def place(item: pytest.Item) -> int:
        return next((number for number, start in enumerate(LONGEST) if item.nodeid.startswith(start)), -1)

    items.sort(key=place)


@pytest.fixture(autouse=True)
def _failures() -> Iterator[None]:
    """Forget failures that nobody looked at, which `laila.terminate()` in another test would raise."""
    yield
    failure = sys.modules.get("laila.futures.failure")
    if failure is not None:
        failure.tell_failures(raising=True)


@pytest.fixture(autouse=True, scope="module")
def _left_behind() -> Iterator[None]:
    """Collect what the tests of a file have left, so that a warning about it fails the last of them.

    And not a test of some other file, in which the garbage happens to be collected.
    """
    yield
    gc.collect()
