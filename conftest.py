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
