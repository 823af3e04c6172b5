"""Runtime arguments: ``laila.args``, and the reader that fills it from files and the command line.

Importing this is cheap: the parsers of the five formats are loaded when one is read.
"""

from __future__ import annotations

from laila.arguments.arguments import Arguments, Found
from laila.arguments.reader import ArgReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

__all__ = ["ArgReader", "Arguments", "Found", "arg_reader", "args", "read_args"]

args = Arguments()
"""The process's arguments; pools and other components take unset options from here."""

arg_reader = ArgReader(args)
"""The reader that fills :data:`args`."""


def read_args(source: str | os.PathLike[str], *, terminal_args: Iterable[str] | None = None) -> None:
    """Load a ``.toml``, ``.json``, ``.env`` or ``.xml`` file, or ``"terminal"``, into ``laila.args``.

    The same as ``laila.arg_reader.load``; see :meth:`ArgReader.load`.
    """
    arg_reader.load(source, terminal_args=terminal_args)
