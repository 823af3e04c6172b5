"""Tests that end: a test that hangs fails, and says where it stands. A suite with many of them ends soon.

What a suite waits for in vain is counted. After the first hang it waits for less, and when it has waited for
long enough the tests that are left are skipped: what hangs is to be mended first, and is known by then.
"""

from __future__ import annotations

import functools
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from laila.testing.promises import broken

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    S = TypeVar("S")
    T = TypeVar("T")

__all__ = ["bounded", "limit", "something_hung", "waited_in_vain", "within"]

_IN_VAIN = 3.0  # seconds that a failing test takes before they count as waiting
_wasted: dict[type, float] = {}


def limit(suite: Any) -> float:
    """How many seconds a test of ``suite`` may wait now: its ``patience``, or a quarter after a hang."""
    patience: float = suite.patience
    return patience / 4 if _wasted.get(type(suite)) else patience


def something_hung() -> bool:
    """Whether a test of this process waited in vain."""
    return bool(_wasted)


def waited_in_vain(suite: object, since: float) -> None:
    """Count the time since ``since`` (:func:`time.monotonic`) in a test of ``suite`` that has failed."""
    if (seconds := time.monotonic() - since) > _IN_VAIN:
        _wasted[type(suite)] = _wasted.get(type(suite), 0.0) + seconds


def bounded(suite: type[S]) -> type[S]:
    """Give each test of a class three times its :func:`limit`; class decorator.

    A test that has not ended by then fails, with the promise that its docstring tells. It is left behind in a
    thread that keeps no process alive.
    """
    for name, test in list(vars(suite).items()):
        if name.startswith("test_"):
            setattr(suite, name, _bounded(test))
    return suite


def _bounded(test: Callable[..., None]) -> Callable[..., None]:
    told = (test.__doc__ or test.__name__).partition("\n")[0].rstrip(".")

    @functools.wraps(test)
    def run(self: Any, *args: Any, **kwargs: Any) -> None:
        __tracebackhide__ = True
        wasted = _wasted.get(type(self), 0.0)
        if wasted > 1.5 * self.patience:
            pytest.skip(f"not run: tests before it waited in vain, for {wasted:.0f} s; mend those first")
        began = time.monotonic()
        try:
            within(3 * limit(self), f"nothing hangs, and here: {told}", lambda: test(self, *args, **kwargs))
        except BaseException:
            waited_in_vain(self, began)
            raise

    return run


def within(seconds: float, what: str, fn: Callable[[], T]) -> T:
    """Run ``fn`` in a thread of its own, and return or raise its outcome.

    Work that has not ended after ``seconds`` breaks the promise ``what``.
    """
    __tracebackhide__ = True
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        __tracebackhide__ = True
        try:
            results.append(fn())
        except BaseException as error:  # noqa: BLE001 - raised below, in the thread of the test
            errors.append(error)

    thread = threading.Thread(target=run, name="conformance", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors.pop()
    if not results:
        broken(f"{what} (it has not ended after {seconds:g} s, and stands in {_place(thread)})")
    return results.pop()


def _place(thread: threading.Thread) -> str:
    """The innermost frames of a thread, innermost first."""
    frame = sys._current_frames().get(thread.ident or 0)
    places: list[str] = []
    while frame is not None and len(places) < 4:
        if frame.f_code.co_filename != threading.__file__:
            places.append(f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})")
        frame = frame.f_back
    return ", called by ".join(places) or "no Python code"
