"""Write keys as object names, one-to-one, and read them back.

Any key of up to 512 bytes becomes a name of letters, digits and ``-_.:%~``, of at most 255 bytes a segment.
Every service takes such names unchanged. Usual keys stay readable::

    LAILA:ENTRY:GLOBAL_ID:<uuid>       laila/LAILA:ENTRY:GLOBAL_ID:<uuid>.blob
    LAILA:ENTRY:GLOBAL_ID:<uuid>-3     laila/LAILA:ENTRY:GLOBAL_ID:<uuid>.evolutions/3.blob

An object store lists by folder, so the evolutions of one entry have a folder of their own: the pool finds the
newest without listing the rest. Other characters are written ``%XX``. If a key would then be longer than 200
bytes, the name is ``~`` and its SHA-256, and only the head of the blob says the key. The pool leaves objects
with any other name alone.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import quote, unquote

from laila.contract import MAX_KEY_BYTES, counts_evolution, split_evolution

__all__ = ["FOLDER", "Named", "evolutions_folder", "label", "name_of", "parse_name"]

FOLDER = "laila"
"""The pool's objects are in this folder, below the pool's prefix."""

_SUFFIX = ".blob"
_EVOLUTIONS = ".evolutions"
_LONGEST = 200
_DIGITS = 32  # of an evolution's number; a key with more digits is an ordinary key
# The last group of a uuid may be all digits; it is not an evolution.
_WHOLE_ID = re.compile(r":[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\Z")
_HASHED = re.compile(r"~[0-9a-f]{64}")


class Named(NamedTuple):
    """The parts of an object name."""

    key: str | None
    """The key, or None if the name is a hash and only the blob's head says the key."""
    number: int | None
    """The number of the evolution, or None."""


def name_of(key: str) -> str:
    """Return the name of the object that holds ``key``, below the pool's prefix."""
    split = split_evolution(key)
    if split is not None and len(split[1]) <= _DIGITS and not _WHOLE_ID.search(key):
        return f"{evolutions_folder(split[0])}/{split[1]}{_SUFFIX}"
    return f"{FOLDER}/{label(key)}{_SUFFIX}"


def evolutions_folder(stem: str) -> str:
    """Return the folder of the objects that hold ``<stem>-<n>``."""
    return f"{FOLDER}/{label(stem)}{_EVOLUTIONS}"


def parse_name(name: str) -> Named | None:
    """Return the meaning of a name below the pool's prefix, or None for somebody else's name."""
    folder, _, rest = name.partition("/")
    if folder != FOLDER or not rest.endswith(_SUFFIX):
        return None
    part, slash, number = rest.removesuffix(_SUFFIX).partition("/")
    if slash:
        if not part.endswith(_EVOLUTIONS) or not counts_evolution(number) or len(number) > _DIGITS:
            return None
        part = part.removesuffix(_EVOLUTIONS)
    if _HASHED.fullmatch(part):
        return Named(None, int(number) if slash else None)
    try:
        text = unquote(part, errors="strict")
    except UnicodeDecodeError:
        return None
    key = f"{text}-{number}" if slash else text
    if not 0 < len(key.encode()) <= MAX_KEY_BYTES or name_of(key) != name:
        return None
    return Named(key, int(number) if slash else None)


def label(text: str) -> str:
    """Return a part of an object's name that stands for a key, or for a key without its evolution."""
    quoted = quote(text, safe=":").replace("~", "%7E")
    return quoted if len(quoted) <= _LONGEST else f"~{sha256(text.encode()).hexdigest()}"
