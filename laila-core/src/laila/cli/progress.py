"""A line on stderr that shows how far a long command is. It is shown on a terminal only."""

from __future__ import annotations

import sys
from time import monotonic
from typing import TYPE_CHECKING, Self

from laila.cli.output import size_text

if TYPE_CHECKING:
    from laila.tiering.verifying import VerifyReport

__all__ = ["Progress"]

_EVERY_SECONDS = 0.2


class Progress:
    """Show entries, bytes, rate and the time that is left. Use it as a context, which clears the line."""

    def __init__(self, total: int | None = None) -> None:
        self.total = total
        self._shown = sys.stderr.isatty()
        self._next = 0.0
        self._begun = monotonic()

    @property
    def is_shown(self) -> bool:
        """Whether a terminal shows it."""
        return self._shown

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def show_files(self, files: int, nbytes: int) -> None:
        """Show how many files and bytes are done, five times a second at most."""
        now = monotonic()
        if not self._shown or now < self._next:
            return
        self._next = now + _EVERY_SECONDS
        rate = nbytes / max(now - self._begun, 0.001)
        words = f"{files} files, {size_text(nbytes)}, {size_text(int(rate))}/s"
        print(f"\r\x1b[K{words}", end="", file=sys.stderr, flush=True)

    def show(self, report: VerifyReport) -> None:
        """Show how far ``report`` is, five times a second at most."""
        now = monotonic()
        if not self._shown or now < self._next:
            return
        self._next = now + _EVERY_SECONDS
        read = report.entries + len(report.unread)
        rate = report.nbytes / report.seconds if report.seconds else 0.0
        words = [f"{read + report.skipped} entries", size_text(report.nbytes), f"{size_text(int(rate))}/s"]
        if report.damaged:
            words.append(f"{len(report.damaged)} damaged")
        if self.total and read:
            left = max(self.total - read - report.skipped, 0) * report.seconds / read
            words.append(f"{left:.0f} s left")
        print(f"\r\x1b[K{', '.join(words)}", end="", file=sys.stderr, flush=True)
