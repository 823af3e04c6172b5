"""The fast path: payloads that are one MessagePack object, packed and unpacked in C.

A payload is *plain* when it is made of exactly None, bool, int (64 bits), float, str, bytes (short), list and
dict (scalar keys), is not deeper than :data:`MAX_DEPTH`, and refers to no container twice. That is what most
small entries are, so the test for it looks at whole containers at a time and no module but msgpack is
needed. What is not plain is written as rows: see :mod:`laila.codec.encoder`.
"""

from __future__ import annotations

from _thread import _local as thread_local
from gc import get_referents

import msgpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

__all__ = [
    "ATOMS",
    "INLINE_BYTES",
    "MAX_DEPTH",
    "check_unique_keys",
    "is_plain",
    "pack",
    "pack_each",
    "pack_object",
    "sort_packed",
]

MAX_DEPTH = 100
"""Plain payloads nest no deeper: MessagePack's own limits are near."""
_KEPT_BYTES = 1 << 20
INLINE_BYTES = 64 * 1024
"""Bytes objects from this size on are kept out of band, as buffers."""

ATOMS = frozenset({type(None), bool, int, float, str, bytes})
"""Types that one MessagePack object carries exactly (short bytes, ints within 64 bits)."""
_CONTAINERS = frozenset({list, dict})
_FLAT = ATOMS - {bytes}
_PLAIN = ATOMS | _CONTAINERS
# So many items are looked at in one loop; more, in a pass in C first; many, in several passes in C.
_FEW, _MANY = 8, 64


class _Packers(thread_local):
    """Each thread's packers: a packer keeps its output buffer from call to call, so it cannot be shared."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Make new packers: a packer that packed something large would keep its memory for ever."""
        self.strict = msgpack.Packer(strict_types=True).pack
        # Lone surrogates are refused by strict UTF-8; only a text that has one pays for this second way.
        self.surrogates = msgpack.Packer(strict_types=True, unicode_errors="surrogatepass").pack


_packers = _Packers()


def pack_object(value: object) -> bytes:
    """Pack one object in C.

    Raises what msgpack raises: TypeError, OverflowError or ValueError for what it lacks.
    """
    packed: bytes
    try:
        packed = _packers.strict(value)
    except UnicodeEncodeError:
        packed = _packers.surrogates(value)
    if len(packed) > _KEPT_BYTES:
        _packers.renew()
    return packed


def pack_each(values: Sequence[object]) -> list[bytes]:
    """Pack each of several objects, as :func:`pack_object` does one."""
    try:
        packed = list(map(_packers.strict, values))
    except UnicodeEncodeError:
        packed = list(map(_packers.surrogates, values))
    if max(map(len, packed), default=0) > _KEPT_BYTES:
        _packers.renew()
    return packed


def sort_packed(values: Sequence[Any]) -> list[Any]:
    """The values in the order of what :func:`pack_object` gives for each."""
    if any(type(value) is str and len(value) > _KEPT_BYTES >> 2 for value in values):
        packed = pack_each(values)
        return [values[at] for at in sorted(range(len(values)), key=packed.__getitem__)]
    try:
        return sorted(values, key=_packers.strict)
    except UnicodeEncodeError:
        return sorted(values, key=_packers.surrogates)


def check_unique_keys(tree: bytes) -> None:
    """Raise ``ValueError`` for a map that has a key twice. Slow: one call for each map."""
    msgpack.unpackb(tree, strict_map_key=False, object_pairs_hook=_unique, unicode_errors="surrogatepass")


def _unique(pairs: list[tuple[object, object]]) -> dict[object, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key twice")
    return result


def is_plain(payload: object) -> bool:
    """Whether ``payload`` is plain; ints beyond 64 bits are left for the packer to find."""
    kind = type(payload)
    if kind not in _CONTAINERS:
        return kind in ATOMS and (kind is not bytes or len(payload) < INLINE_BYTES)  # type: ignore[arg-type]
    # The items of a list, or the values of a dict (and its keys, unless they are all text), in one call.
    items = get_referents(payload)
    if _FLAT.issuperset(map(type, items)):
        return True  # most often: a dict of scalars
    groups: Iterable[list[object]] = (items,)
    seen = {id(payload)}
    for _ in range(MAX_DEPTH):
        below: list[object] = []
        for items in groups:
            if len(items) > _FEW and _FLAT.issuperset(map(type, items)):
                continue
            if len(items) > _MANY:
                kinds = set(map(type, items))
                if not kinds <= _PLAIN or (bytes in kinds and _has_long(items)):
                    return False
                inner = [item for item in items if type(item) in _CONTAINERS]
                count = len(seen) + len(inner)
                seen.update(map(id, inner))
                if len(seen) != count:
                    return False  # a container referred to twice, or a cycle
                below += inner
                continue
            for item in items:
                kind = type(item)
                if kind in _FLAT:
                    continue
                if kind in _CONTAINERS:
                    place = id(item)
                    if place in seen:
                        return False
                    seen.add(place)
                    below.append(item)
                elif kind is not bytes or len(item) >= INLINE_BYTES:  # type: ignore[arg-type]
                    return False
        if not below:
            return True
        groups = map(get_referents, below) if len(below) <= _MANY else (get_referents(*below),)
    return False


def _has_long(values: Iterable[object]) -> bool:
    return any(type(value) is bytes and len(value) >= INLINE_BYTES for value in values)


def pack(payload: object) -> bytes | None:
    """Return the tree of a plain payload, or None when it is not plain."""
    # RuntimeError: another thread changes a container under our eyes; the rows take a copy of each first.
    try:
        return pack_object(payload) if is_plain(payload) else None
    except (TypeError, OverflowError, ValueError, RuntimeError):
        return None
