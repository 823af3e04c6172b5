"""Identity: global ids, uuids, nicknames and the namespace that turns a nickname into a uuid.

A global id is ``LAILA:<SCOPE>[:<SCOPE>…]:GLOBAL_ID:<uuid>[-<evolution>]``; it is also the key under which a
pool files what bears it. Parsing is strict, so that an id has one spelling.
"""

from __future__ import annotations

import re
from os import urandom
from typing import NamedTuple

from laila.errors import IdentityConflictError, IdentityError
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

__all__ = [
    "LAILA_UNIVERSAL_NAMESPACE_TEXT",
    "GlobalId",
    "Identifiable",
    "are_constants",
    "check_uuid",
    "content_uuid",
    "get_active_namespace",
    "last_scope",
    "make_global_id",
    "new_uuid",
    "nickname_uuid",
    "parse_global_id",
    "parse_valid",
    "resolve_uuid",
    "set_active_namespace",
    "stem",
    "universal_namespace",
]

LAILA_UNIVERSAL_NAMESPACE_TEXT = "6c8dcd4c-d490-58bc-81a7-6afbe8d17594"
"""``uuid5(NAMESPACE_DNS, "laila")`` as text."""

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_is_uuid = re.compile(_UUID, re.ASCII).fullmatch
_match = re.compile(
    rf"LAILA:((?:[A-Z][A-Z0-9_]{{0,63}}:){{1,4}})GLOBAL_ID:({_UUID})(?:-(0|[1-9][0-9]{{0,17}}))?", re.ASCII
).fullmatch

# The ids of laila-core 1.x. A nickname has the same uuid there.
_is_former = re.compile(
    rf"LAILA:(?:[A-Z_]{{1,64}}:){{1,4}}{_UUID}(?:@evolution=\d{{1,18}})?", re.ASCII
).fullmatch
_FORMER_IDS = "laila-core 1.x wrote ids in that form; "

_VARIANT = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))  # two bits are fixed, two are random
_CONSTANT = "LAILA:ENTRY:GLOBAL_ID:"
_BEFORE_UUID = len(_CONSTANT)
_CONSTANT_LENGTH = _BEFORE_UUID + 36
# The form of a constant's id, with an h for each hexadecimal digit.
_SHAPE = f"{_CONSTANT}hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh".encode()
_DIGITS = bytes.maketrans(b"0123456789abcdefh", b"h" * 16 + b"x")
_TOGETHER = 1024  # ids
_ENTRY_SCOPES = ("ENTRY",)

_namespace: UUID | None = None


class GlobalId(NamedTuple):
    """A global id taken apart."""

    scopes: tuple[str, ...]
    uuid: str
    evolution: int | None


def new_uuid() -> str:
    """Return a random (version 4, RFC 9562) uuid as text.

    Written out here because ``uuid.uuid4`` costs four times as much and importing :mod:`uuid` more than the
    rest of this module.
    """
    h = urandom(16).hex()
    return f"{h[:8]}-{h[8:12]}-4{h[13:16]}-{_VARIANT[h[16]]}{h[17:20]}-{h[20:]}"


def content_uuid(content_hash: bytes) -> str:
    """Return the uuid (version 8, RFC 9562) made of the first bits of a hash."""
    h = content_hash[:16].hex()
    return f"{h[:8]}-{h[8:12]}-8{h[13:16]}-{_VARIANT[h[16]]}{h[17:20]}-{h[20:]}"


def check_uuid(value: str) -> str:
    """Return ``value`` in its one spelling (lower case, with hyphens), or raise :class:`IdentityError`."""
    if isinstance(value, str):
        text = value.lower()
        if _is_uuid(text):
            return text
    raise IdentityError(
        f"{shown(value)} is no uuid: expected 32 hexadecimal digits as 8-4-4-4-12, "
        "such as '3c78a603-2d6f-58e2-a9f1-3c235d037ee7'",
        value=value,
    )


def make_global_id(scopes: Iterable[str], uuid: str, evolution: int | None = None) -> str:
    """Join the parts of a global id. The parts are taken as they are."""
    text = f"LAILA:{':'.join(scopes)}:GLOBAL_ID:{uuid}"
    return text if evolution is None else f"{text}-{evolution}"


def parse_global_id(text: str) -> GlobalId:
    """Take a global id apart. Raises :class:`IdentityError` (a ``ValueError``) that quotes it."""
    match = _match(text) if isinstance(text, str) else None
    if match is None:
        former = _FORMER_IDS if isinstance(text, str) and _is_former(text) else ""
        raise IdentityError(
            f"{shown(text)} is no global id: {former}expected 'LAILA:<SCOPE>:GLOBAL_ID:<uuid>' with an "
            "optional '-<evolution>', such as an entry's global_id; "
            "to look an entry up by its name use nickname=",
            value=text,
        )
    scopes, uuid, evolution = match.groups()
    return GlobalId(tuple(scopes[:-1].split(":")), uuid, None if evolution is None else int(evolution))


