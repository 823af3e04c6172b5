"""What the tests of this package share: blobs of known content, without the codec, and children."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from laila.contract import Blob, Buffer
from laila.pool.sqlite import SQLitePool


def make_blob(key: str, size: int = 10) -> Blob:
    """A blob with one buffer of random bytes."""
    return Blob(key, b"\x90", (Buffer(memoryview(os.urandom(size))),))


def fork(work: Callable[[], object]) -> int:
    """Run ``work`` in a forked child; return its process id."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # beside threads, which is what is tested
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def exit_code(pid: int) -> int:
    """Wait for a child."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture(name="make_blob")
def _make_blob() -> Callable[..., Blob]:
    return make_blob


@pytest.fixture(name="fork")
def _fork() -> Callable[[Callable[[], object]], int]:
    return fork


@pytest.fixture(name="exit_code")
def _exit_code() -> Callable[[int], int]:
    return exit_code


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "pool.db"


@pytest.fixture
def pool(file: Path) -> Iterator[SQLitePool]:
    with SQLitePool(file) as opened:
        yield opened
