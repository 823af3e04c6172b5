"""What a caller named: entries, ids and nicknames, turned into the keys that pools know."""

from __future__ import annotations

from laila.entry import Entry
from laila.errors import IdentityError, InvalidArgumentError
from laila.identity import last_scope, make_global_id, nickname_uuid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["as_key", "as_keys", "candidates", "check_no_scope", "is_one", "may_evolve"]

_SCOPES = ("ENTRY", "MANIFEST")


def is_one(named: object) -> bool:
    """Whether ``named`` is one item: an Entry (or Manifest) or a text. Every other iterable is many."""
    return isinstance(named, (Entry, str))


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
    if scope not in _SCOPES:
        raise IdentityError(
            f"{named!r} is the id of a {scope}; pools hold entries and manifests", value=named
        )
    return named


def as_keys(named: object) -> list[str]:
    """Return the keys of an iterable of Entries and global ids. Raises as :func:`as_key` does."""
    if isinstance(named, (bytes, bytearray, dict)) or not hasattr(named, "__iter__"):
        raise InvalidArgumentError(
            f"give a global id, an Entry, or an iterable of them, not a {type(named).__name__}; "
            "to look up by name use nickname="
        )
    return [as_key(one) for one in named]


def may_evolve(key: str) -> bool:
    """Whether a valid id is an entry's without evolution: a constant, or all evolutions of a variable."""
    # Such an id ends in a colon and the 36 characters of a uuid, and a manifest never evolves.
    return key[-37] == ":" and ":MANIFEST:" not in key


def check_no_scope(scope: str | None) -> None:
    """Refuse a scope where ids were given."""
    if scope is not None:
        raise InvalidArgumentError("scope= goes with nickname=; an id says its scope itself")


def candidates(nicknames: Iterable[str], scope: str | None) -> list[list[str]]:
    """Return for each nickname the keys it may mean: its ENTRY, then its MANIFEST, or the one ``scope`` says.

    Raises ``ValueError`` for what is no nickname, and for a scope that is neither of these.
    """
    if scope is not None and scope not in _SCOPES:
        raise IdentityError(f"scope={scope!r}: a nickname names an 'ENTRY' or a 'MANIFEST'", value=scope)
    scopes = _SCOPES if scope is None else (scope,)
    return [[make_global_id((s,), nickname_uuid(name)) for s in scopes] for name in nicknames]
