"""What a caller named: entries, ids and nicknames, turned into the keys that pools know."""

from __future__ import annotations

from laila.entry import Entry
from laila.entry.construction import check_evolution
from laila.errors import IdentityConflictError, IdentityError, InvalidArgumentError, SettingsError
from laila.futures.base import FutureBase
from laila.identity import are_constants, last_scope, make_global_id, nickname_uuid, parse_global_id
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

__all__ = [
    "READ_SIZE",
    "as_entries",
    "as_key",
    "as_keys",
    "at_evolution",
    "candidates",
    "check_batch_size",
    "check_nickname",
    "check_no_scope",
    "wanted",
]

READ_SIZE = 128
"""How many leaves of a manifest are read at a time: each is in memory twice while it is decoded."""
_SCOPES = ("ENTRY", "MANIFEST")
_STORED_SCOPES = (*_SCOPES, "PACK")


def as_key(named: object) -> str:
    """Return the key of an Entry or a global id, checked.

    Raises ``TypeError`` for anything else, :class:`IdentityError` (a ``ValueError``) for a malformed id or
    the id of something that is not stored in pools.
    """
    if isinstance(named, Entry):
        return named.global_id
    if not isinstance(named, str):
        raise InvalidArgumentError(
            f"an entry is named by its global id or the Entry itself, not by a {type(named).__name__}"
        )
    scope = last_scope(named)
    if scope not in _STORED_SCOPES:
        raise IdentityError(
            f"{shown(named)} is the id of a {scope}; pools hold entries and manifests", value=named
        )
    return named


def check_nickname(key: str, nickname: str | None, namespace: UUID | None = None) -> None:
    """Raise :class:`IdentityError` where ``key`` is not what ``nickname`` gives in that namespace."""
    if nickname is not None and parse_global_id(key).uuid != nickname_uuid(nickname, namespace):
        raise IdentityError(
            f"{key} bears the nickname {shown(nickname)}, whose id in this namespace is another",
            value=nickname,
        )


def as_keys(named: object) -> list[str]:
    """Return the keys of an iterable of Entries and global ids. Raises as :func:`as_key` does."""
    _refuse_future(named)
    if isinstance(named, (bytes, bytearray, dict)) or not hasattr(named, "__iter__"):
        raise InvalidArgumentError(
            f"give a global id, an Entry, or an iterable of them, not a {type(named).__name__}; "
            "to look up by name use nickname="
        )
    items = list(named)
    if set(map(type, items)) == {str} and are_constants(items):
        return items
    return [as_key(item) for item in items]


def _refuse_future(item: object) -> None:
    """Raise for a future where what it gives is meant."""
    if isinstance(item, FutureBase):
        raise InvalidArgumentError(f"a {type(item).__name__} is not yet what it gives: give its .result")


def check_no_scope(scope: str | None) -> None:
    """Refuse a scope where ids were given."""
    if scope is not None:
        raise InvalidArgumentError("scope= goes with nickname=; an id says its scope itself")


def candidates(nicknames: Iterable[str], scope: str | None, namespace: UUID | None = None) -> list[list[str]]:
    """Return for each nickname the keys it may mean: its ENTRY, then its MANIFEST, or the one ``scope`` says.

    Raises ``ValueError`` for what is no nickname, and for a scope that is neither of these.
    """
    if scope is not None and scope not in _SCOPES:
        raise IdentityError(f"scope={shown(scope)}: a nickname names an 'ENTRY' or a 'MANIFEST'", value=scope)
    scopes = _SCOPES if scope is None else (scope,)
    return [[make_global_id((s,), nickname_uuid(name, namespace)) for s in scopes] for name in nicknames]


def at_evolution(
    keys: list[str], names: list[str] | None, scope: str | None, evolution: int | None
) -> tuple[list[str], list[str] | None, str | None]:
    """Return keys, nicknames and scope of a look-up; with ``evolution`` these are the keys of that evolution.

    Raises ``ValueError`` for what is no evolution or has none, and :class:`IdentityConflictError` for an id
    with another evolution.
    """
    if check_evolution(evolution) is None:
        return keys, names, scope
    if names is not None:
        if scope == "MANIFEST":
            raise IdentityError(
                "a manifest has no evolutions: leave evolution= or scope= out", value=evolution
            )
        keys, scope = [key for (key,) in candidates(names, scope or "ENTRY")], None
    return [_evolved(key, evolution) for key in keys], None, scope


def _evolved(key: str, evolution: int | None) -> str:
    scopes, uuid, own_evolution = parse_global_id(key)
    if scopes[-1] == "MANIFEST":
        raise IdentityError(f"{key} is a manifest, which has no evolutions: leave evolution= out", value=key)
    if own_evolution is not None and own_evolution != evolution:
        raise IdentityConflictError(f"evolution={evolution} and the id {key} disagree: give one of them")
    return make_global_id(scopes, uuid, evolution)


def as_entries(entries: object) -> list[Entry]:
    """Return the entries of an iterable, or raise ``TypeError`` where one is none."""
    _refuse_future(entries)
    if isinstance(entries, (str, bytes, bytearray, dict)) or not hasattr(entries, "__iter__"):
        raise InvalidArgumentError(
            f"memorize() takes entries; wrap the {type(entries).__name__} first: laila.constant(…)"
        )
    items = list(entries)
    for i, entry in enumerate(items):
        if not isinstance(entry, Entry):
            _refuse_future(entry)
            raise InvalidArgumentError(
                f"memorize() takes entries, and item {i} is a {type(entry).__name__}; "
                "wrap it first: laila.constant(…)"
            )
    return items


def wanted(verb: str, entry_ids: object, nickname: object) -> tuple[bool, list[str], list[str] | None]:
    """Return whether one item was asked for, and the keys, or the nicknames."""
    if nickname is None:
        if entry_ids is None:
            raise InvalidArgumentError(f"say what to {verb}: an id, an Entry, a list of them, or nickname=")
        if isinstance(entry_ids, (Entry, str)):
            return True, [as_key(entry_ids)], None
        return False, as_keys(entry_ids), None
    if entry_ids is not None:
        raise SettingsError("give ids or nickname=, not both", option="nickname")
    if isinstance(nickname, str):
        return True, [], [nickname]
    if isinstance(nickname, (bytes, dict)) or not hasattr(nickname, "__iter__"):
        raise InvalidArgumentError(
            f"nickname= takes a text or a list of them, not a {type(nickname).__name__}"
        )
    return False, [], list(nickname)


def check_batch_size(size: int | None, otherwise: int) -> int:
    """Return ``size``, ``otherwise`` for None; raise ``ValueError`` where it is no whole number above 0."""
    if size is None:
        return otherwise
    if type(size) is not int or size < 1:
        raise SettingsError(
            f"batch_size={shown(size)}: give a whole number of 1 or more", option="batch_size"
        )
    return size
