"""Keys and the names of their files: one name a key, legal on every file system, readable for global ids.

===========================================  ==========================================  ===================
the key                                      its file                                    the key is found in
===========================================  ==========================================  ===================
``LAILA:ENTRY:GLOBAL_ID:<uuid>[-<number>]``  ``ENTRY-<uuid>[-<number>].laila``           the name
any other text                               ``key.<text, quoted>.laila``                the name
… whose name would be longer than 200        ``sha256.<SHA-256 of its UTF-8>.laila``     the blob in the file
===========================================  ==========================================  ===================

Several scopes are joined by ``+``. Quoted are all bytes of the UTF-8 but ``a-z 0-9 . _ -``, as ``%`` and two
digits: capitals too, so that no two names differ in case alone, as some file systems cannot tell them apart.

A file lies in one of 256 folders, named by the first byte of a SHA-256: that of the key, or of all before the
number of an evolution, so that the evolutions of an entry are in one folder.
"""

from __future__ import annotations

import re
from hashlib import sha256
from urllib.parse import unquote_to_bytes

from laila.contract import counts_evolution

__all__ = ["evolution_prefix", "file_name", "folder_name", "is_folder_name", "is_long", "key_of"]

SUFFIX = ".laila"
LONGEST = 200
"""Most file systems take 255 bytes; rsync and others put something before and after a name for a while."""

_SCOPE = "[A-Z][A-Z0-9_]*"
_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?:-[0-9]+)?"
_match_id = re.compile(rf"LAILA:({_SCOPE}(?::{_SCOPE})*):GLOBAL_ID:({_UUID})", re.ASCII).fullmatch
_match_id_name = re.compile(rf"({_SCOPE}(?:\+{_SCOPE})*)-({_UUID})\.laila", re.ASCII).fullmatch
_match_folder = re.compile(r"[0-9a-f]{2}", re.ASCII).fullmatch
_match_long = re.compile(r"sha256\.[0-9a-f]{64}\.laila", re.ASCII).fullmatch
_quotable = re.compile(rb"[^a-z0-9._-]")


def folder_name(key: str) -> str:
    """Return the name of the folder in which the file of ``key`` lies."""
    stem, dash, number = key.rpartition("-")
    evolves = dash and counts_evolution(number)
    return sha256((stem if evolves else key).encode()).hexdigest()[:2]


def is_folder_name(name: str) -> bool:
    """Whether files of entries may lie in a folder of this name."""
    return _match_folder(name) is not None


def file_name(key: str) -> str:
    """Return the name of the file of ``key``."""
    found = _match_id(key)
    name = f"{found[1].replace(':', '+')}-{found[2]}{SUFFIX}" if found else f"key.{_quote(key)}{SUFFIX}"
    return name if len(name) <= LONGEST else f"sha256.{sha256(key.encode()).hexdigest()}{SUFFIX}"


def key_of(name: str) -> str | None:
    """Return the key whose file has this name, where the name says it; else None."""
    found = _match_id_name(name)
    if found and len(name) <= LONGEST:
        return f"LAILA:{found[1].replace('+', ':')}:GLOBAL_ID:{found[2]}"
    if not (name.startswith("key.") and name.endswith(SUFFIX)):
        return None
    try:
        key = unquote_to_bytes(name[len("key.") : -len(SUFFIX)]).decode()
    except UnicodeDecodeError:
        return None
    # What another program has named may decode as well; each key has one name.
    return key if key and file_name(key) == name else None


def is_long(name: str) -> bool:
    """Whether the key of a file of this name is in the file."""
    return _match_long(name) is not None


def evolution_prefix(stem: str) -> str:
    """Return how the names of the evolutions of ``stem`` begin that are not long; the number follows."""
    return file_name(f"{stem}-0").removesuffix(f"0{SUFFIX}")


def _quote(key: str) -> str:
    return _quotable.sub(lambda found: b"%%%02x" % found[0][0], key.encode()).decode()
