"""List, make, rotate, revoke, export and import the keys that sign and encrypt entries.

A payload that needs a user's class or pickle is remembered only if the key that signed it is known; what is
encrypted needs its key, too. Keys are files in the `secrets` directory that only their owner can read.
Everybody who has a key can sign as you, or read what you encrypted: send an exported key like a password.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from laila.cli.output import print_json, say, show_table
from laila.errors import InvalidValueError
from laila.showing import shown

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from laila.codec.trust import Keyring

__all__ = ["configure", "run"]

_MOST = 1 << 16


def configure(parser: ArgumentParser) -> None:
    """Add the actions."""
    actions = parser.add_subparsers(
        dest="action", required=True, metavar="list|new|rotate|revoke|used|export|import"
    )
    listed = actions.add_parser("list", help="show the keys that are here, never the keys themselves")
    new = actions.add_parser("new", help="make a key and sign with it from now on")
    new.add_argument("name", nargs="?", help="a note for people")
    rotate = actions.add_parser(
        "rotate", help="use a new key from now on; what older keys protect stays readable"
    )
    rotate.add_argument("name", nargs="?", help="a note for people")
    for made in (new, rotate):
        made.add_argument(
            "--encryption", action="store_true", help="a key that encrypts, in place of signing"
        )
    revoke = actions.add_parser("revoke", help="refuse what a key signed or encrypted from now on")
    revoke.add_argument("id", help="the key's id, as `laila keys list` shows it")
    revoke.add_argument("--undo", action="store_true", help="take a revocation back")
    used = actions.add_parser("used", help="list the entries of a pool that a key signed or encrypted")
    used.add_argument("id", help="the key's id")
    used.add_argument("--pool", metavar="POOL_URL", required=True, help="such as hdf5:///data/run.h5")
    for reads in (listed, used):
        reads.add_argument("--json", action="store_true", help="print one JSON object")
    export = actions.add_parser("export", help="write a key as text")
    export.add_argument("id", help="the key's id, as `laila keys list` shows it")
    export.add_argument("--output", metavar="FILE", type=Path, help="a new file, made readable by you alone")
    imported = actions.add_parser(
        "import", help="keep a key that was exported elsewhere, to trust what it signed"
    )
    imported.add_argument(
        "--encryption", action="store_true", help="the key encrypts, for a key without an id"
    )
    imported.add_argument(
        "file", nargs="?", default="-", metavar="FILE", help="its file, - or none for stdin"
    )


def run(options: Namespace) -> int:
    """Do one of the actions."""
    # One small function each; argparse has checked that the action exists.
    actions = {"list": _list, "new": _new, "rotate": _new, "revoke": _revoke, "used": _used}
    actions |= {"export": _export, "import": _import}
    actions[options.action](options)
    return 0


def _list(options: Namespace) -> None:
    from laila.codec.trust import encryption_keys, signing_keys

    if options.json:
        print_json({"signing": signing_keys.list(), "encryption": encryption_keys.list()})
        return
    tables = (("SIGNS", signing_keys.list()), ("ENCRYPTS", encryption_keys.list()))
    if not any(keys for _, keys in tables):
        say("no keys yet: the first is made when something has to be signed, or by `laila keys new`")
    for does, keys in tables:
        if keys:
            show_table(("ID", does, "NAME", "FROM"), map(_row, keys))


def _row(key: dict[str, object]) -> tuple[object, ...]:
    state = "revoked" if key["revoked"] else "yes" if key["active"] else ""
    return (key["id"], state, key["name"] or "", key["source"])


def _ring_of(key_id: str) -> Keyring:
    """Return the ring that has the file of a key: that of signing keys if none has it."""
    from laila.codec.trust import encryption_keys, signing_keys

    return encryption_keys if encryption_keys.holds(key_id) else signing_keys


def _new(options: Namespace) -> None:
    from laila.codec.trust import encryption_keys, signing_keys

    say((encryption_keys if options.encryption else signing_keys).new(options.name))


def _revoke(options: Namespace) -> None:
    ring = _ring_of(options.id)
    if options.undo:
        ring.restore(options.id)
        say(f"{options.id} is trusted again")
        return
    made = ring.revoke(options.id)
    say(f"{options.id} is revoked" + (f"; {made} was made, and is used from now on" if made else ""))


def _used(options: Namespace) -> None:
    from laila.cli.opening import open_to_look
    from laila.tiering.recrypting import protected_by

    with open_to_look(options.pool) as pool:
        keys = protected_by(pool, options.id)
        if options.json:
            print_json({"id": options.id, "entries": list(keys)})
            return
        for key in keys:
            say(key)


def _export(options: Namespace) -> None:
    text = _ring_of(options.id).export(options.id)
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
    from laila.codec.trust import encryption_keys, is_encryption_key, signing_keys

    # The first bytes show whether a file is a key, however long the file is.
    if options.file == "-":
        text = sys.stdin.read(_MOST)
    else:
        with Path(options.file).open(encoding="utf-8", errors="replace") as file:
            text = file.read(_MOST)
    ring = encryption_keys if options.encryption or is_encryption_key(text) else signing_keys
    say(ring.import_text(text))
