"""ArgReader: loads arguments from files and the terminal into ``laila.args``, or any other target."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, MutableMapping

from laila.arguments.arguments import DEEPEST, Arguments, Text, too_deep
from laila.errors import ArgumentsError, InvalidArgumentError
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ArgReader"]

_Path = str | os.PathLike[str]


class ArgReader:
    """Loads arguments into a target in place; every method returns ``None``.

    A source is read whole before the target is touched: after an error it is as it was. Loading again adds
    to what is there, nested tables included; the later value of one name wins.

    Args:
        target: an :class:`Arguments`, another mapping, or an object to set attributes on; ``laila.args`` if
            ``None``. In the latter two, which cannot look up joined names, these are set as well
            (``aws`` and ``aws_key``).

    All ``load`` and ``from_*`` methods raise :class:`~laila.errors.ArgumentsError` (a ``ValueError``) with
    file and line for a wrong suffix, a syntax error or a file that is no table;
    :class:`~laila.errors.ArgumentsNotFoundError` (a ``FileNotFoundError`` too);
    :class:`~laila.errors.MissingPluginError` where ``.env`` and XML need the extra ``args``.
    """

    def __init__(self, target: object | None = None) -> None:
        if target is None:
            from laila.arguments import args

            target = args
        self.target = target
        self._names: list[str] = []

    def load(self, source: _Path, *, terminal_args: Iterable[str] | None = None) -> None:
        """Load a file, whose suffix says which format it has, or ``"terminal"`` with ``terminal_args``.

        Args:
            source: The path of the file, or ``"terminal"``.
            terminal_args: The tokens for ``"terminal"``.

        Raises:
            ArgumentsError: the format is unknown, or the source cannot be read (a ``ValueError``).
        """
        if source == "terminal":
            self.from_terminal(terminal_args)
            return
        if terminal_args is not None:
            raise ArgumentsError(
                "terminal_args= goes with the source 'terminal' only", source=str(source), line=None
            )
        from laila.arguments.formats import parser_for

        path = _path(source)
        self._update(parser_for(path)(path), path)

    def from_toml(self, path: _Path) -> None:
        """Load a TOML file, types kept.

        Args:
            path: The file.
        """
        from laila.arguments.formats import read_toml

        path = _path(path)
        self._update(read_toml(path), path)

    def from_json(self, path: _Path) -> None:
        """Load a JSON file, types kept; its outermost value is an object.

        Args:
            path: The file.
        """
        from laila.arguments.formats import read_json

        path = _path(path)
        self._update(read_json(path), path)

    def from_env(self, path: _Path) -> None:
        """Load a ``.env`` file: ``KEY=value`` lines, each value read as what it spells.

        Args:
            path: The file.
        """
        from laila.arguments.formats import read_env

        path = _path(path)
        self._update(read_env(path), path)

    def from_xml(self, path: _Path) -> None:
        """Load an XML file: elements are names, nested elements nested tables; entities are refused.

        Args:
            path: The file.
        """
        from laila.arguments.formats import read_xml

        path = _path(path)
        self._update(read_xml(path), path)

    def from_terminal(self, args: Iterable[str] | None = None) -> None:
        """Load ``key=value`` and ``--key=value`` tokens, of ``sys.argv`` if ``None``; dotted keys nest.

        Args:
            args: The tokens; None takes them from the command line.
        """
        from laila.arguments.formats import read_terminal

        self._update(read_terminal(sys.argv[1:] if args is None else args), "terminal")

    def clear(self) -> None:
        """Remove all keys from the target mapping; from an object, the attributes that this reader set."""
        if isinstance(self.target, MutableMapping):
            self.target.clear()
            return
        while self._names:
            name = self._names.pop()
            if hasattr(self.target, name):
                delattr(self.target, name)

    def _update(self, table: Mapping[str, object], source: _Path) -> None:
        if too_deep(table):
            raise ArgumentsError(
                f"cannot read arguments from {shown(str(source))}: more than {DEEPEST} levels are nested",
                source=str(source),
                line=None,
            )
        target = self.target
        if isinstance(target, Arguments):
            target.merge(table)
        elif isinstance(target, MutableMapping):
            _merge(target, table)
            target.update({name: value for name, value in _joined(target).items() if name not in target})
        else:
            self._set_attributes(target, table)

    def _set_attributes(self, target: object, table: Mapping[str, object]) -> None:
        values = Arguments(table)
        named = {**_joined(values), **values}
        for name in named:
            if name.startswith("__"):
                raise ArgumentsError(
                    f"{shown(name)} cannot be set on an object", source=shown(type(target)), line=None
                )
        for name, value in named.items():
            mine = getattr(target, name, None)
            if isinstance(mine, Arguments) and isinstance(value, Arguments):
                mine.merge(value)
                continue
            setattr(target, name, value)
            self._names.append(name)

    def __repr__(self) -> str:
        return f"ArgReader({type(self.target).__name__})"


def _path(path: _Path) -> Path:
    from pathlib import Path

    try:
        return Path(path).expanduser()
    except TypeError:
        raise InvalidArgumentError(
            f"arguments are read from the path of a file, or 'terminal', not a {type(path).__name__}"
        ) from None


def _merge(target: MutableMapping[str, object], table: Mapping[str, object]) -> None:
    """Merge ``table`` into a mapping that is not ours, without the tags of texts."""
    for name, value in table.items():
        if isinstance(value, Text):
            target[name] = value.value
        elif isinstance(value, Mapping):
            mine = target.get(name)
            inner = mine if isinstance(mine, MutableMapping) else {}
            _merge(inner, value)
            target[name] = inner
        else:
            target[name] = value


def _joined(values: Mapping[str, object]) -> dict[str, object]:
    """Return the values of nested tables under their joined names."""
    joined: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            for inner, item in [*value.items(), *_joined(value).items()]:
                joined.setdefault(f"{name}_{inner}", item)
    return joined
