"""The parser of command lines. Its errors repeat nothing that may be a password."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any, NoReturn

from laila.showing import escaped

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Parser"]

# The name of an option or a command, or a number: only these are repeated from a wrong line.
_is_word = re.compile(r"-{0,2}[A-Za-z0-9_.-]{1,20}").fullmatch
_UNKNOWN = "unrecognized arguments: "


class Parser(argparse.ArgumentParser):
    """Works like argparse's parser, but needs options in full: ``--secret`` is not ``--secret-file``."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **options})
        self._given: list[str] = []
        self._mixing = False

    def parse_known_args(  # type: ignore[override]  # it has several forms
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """Parse known arguments; :mod:`argparse` calls this for each command too.

        A command takes its arguments and its options in any order.
        """
        import sys

        self._given = list(sys.argv[1:] if args is None else args)
        if self._mixing or self._subparsers is not None:
            return super().parse_known_args(args, namespace)
        given = self._given
        self._mixing = True  # argparse calls this method again for each of the two
        try:
            return super().parse_known_intermixed_args(args, namespace)
        finally:
            self._mixing, self._given = False, given

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, without the given values."""
        if message.startswith(_UNKNOWN):
            names = [each.partition("=")[0] for each in self._given if each.startswith("-")]
            known = [name for name in names if name in message and _is_word(name)]
            message = f"{_UNKNOWN}{' '.join([*known, '…'])} (values are not repeated: one may be a password)"
        for argument in sorted(self._given, key=len, reverse=True):
            for value in (argument, argument.partition("=")[2]):
                if value and not _is_word(value):
                    message = message.replace(repr(value), "'…'").replace(value, "…")
        super().error(escaped(message))
