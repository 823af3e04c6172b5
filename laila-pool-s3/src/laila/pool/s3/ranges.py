"""Ranges of one object: what is asked for in one request, and what the answers say."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Span = tuple[int, int]

__all__ = ["answered", "requests"]


def requests(ranges: Sequence[Span], most: int) -> list[Span]:
    """The requests for some ranges: those that touch are one, and none is larger than ``most`` bytes.

    Args:
        ranges: Pairs of first byte and the one after the last, ascending, none over another.
        most: The bytes of one request.
    """
    runs: list[Span] = []
    for start, stop in ranges:
        if start == stop:
            continue
        if runs and runs[-1][1] == start:
            runs[-1] = (runs[-1][0], stop)
        else:
            runs.append((start, stop))
    return [(at, min(at + most, stop)) for start, stop in runs for at in range(start, stop, most)]


def answered(
    ranges: Sequence[Span], asked: Sequence[Span], pieces: Sequence[memoryview]
) -> list[bytes | memoryview]:
    """The bytes of each range, of what was ``asked`` for and came; fewer where the object ends before."""
    found: list[bytes | memoryview] = []
    first = 0
    for start, stop in ranges:
        while first < len(asked) and asked[first][1] <= start:
            first += 1
        parts, number = [], first
        while number < len(asked) and asked[number][0] < stop:
            at = asked[number][0]
            parts.append(pieces[number][max(start - at, 0) : stop - at])
            number += 1
        found.append(parts[0] if len(parts) == 1 else b"".join(parts))
    return found
