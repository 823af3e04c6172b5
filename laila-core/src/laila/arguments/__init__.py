"""Runtime arguments: ``laila.args``, and the reader that fills it from files and the command line.

Importing this is cheap: the parsers of the five formats are loaded when one is read.
"""

from __future__ import annotations

from collections.abc import Mapping

from laila.arguments.arguments import Arguments, Found
from laila.arguments.reader import ArgReader
from laila.errors import InvalidArgumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

__all__ = ["ArgReader", "Arguments", "Found", "arg_reader", "args", "read_args", "set_args"]

args = Arguments()
"""The process's arguments; pools and other components take unset options from here."""

arg_reader = ArgReader(args)
"""The reader that fills :data:`args`."""


# The values that assignments replaced, for nested patches of tests. The object itself stays the same.
_replaced: list[Arguments] = []
_KEPT = 16


def set_args(values: Mapping[str, object]) -> None:
    """Let ``laila.args`` hold ``values`` and nothing else, like ``laila.args = values``.

    Settings and the reader keep using the same object. Thread-safe.

    Raises:
        InvalidArgumentError: (a ``TypeError``) ``values`` is not a mapping, or a name in it is not text;
            nothing changes then.
    """
    if not isinstance(values, Mapping):
        raise InvalidArgumentError(
            f"laila.args holds a mapping from names to values, not a {type(values).__name__}; "
            "laila.read_args(path) reads a file"
        )
    if values is not args:
        before = Arguments(args)
        args._replace(values)
        _replaced.append(before)
        del _replaced[:-_KEPT]


def restore_args() -> None:
    """Let ``laila.args`` hold what the last :func:`set_args` replaced."""
    if _replaced:
        args._replace(_replaced.pop())


def read_args(source: str | os.PathLike[str], *, terminal_args: Iterable[str] | None = None) -> None:
    """Load a ``.toml``, ``.json``, ``.env`` or ``.xml`` file, or ``"terminal"``, into ``laila.args``.

    It calls :meth:`ArgReader.load` of ``laila.arg_reader``.

    Args:
        source: The path of the file, or ``"terminal"``.
        terminal_args: The tokens for ``"terminal"``.
    """
    arg_reader.load(source, terminal_args=terminal_args)