def are_constants(ids: Sequence[str]) -> bool:
    """Whether each of ``ids`` is the global id of a constant; many are looked at together, in C."""
    for start in range(0, len(ids), _TOGETHER):
        batch = ids[start : start + _TOGETHER]
        # No shape has a newline in it: there are as many as ids only where each line is one of them.
        text = "\n".join(batch)
        if not text.isascii() or text.encode().translate(_DIGITS) != b"\n".join([_SHAPE] * len(batch)):
            return False
    return True


def last_scope(text: str) -> str:
    """Return the last scope of a global id: what bears it. Raises as :func:`parse_global_id`."""
    if text.isascii() and text.encode().translate(_DIGITS) == _SHAPE:
        return "ENTRY"
    match = _match(text)
    if match is None:
        parse_global_id(text)  # raises, naming what is wrong
        raise AssertionError("unreachable")
    scopes: str = match[1]
    return scopes[scopes.rfind(":", 0, -1) + 1 : -1]


def parse_valid(key: str) -> tuple[tuple[str, ...], str, int | None]:
    """Take apart a global id that was checked before; quick for that of a constant."""
    if len(key) == _CONSTANT_LENGTH and key[:_BEFORE_UUID] == _CONSTANT:
        return _ENTRY_SCOPES, key[_BEFORE_UUID:], None
    return parse_global_id(key)


def stem(global_id: str) -> str:
    """Return ``global_id`` without its evolution: what all evolutions of an entry share."""
    match = _match(global_id)
    if match is None:
        parse_global_id(global_id)  # raises, naming what is wrong
        raise AssertionError("unreachable")
    return global_id if match[3] is None else global_id[: match.start(3) - 1]


def universal_namespace() -> UUID:
    """The namespace that is active until another is set."""
    from uuid import UUID

    return UUID(LAILA_UNIVERSAL_NAMESPACE_TEXT)


def get_active_namespace() -> UUID:
    """Return the namespace under which nicknames become uuids.

    Returns:
        The namespace.
    """
    global _namespace
    if _namespace is None:
        _namespace = universal_namespace()
    return _namespace


def set_active_namespace(namespace_key: str) -> None:
    """Make ``uuid5(NAMESPACE_DNS, namespace_key)`` the active namespace of this process.

    Raises :class:`IdentityError` when the key is no text or empty. Not retroactive: ids already made keep
    theirs.

    Args:
        namespace_key: Any text.

    Raises:
        IdentityError: the key is not text, or empty.
    """
    global _namespace
    if not isinstance(namespace_key, str) or not namespace_key:
        raise IdentityError(
            f"a namespace key is a non-empty text such as 'example.org', not {shown(namespace_key)}",
            value=namespace_key,
        )
    from uuid import NAMESPACE_DNS, uuid5

    _namespace = uuid5(NAMESPACE_DNS, namespace_key)


def nickname_uuid(nickname: str, namespace: UUID | None = None) -> str:
    """Return ``uuid5(namespace, nickname)``, in the active one by default: the same everywhere, for ever."""
    if not isinstance(nickname, str) or not nickname:
        raise IdentityError(f"a nickname is a non-empty text, not {shown(nickname)}", value=nickname)
    from uuid import uuid5

    try:
        return str(uuid5(get_active_namespace() if namespace is None else namespace, nickname))
    except UnicodeEncodeError as error:
        raise IdentityError(f"the nickname {shown(nickname)} is not valid Unicode", value=nickname) from error


def resolve_uuid(uuid: str | None, nickname: str | None) -> str:
    """Return the uuid that ``uuid`` or ``nickname`` gives, or a random one. Giving both is a conflict."""
    if nickname is not None:
        if uuid is not None:
            raise IdentityConflictError(
                f"uuid={shown(uuid)} and nickname={shown(nickname)} exclude each other: a nickname has "
                "its own uuid"
            )
        return nickname_uuid(nickname)
    return new_uuid() if uuid is None else check_uuid(uuid)


class Identifiable:
    """Something with a global id.

    Equality compares global ids; the hash uses scopes and uuid only, so that it never changes while the
    object evolves; ``str()`` is the global id.
    """

    __slots__ = ("_evolution", "_nickname", "_scopes", "_uuid")

    _scopes: tuple[str, ...]
    _uuid: str
    _evolution: int | None
    _nickname: str | None

    @property
    def global_id(self) -> str:
        """The global id: scopes, uuid and evolution in one text."""
        return make_global_id(self._scopes, self._uuid, self._evolution)

    @property
    def uuid(self) -> str:
        """The uuid as text."""
        return self._uuid

    @property
    def scopes(self) -> list[str]:
        """The scopes, outermost first, such as ``["ENTRY"]``."""
        return list(self._scopes)

    @property
    def evolution(self) -> int | None:
        """The number of this evolution, or None for what does not evolve."""
        return self._evolution

    @property
    def nickname(self) -> str | None:
        """The name that the uuid was made from, or None."""
        return self._nickname

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if isinstance(other, Identifiable):
            return (
                self._uuid == other._uuid
                and self._evolution == other._evolution
                and self._scopes == other._scopes
            )
        return NotImplemented

    def __hash__(self) -> int:
        return hash((self._scopes, self._uuid))

    def __str__(self) -> str:
        return self.global_id
