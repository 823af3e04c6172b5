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


# What takes long, by the beginning of its id. `make test` leaves it out, and ends within ten minutes on two
# processors; `make test-slow` and .ci/run run it.
SLOW = (
    "laila-comm-tcpip/tests/test_failure.py",
    "laila-core/tests/test_codec_limits.py",
    "laila-core/tests/test_conformance_finds.py",
    "laila-core/tests/test_conformance_finds_more.py",
    "laila-core/tests/test_hostile_costs.py",
    "laila-pool-hdf5/tests/test_kill.py",
    "laila-pool-hdf5/tests/test_sharing.py",
    "laila-pool-redis/tests/test_faults.py",
    "laila-pool-s3/tests/test_faults.py",
    "laila-pool-s3/tests/test_page.py",
    "laila-taskforce-dask/tests/test_conformance.py",
    "laila-taskforce-dask/tests/test_dask.py",
    "laila-taskforce-dask/tests/test_dask_local.py",
    "laila-taskforce-processes/tests/test_processes_classes.py",
    "tests/test_arrows.py::test_every_library_that_is_imported_is_declared",
    "tests/test_cluster_example.py",
    "tests/test_content.py::test_a_loop_writes_what_changed",
    "tests/test_copies.py::test_memory_is_flat_in_the_number_of_entries",
    "tests/test_costs.py",
    "tests/test_demo_s3.py",
    "tests/test_docs.py::test_every_example_of_a_page_runs[docs/how-to/",
    "tests/test_docs.py::test_every_example_of_a_page_runs[docs/reference/",
    "tests/test_forks.py::test_a_pool_in_children",
    "tests/test_home.py",
    "tests/test_imports.py::test_importing_every_submodule_moves_no_public_name",
    "tests/test_install.py",
    "tests/test_locks.py::test_what_servers_peers_and_processes_hold",
    "tests/test_namespace.py",
    "tests/test_peers_example.py",
    "tests/test_plugin_chaos.py",
    "tests/test_slurm.py",
    "tests/test_task_force_page.py",
    "tests/test_third_party.py",
    "tests/test_typing.py",
    "tests/test_torture.py::test_a_few_rounds_of_each",
)


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


@pytest.hookimpl(tryfirst=True)  # before pytest looks at marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what takes long. Begin with the longest files, so that no worker is busy alone at the end."""
    for item in items:
        if item.nodeid.startswith(SLOW):
            item.add_marker("slow")

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
