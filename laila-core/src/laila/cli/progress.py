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

    def __init__(self, unit: str = "files") -> None:
        self.unit = unit
        self.total: int | None = None
        """How many there are to do, where that is known."""
        self.total_bytes: int | None = None
        """How many bytes they have, where that is known: the time that is left is told by these then."""
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
        self.clear()

    def clear(self) -> None:
        """Take the line away, so that something else can be printed."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def show_done(self, count: int, nbytes: int) -> None:
        """Show how many files or entries, and how many bytes, are done, five times a second at most."""
        now = monotonic()
        if not self._shown or now < self._next:
            return
        self._next = now + _EVERY_SECONDS
        seconds = max(now - self._begun, 0.001)
        words = [f"{count} {self.unit}"]
        if nbytes:
            words += [size_text(nbytes), f"{size_text(int(nbytes / seconds))}/s"]
        done, total = (nbytes, self.total_bytes) if self.total_bytes else (count, self.total)
        if done and total:
            words.append(f"{max(total - done, 0) * seconds / done:.0f} s left")
        print(f"\r\x1b[K{', '.join(words)}", end="", file=sys.stderr, flush=True)

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
