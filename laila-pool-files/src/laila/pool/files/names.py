"""Keys and the names of their files: one name a key, legal on every file system, readable for global ids.

===========================================  ==========================================  ===================
the key                                      its file                                    the key is found in
===========================================  ==========================================  ===================
``LAILA:ENTRY:GLOBAL_ID:<uuid>[-<number>]``  ``ENTRY-<uuid>[-<number>].laila``           the name
any other text                               ``key.<text, quoted>.laila``                the name
… whose name would be longer than 200        ``sha256.<SHA-256 of its UTF-8>.laila``     the blob in the file
===========================================  ==========================================  ===================

Several scopes are joined by ``+``. Every byte of the UTF-8 except ``a-z 0-9 . _ -`` is quoted as ``%`` and
two digits. That includes capitals, because some file systems cannot tell two names apart that differ in case
alone.

A file lies in one of 256 folders. The first byte of a SHA-256 names the folder: the hash of the key, or of
the key without the number of an evolution. So all evolutions of an entry are in one folder.
"""

from __future__ import annotations

import re
from hashlib import sha256
from urllib.parse import unquote_to_bytes

from laila.contract import split_evolution

__all__ = ["evolution_prefix", "file_name", "folder_name", "is_folder_name", "is_long", "key_of"]

SUFFIX = ".laila"
LONGEST = 200
"""Most file systems take 255 bytes; rsync and other tools add to both ends of a name for a while."""

_SCOPE = "[A-Z][A-Z0-9_]*"
_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?:-[0-9]+)?"
_match_id = re.compile(rf"LAILA:({_SCOPE}(?::{_SCOPE})*):GLOBAL_ID:({_UUID})", re.ASCII).fullmatch
_match_id_name = re.compile(rf"({_SCOPE}(?:\+{_SCOPE})*)-({_UUID})\.laila", re.ASCII).fullmatch
_match_folder = re.compile(r"[0-9a-f]{2}", re.ASCII).fullmatch
_match_long = re.compile(r"sha256\.[0-9a-f]{64}\.laila", re.ASCII).fullmatch
_quotable = re.compile(rb"[^a-z0-9._-]")


def folder_name(key: str) -> str:
    """Return the name of the folder of the file of ``key``."""
    split = split_evolution(key)
    return sha256((key if split is None else split[0]).encode()).hexdigest()[:2]


def is_folder_name(name: str) -> bool:
    """Whether a folder of this name may hold files of entries."""
    return _match_folder(name) is not None


def file_name(key: str) -> str:
    """Return the name of the file of ``key``."""
    match = _match_id(key)
    name = f"{match[1].replace(':', '+')}-{match[2]}{SUFFIX}" if match else f"key.{_quote(key)}{SUFFIX}"
    return name if len(name) <= LONGEST else f"sha256.{sha256(key.encode()).hexdigest()}{SUFFIX}"


def key_of(name: str) -> str | None:
    """Return the key whose file has this name. None if the name does not say the key."""
    match = _match_id_name(name)
    if match and len(name) <= LONGEST:
        return f"LAILA:{match[1].replace('+', ':')}:GLOBAL_ID:{match[2]}"
    if not (name.startswith("key.") and name.endswith(SUFFIX)):
        return None
    try:
        key = unquote_to_bytes(name[len("key.") : -len(SUFFIX)]).decode()
    except UnicodeDecodeError:
        return None
    # A name from another program may decode as well, but each key has exactly one name.
    return key if key and file_name(key) == name else None


def is_long(name: str) -> bool:
    """Whether the key is in the file, because its name would be too long."""
    return _match_long(name) is not None


def evolution_prefix(stem: str) -> str:
    """Return the beginning of the short names of the evolutions of ``stem``; the number follows."""
    return file_name(f"{stem}-0").removesuffix(f"0{SUFFIX}")


def _quote(key: str) -> str:
    return _quotable.sub(lambda match: b"%%%02x" % match[0][0], key.encode()).decode()
