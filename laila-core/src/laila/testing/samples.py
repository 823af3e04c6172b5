"""Blobs of known content, made without codec or numpy, and what was stored read back as bytes."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from laila.component.backend import checked_blob
from laila.contract import Blob, Buffer
from laila.errors import CorruptEntryError
from laila.testing.promises import broken, promise

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from laila.contract import Pool

__all__ = ["ODD_KEYS", "entry_key", "intact", "make_blob", "stored", "stored_many"]

ODD_KEYS = [
    *("a", "A", "ä", "Ä", "ss", "ß", ".", "..", "...", "a.", "a ", " ", "a/b", "/a", "a/", "//", "a\\b"),
    *(
        "../a",
        "~",
        "*",
        "?",
        "[a]",
        "{a}",
        "%",
        "%2F",
        "%s",
        "a%00",
        "a:b",
        "a;b",
        "a#b",
        "a?b=c",
        "a&b",
        "-",
    ),
    *(
        "-1",
        "a-1",
        "a-01",
        "a--1",
        "con",
        "NUL",
        "aux.blob",
        ".tmp",
        ".hidden",
        "'",
        '"',
        "`",
        "$HOME",
        "'; --",
    ),
    *("\t", "\n", "\r\n", "\x01", "\x7f", "a\0b", "\u200b", "\ufeff", "\U0001f40d", "e\u0301", "\u00e9"),
    *("x" * 255, "x" * 256, "x" * 512, "ü" * 256, "\U0001f40d" * 128, "/" * 512, "%" * 512, "\n" * 512),
]
"""Keys that a backend may take for something else: any text of 1 to 512 bytes of UTF-8 is a key."""


def entry_key(number: int, evolution: int | None = None) -> str:
    """The global id of an entry, the same for the same number."""
    key = f"LAILA:ENTRY:GLOBAL_ID:00000000-0000-4000-8000-{number:012x}"
    return key if evolution is None else f"{key}-{evolution}"


def make_blob(
    key: str, size: int = 100, seed: int = 0, *, pieces: int = 1, tree: bytes | None = None
) -> Blob:
    """A blob with ``pieces`` buffers of ``size`` bytes in all, told from others of its key by ``seed``.

    Small ones have no buffer, as what the codec makes of small payloads; ``tree`` may be as long as you like.
    """
    content = Random(f"{key} {seed}").randbytes(size)
    if tree is None:
        tree = b"\x90%d" % seed
    if size <= 1024 and pieces == 1:
        return Blob(
            key, tree + content, (), "näme" if seed % 2 else None, (1.5, "sample", size, "test", None)
        )
    step = -(-size // pieces) or 1
    view = memoryview(content)
    buffers = tuple(_buffer(view[start : start + step]) for start in range(0, size, step))
    return Blob(key, tree, buffers, None, (1.5, "sample", size, "test", None))


def _buffer(view: memoryview) -> Buffer:
    if view.nbytes % 8 == 0:  # as an array would be
        return Buffer(view, "<f8", (view.nbytes // 8,))
    return Buffer(view)


def stored(pool: Pool, key: str) -> bytes | None:
    """Return the stored bytes of ``key``, or None. Damage breaks a promise: nobody damaged anything."""
    __tracebackhide__ = True
    return _checked(key, pool._read(key))


def stored_many(pool: Pool, keys: Sequence[str]) -> list[bytes | None]:
    """Return the stored bytes of several keys, read by one call."""
    __tracebackhide__ = True
    found = pool._read_many(keys)
    promise(
        len(found) == len(keys), f"_read_many gives one answer a key; it gave {len(found)} for {len(keys)}"
    )
    return [_checked(key, one) for key, one in zip(keys, found, strict=True)]


def intact(pool: Pool, blob: Blob) -> bool:
    """Whether the pool's backend has ``blob`` under its key, byte for byte."""
    try:
        found = pool._read(blob.key)
        return found is not None and bytes(checked_blob(blob.key, found)) == bytes(blob)
    except CorruptEntryError:
        return False


def _checked(key: str, found: Any) -> bytes | None:
    __tracebackhide__ = True
    try:
        return None if found is None else bytes(checked_blob(key, found))
    except CorruptEntryError as error:
        broken(f"a blob is read as it was written, and in the order of the keys; under {key!r}: {error}")
