"""No test touches the home of whoever runs it: the whole run has one of its own, child processes included."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

# Here, and not in a hook: conftest files below import laila, which notes the home, before any hook runs.
_HOME = os.environ["HOME"] = tempfile.mkdtemp(prefix="laila-tests-home-")
os.environ.pop("LAILA_HOME", None)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove it again."""
    shutil.rmtree(_HOME, ignore_errors=True)
