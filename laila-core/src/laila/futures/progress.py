"""A progress line for those who wait at a terminal: tqdm or rich where installed, else plain text."""

from __future__ import annotations

import sys
from functools import partial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn, Protocol

    from tqdm import tqdm

    class ProgressLine(Protocol):
        """One line on stderr that is brought up to date now and then."""

        def show(self, done: int, total: int) -> None:
            """Say that ``done`` of ``total`` are done."""

        def close(self) -> None:
            """Leave the line as it is and go to the next."""


__all__ = ["progress_line"]


class _Plain:
    def __init__(self, what: str) -> None:
        self.what = what
        self.shown = ""

    def show(self, done: int, total: int) -> None:
        text = f"{self.what}: {done}/{total}"
        if text != self.shown:
            self.shown = text
            # A file gets one line in the end, a terminal sees the line change.
            if sys.stderr.isatty():
                sys.stderr.write(f"\r{text}")
                sys.stderr.flush()

    def close(self) -> None:
        sys.stderr.write("\n" if sys.stderr.isatty() else f"{self.shown}\n")
        sys.stderr.flush()


class _Tqdm:
    def __init__(self, what: str) -> None:
        from tqdm import tqdm

        self.new_bar = partial(tqdm, desc=what, unit="")
        self.bar: tqdm[NoReturn] | None = None

    def show(self, done: int, total: int) -> None:
        if self.bar is None:
            self.bar = self.new_bar(total=total)
        self.bar.total = total
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


class _Rich:
    def __init__(self, what: str) -> None:
        from rich.console import Console
        from rich.progress import Progress

        self.progress = Progress(console=Console(stderr=True))
        self.task = self.progress.add_task(what, total=None)
        self.progress.start()

    def show(self, done: int, total: int) -> None:
        self.progress.update(self.task, completed=done, total=total)

    def close(self) -> None:
        self.progress.stop()


def progress_line(what: str) -> ProgressLine:
    """Return a progress line of the best kind that is installed."""
    for kind in (_Tqdm, _Rich):
        try:
            return kind(what)
        except ImportError:
            continue
    return _Plain(what)
