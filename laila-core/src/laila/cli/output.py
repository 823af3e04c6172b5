"""The output of commands: tables and named values; in colour on a terminal with rich, else plain text.

Everything that comes from a pool is cleaned first: a key or a nickname may hold control characters, and a
terminal would obey them.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from laila.showing import said

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

__all__ = [
    "clean",
    "count_text",
    "fail",
    "print_json",
    "say",
    "show_fields",
    "show_table",
    "size_text",
    "time_text",
]

_GAP = "  "


def clean(text: object) -> str:
    """Return ``text`` with every unprintable character written as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))


def say(text: str) -> None:
    """Print one line."""
    print(clean(text))


def fail(error: Exception, code: int, *, traceback: bool) -> int:
    """Print an error on stderr and return ``code``; raise it if the user wants to see where it is from."""
    if traceback:
        raise error
    print(f"laila: {clean(said(error))}", file=sys.stderr)
    return code


def print_json(fields: object) -> None:
    """Print one JSON object on a line."""
    import json

    print(json.dumps(fields, default=repr))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under column titles."""
    cells = [[clean(cell) for cell in row] for row in rows]
    console = _console()
    if console is None:
        _print_plain([list(columns), *cells])
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in cells:
        # Text, not str: rich would take [brackets] in a nickname for its own markup.
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def show_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Print named values, one a line."""
    cells = [[name, clean(value)] for name, value in fields]
    console = _console()
    if console is None:
        _print_plain(cells)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table.grid("name", "value", padding=(0, 2))
    for name, value in cells:
        table.add_row(Text(name, style="bold"), Text(value))
    console.print(table)


def count_text(count: int, one: str = "entry", many: str = "entries") -> str:
    """Return a number of things as text: ``1 entry``, ``3 entries``."""
    return f"{count} {one if count == 1 else many}"


def size_text(nbytes: int) -> str:
    """Return a number of bytes in a readable form: ``3.4 MiB``."""
    value, unit = float(nbytes), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{nbytes} B" if unit == "B" else f"{value:.1f} {unit}"


def time_text(seconds: object) -> str:
    """Return seconds since the epoch as local time with its offset; empty for a number that is not a time."""
    from datetime import UTC, datetime

    if not isinstance(seconds, (int, float)):
        return ""
    try:
        return datetime.fromtimestamp(seconds, UTC).astimezone().isoformat(sep=" ", timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return ""


def _console() -> Console | None:
    """Return a rich console if stdout is a terminal and rich is installed."""
    if not sys.stdout.isatty():
        return None
    try:
        from rich.console import Console
    except ImportError:
        return None
    return Console()


def _print_plain(lines: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print(_GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
