"""What an entry is made of, checked: its identity, evolution, state and metadata."""

from __future__ import annotations

from enum import Enum

from laila.errors import (
    IdentityConflictError,
    IdentityError,
    InvalidArgumentError,
    NotSupportedError,
)
from laila.identity import check_uuid, new_uuid, nickname_uuid, parse_global_id
from laila.showing import shown

__all__ = [
    "EntryState",
    "check_constitution",
    "check_evolution",
    "check_state",
    "checked_metadata",
    "identity_of",
]


class EntryState(Enum):
    """Where an entry is in its life."""

    STAGED = "staged"
    """Built without checks (:meth:`Entry.contingent`)."""
    READY = "ready"
    """Created, evolved or recovered, and not on its way to a pool."""
    POOLING = "pooling"
    """On its way to a pool."""
    POOLED = "pooled"
    """Stored as it is."""
    STALE = "stale"
    """Marked as out of date by its user."""


def identity_of(
    scope: str, *, uuid: str | None, nickname: str | None, global_id: str | None
) -> tuple[tuple[str, ...], str, int | None]:
    """Resolve identity arguments, at most one of them, to scopes, uuid and evolution."""
    arguments = [
        f"{name}={shown(value)}"
        for name, value in (("uuid", uuid), ("nickname", nickname), ("global_id", global_id))
        if value is not None
    ]
    if len(arguments) > 1:
        raise IdentityConflictError(f"{' and '.join(arguments)} exclude each other: give one of them")
    if nickname is not None:
        return (scope,), nickname_uuid(nickname), None
    if uuid is not None:
        return (scope,), check_uuid(uuid), None
    if global_id is not None:
        parsed = parse_global_id(global_id)
        if parsed.scopes[-1] != scope:
            raise IdentityError(
                f"{shown(global_id)} is the id of a {parsed.scopes[-1]}, not of a {scope}", value=global_id
            )
        return parsed
    return (scope,), new_uuid(), None


def check_evolution(evolution: int | None) -> int | None:
    """Return ``evolution`` where it is None or a whole number from 0 to 10**18 - 1; else raise."""
    if evolution is None or (type(evolution) is int and 0 <= evolution < 10**18):
        return evolution
    raise IdentityError(
        f"an evolution is a whole number from 0 to 10**18 - 1, not {shown(evolution)}", value=evolution
    )


def checked_metadata(metadata: object) -> dict[str, object] | None:
    """Return the metadata that a user gave as a dict of its own. Raises where it is no mapping."""
    if metadata is None:
        return None
    if not hasattr(metadata, "keys"):
        raise InvalidArgumentError(
            f"metadata= is a dict from names to plain values, not a {type(metadata).__name__}"
        )
    fields: dict[str, object] = dict(metadata)  # type: ignore[call-overload]  # as good as a mapping
    return fields


def check_state(state: object) -> EntryState:
    """Return ``state`` where it is a state. Raises ``TypeError`` otherwise."""
    if not isinstance(state, EntryState):
        raise InvalidArgumentError(f"a state is an EntryState such as EntryState.READY, not {shown(state)}")
    return state


def check_constitution(constitution: object, data: object) -> None:
    """Raise where a constitution is given, which is reserved."""
    if constitution is None:
        return
    if data is not None:
        raise IdentityConflictError(
            "constitution= and data= exclude each other: a constitution computes the data"
        )
    raise NotSupportedError("constitutions are not supported yet: compute the payload and pass it as data=")
