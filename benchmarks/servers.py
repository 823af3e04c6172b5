"""The servers that workloads need, started once for a whole run: those that the tests start."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

__all__ = ["started"]


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


_STARTERS: dict[str, Callable[[], contextlib.AbstractContextManager[dict[str, str]]]] = {"redis": _redis}
