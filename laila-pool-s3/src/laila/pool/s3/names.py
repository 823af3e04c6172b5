"""How keys are written as object names, one-to-one, and back.

Any key of up to 512 bytes becomes a name of at most 255 bytes a segment, of letters, digits and ``-_.:%~``,
which every service takes as they are. Usual keys stay readable::

    LAILA:ENTRY:GLOBAL_ID:<uuid>       laila/LAILA:ENTRY:GLOBAL_ID:<uuid>.blob
    LAILA:ENTRY:GLOBAL_ID:<uuid>-3     laila/LAILA:ENTRY:GLOBAL_ID:<uuid>.evolutions/3.blob

An object store lists by folder, so the evolutions of one entry have a folder of their own: the newest is
found without a look at the rest of the pool. Other characters are written ``%XX``; a key that would become
longer than 200 bytes by that is written ``~`` and its SHA-256, and is then known from the head of its blob
alone. What is not written exactly so is somebody else's, and left alone.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import quote, unquote

from laila.contract import MAX_KEY_BYTES, counts_evolution

__all__ = ["FOLDER", "Named", "evolutions_folder", "name_of", "parse_name"]

FOLDER = "laila"
"""What a pool has lies in this folder, below the pool's prefix."""

_SUFFIX = ".blob"
_EVOLUTIONS = ".evolutions"
_LONGEST = 200
_DIGITS = 32  # of an evolution's number; what has more is a key as any other
# The last group of a uuid may be all digits, and counts no evolution then.
_WHOLE_ID = re.compile(r":[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\Z")
_HASHED = re.compile(r"~[0-9a-f]{64}")


class Named(NamedTuple):
    """What an object name says."""

    key: str | None
    """The key, or None where it is hashed and the blob's head has to tell."""
    number: int | None
    """Of an evolution."""


def name_of(key: str) -> str:
    """Return the name of the object that holds ``key``, below the pool's prefix."""
    stem, hyphen, number = key.rpartition("-")
    if hyphen and len(number) <= _DIGITS and counts_evolution(number) and not _WHOLE_ID.search(key):
        return f"{evolutions_folder(stem)}/{number}{_SUFFIX}"
    return f"{FOLDER}/{_label(key)}{_SUFFIX}"


def evolutions_folder(stem: str) -> str:
    """Return the folder of the objects that hold ``<stem>-<n>``."""
    return f"{FOLDER}/{_label(stem)}{_EVOLUTIONS}"


def parse_name(name: str) -> Named | None:
    """Return what a name below the pool's prefix says, or None where it is not one of :func:`name_of`."""
    folder, _, rest = name.partition("/")
    if folder != FOLDER or not rest.endswith(_SUFFIX):
        return None
    label, slash, number = rest.removesuffix(_SUFFIX).partition("/")
    if slash:
        if not label.endswith(_EVOLUTIONS) or not counts_evolution(number) or len(number) > _DIGITS:
            return None
        label = label.removesuffix(_EVOLUTIONS)
    if _HASHED.fullmatch(label):
        return Named(None, int(number) if slash else None)
    try:
        text = unquote(label, errors="strict")
    except UnicodeDecodeError:
        return None
    key = f"{text}-{number}" if slash else text
    if not 0 < len(key.encode()) <= MAX_KEY_BYTES or name_of(key) != name:
        return None
    return Named(key, int(number) if slash else None)


def _label(text: str) -> str:
    quoted = quote(text, safe=":").replace("~", "%7E")
    return quoted if len(quoted) <= _LONGEST else f"~{sha256(text.encode()).hexdigest()}"
