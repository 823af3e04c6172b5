"""No test touches the home of whoever runs it: the whole run has one of its own, child processes included."""

from __future__ import annotations

import os
import shutil
import tempfile

import pytest

_HOME = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Begin with an empty HOME, before anything of laila is imported."""
    config.stash[_HOME] = os.environ["HOME"] = tempfile.mkdtemp(prefix="laila-tests-home-")
    os.environ.pop("LAILA_HOME", None)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove it again."""
    shutil.rmtree(config.stash[_HOME], ignore_errors=True)
