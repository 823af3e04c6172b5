"""List, make, export and import the keys that sign entries which need code.

A payload that needs a user's class or pickle is remembered only if the key that signed it is known. Keys are
files in the `secrets` directory that only their owner can read. Everybody who has a key can sign as you: send
an exported key like a password.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from laila.cli.output import say, show_table
from laila.errors import InvalidValueError
from laila.showing import shown

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["configure", "run"]

_MOST = 1 << 16


def configure(parser: ArgumentParser) -> None:
    """Add the four actions."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|new|export|import")
    actions.add_parser("list", help="show the keys that are here, never the keys themselves")
    new = actions.add_parser("new", help="make a key and sign with it from now on")
    new.add_argument("name", nargs="?", help="a note for people")
    export = actions.add_parser("export", help="write a key as text")
    export.add_argument("id", help="the key's id, as `laila keys list` shows it")
    export.add_argument("--output", metavar="FILE", type=Path, help="a new file, made readable by you alone")
    imported = actions.add_parser(
        "import", help="keep a key that was exported elsewhere, to trust what it signed"
    )
    imported.add_argument(
        "file", nargs="?", default="-", metavar="FILE", help="its file, - or none for stdin"
    )


def run(options: Namespace) -> int:
    """Do one of the four actions."""
    # One small function each; argparse has checked that the action exists.
    actions = {"list": _list, "new": _new, "export": _export, "import": _import}
    actions[options.action](options)
    return 0


def _list(options: Namespace) -> None:
    from laila.codec.trust import list_keys

    keys = list_keys()
    if not keys:
        say("no keys yet: the first is made when something has to be signed, or by `laila keys new`")
        return
    show_table(
        ("ID", "SIGNS", "NAME", "FROM"),
        [(key["id"], "yes" if key["active"] else "", key["name"] or "", key["source"]) for key in keys],
    )


def _new(options: Namespace) -> None:
    from laila.codec.trust import new_key

    say(new_key(options.name))


def _export(options: Namespace) -> None:
    from laila.codec.trust import export_key

    text = export_key(options.id)
    if options.output is None:
        say(text)
        return
    # Exclusive and private from the first moment: no reader in between, nothing is overwritten.
    try:
        number = os.open(options.output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        if _holds(options.output, text):
            return
        raise InvalidValueError(
            f"{shown(str(options.output))} is there already, and was left as it is: give another --output"
        ) from None
    with os.fdopen(number, "w", encoding="ascii") as file:
        file.write(text + "\n")


def _holds(path: Path, text: str) -> bool:
    """Whether an earlier export of this key made the file: private, with this key alone."""
    try:
        status = path.lstat()
        private = stat.S_ISREG(status.st_mode) and not status.st_mode & 0o077 and status.st_uid == os.getuid()
        return private and path.read_text("ascii") == text + "\n"
    except (OSError, ValueError):
        return False


def _import(options: Namespace) -> None:
    from laila.codec.trust import import_key

    # The first bytes show whether a file is a key, however long the file is.
    if options.file == "-":
        text = sys.stdin.read(_MOST)
    else:
        with Path(options.file).open(encoding="utf-8", errors="replace") as file:
            text = file.read(_MOST)
    say(import_key(text))
