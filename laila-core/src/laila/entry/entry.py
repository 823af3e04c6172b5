"""Entry: any object, wrapped with an identity, a state and metadata.

A constant never changes. A variable has numbered evolutions: ``evolve`` replaces the payload and counts one
up, and every evolution has a global id, and so a place in a pool, of its own.
"""

from __future__ import annotations

from contextvars import ContextVar
from time import time

from laila.calling import helpful, no_attribute
from laila.entry.construction import (
    EntryState,
    check_constitution,
    check_evolution,
    check_state,
    checked_metadata,
    identity_of,
)
from laila.entry.content import check_by, content_of
from laila.errors import (
    IdentityConflictError,
    IdentityError,
    ImmutableEntryError,
    InvalidArgumentError,
)
from laila.identity import Identifiable, make_global_id, new_uuid, nickname_uuid, parse_global_id
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from typing import Any, ClassVar, Literal, NoReturn, Self, SupportsIndex

    from laila.blob.head import Meta
    from laila.entry.content import Content
    from laila.transform import Transformation, TransformationSequence

__all__ = ["Entry"]


_NOT_IN_DICT = frozenset(("_local_lock", "_payload", "_state"))
"""Private attributes that no dict of an entry has; the older package left them out by default."""
_ASK_DATA = "an entry is not its payload: ask for that by .data"


class Entry(Identifiable):
    """Any object with an identity. Build one with :meth:`constant` or :meth:`variable`.

    ``Entry(data=…)`` takes the same identity arguments by keyword; with ``evolution=`` it is a variable.
    Thread-safety: reading is safe; :meth:`evolve` and assigning :attr:`state` are for one thread at a time.
    """

    __slots__ = (
        "__weakref__",
        "_content",
        "_created",
        "_notes",
        "_payload",
        "_pool",
        "_state",
        "_stored",
        "_user_metadata",
    )

    _scope: ClassVar[str] = "ENTRY"
    _ask: ClassVar[str] = _ASK_DATA  # what an error says of attributes that are not there

    _payload: Any
    _state: EntryState
    _created: float
    _pool: str  # the uuid of the pool that was last given it, or that gave it; unset before
    # Of an entry that was remembered, until it changes: its blob's metadata, and what was undone of that.
    _stored: tuple[Meta | None, tuple[str, ...]] | None
    _user_metadata: dict[str, object] | None
    _notes: Mapping[str, bytes] | None  # header fields of its blob that say more, such as its provenance
    _content: Content | None  # what its id was made from, where that is the content

    def __init__(
        self,
        *,
        data: object = None,
        payload: object = None,
        uuid: str | None = None,
        evolution: int | None = None,
        scopes: Iterable[str] | None = None,
        nickname: str | None = None,
        global_id: str | None = None,
        state: EntryState | None = None,
        metadata: Mapping[str, object] | None = None,
        by: Literal["content"] | None = None,
    ) -> None:
        if data is not None and payload is not None:
            raise IdentityConflictError("data= and payload= are two names of one thing: give one of them")
        self._payload = payload if data is None else data
        self._content = None
        self._notes = None
        if by is not None and check_by(
            by, uuid=uuid, nickname=nickname, global_id=global_id, evolution=evolution
        ):
            self._content = content_of(self._payload)
            uuid = self._content.uuid
        found_scopes, found_uuid, found_evolution = identity_of(
            self._scope, uuid=uuid, nickname=nickname, global_id=global_id
        )
        if evolution is not None and found_evolution is not None and evolution != found_evolution:
            raise IdentityConflictError(f"evolution={evolution} and global_id={shown(global_id)} disagree")
        self._scopes = found_scopes if scopes is None else self._check_scopes(scopes, global_id)
        self._uuid = found_uuid
        self._evolution = found_evolution if evolution is None else check_evolution(evolution)
        self._nickname = nickname
        self._state = EntryState.READY if state is None else check_state(state)
        self._created = time()
        self._stored = None
        self._user_metadata = checked_metadata(metadata)

    @classmethod
    def _check_scopes(cls, scopes: Iterable[str], global_id: str | None) -> tuple[str, ...]:
        scope_names = tuple(scopes)
        parsed = parse_global_id(make_global_id(scope_names, new_uuid()))
        if parsed.scopes[-1] != cls._scope:
            raise IdentityError(
                f"scopes={list(scope_names)} end in {scope_names[-1]}, not in {cls._scope}", value=scope_names
            )
        if global_id is not None and parse_global_id(global_id).scopes != scope_names:
            raise IdentityConflictError(
                f"scopes={list(scope_names)} and global_id={shown(global_id)} disagree"
            )
        return scope_names

    if not TYPE_CHECKING:  # a type checker knows what there is

        def __getattr__(self, name):
            no_attribute(self, name, self._ask)

        def __getitem__(self, key):
            raise InvalidArgumentError(f"no item {shown(key)}: {_ASK_DATA}")

    # -- making one ------------------------------------------------------------------------------------------

    @classmethod
    def constant(
        cls,
        data: object,
        *,
        global_id: str | None = None,
        uuid: str | None = None,
        nickname: str | None = None,
        metadata: Mapping[str, object] | None = None,
        by: Literal["content"] | None = None,
    ) -> Self:
        """Make an entry that never changes.

        At most one of ``global_id``, ``uuid``, ``nickname`` and ``by`` says which entry it is. Without one
        the entry gets a random uuid. ``by="content"`` makes the uuid from the payload: equal payloads are the
        same entry on every machine, so that what is stored is not stored again. Reads all of the payload.

        Args:
            data: The payload.
            global_id: The whole id, without an evolution.
            uuid: The uuid in the id.
            nickname: A name that means the same id on every machine.
            metadata: What is stored beside the payload.
            by: ``"content"`` makes the id from the payload, within the active namespace.

        Returns:
            The entry, which is stored nowhere yet.

        Raises:
            IdentityConflictError: two names were given, or an id with an evolution (a ``RuntimeError``).
            IdentityError: a name is malformed (a ``ValueError``).
            PayloadError: ``by="content"``, and the payload is not data alone (a ``TypeError``).
        """
        self = cls.__new__(cls)
        self._content = None
        self._notes = None
        if by is not None and check_by(by, uuid=uuid, nickname=nickname, global_id=global_id):
            self._content = content_of(data)
            self._scopes = (cls._scope,)
            self._uuid = self._content.uuid
        elif global_id is None and uuid is None and nickname is None:
            self._scopes = (cls._scope,)
            self._uuid = new_uuid()
        else:
            self._scopes, self._uuid, evolution = identity_of(
                cls._scope, uuid=uuid, nickname=nickname, global_id=global_id
            )
            if evolution is not None:
                raise IdentityConflictError(
                    f"global_id={shown(global_id)} has an evolution, and a constant has none; use variable(…)"
                )
        self._evolution = None
        self._nickname = nickname
        self._payload = data
        self._state = EntryState.READY
        self._created = time()
        self._stored = None
        self._user_metadata = checked_metadata(metadata)
        return self

    @classmethod
    def variable(
        cls,
        data: object,
        *,
        uuid: str | None = None,
        evolution: int | None = None,
        state: EntryState | None = None,
        constitution: Callable[..., object] | None = None,
        global_id: str | None = None,
        nickname: str | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> Self:
        """Make an entry that evolves.

        Args:
            data: The payload.
            uuid: The uuid in the id.
            evolution: The number of the first evolution: 0, unless it is given here or in ``global_id``.
            state: READY unless given.
            constitution: Reserved.
            global_id: The whole id, with or without an evolution.
            nickname: A name that means the same id on every machine.
            metadata: What is stored beside the payload.

        Returns:
            The entry, which is stored nowhere yet.

        Raises:
            IdentityConflictError: two names were given (a ``RuntimeError``).
            IdentityError: a name is malformed (a ``ValueError``).
            NotImplementedError: a constitution was given; together with data, ``RuntimeError``.
        """
        check_constitution(constitution, data)
        self = cls(
            data=data,
            uuid=uuid,
            evolution=evolution,
            nickname=nickname,
            global_id=global_id,
            state=state,
            metadata=metadata,
        )
        if self._evolution is None:
            self._evolution = 0
        return self

    @classmethod
    def contingent(cls, **kwargs: Any) -> Self:
        """Make an entry of parts that are known to be right, without checking them; its state is STAGED.

        A simulation that makes its own ids is an example.

        Args:
            **kwargs: The keywords of ``Entry(…)``; others are ignored.

        Returns:
            The entry.
        """
        self = cls.__new__(cls)
        global_id = kwargs.get("global_id")
        scopes: Iterable[str] = (cls._scope,)
        uuid, evolution = kwargs.get("uuid"), kwargs.get("evolution")
        if global_id is not None:
            scopes, uuid, own_evolution = parse_global_id(global_id)
            evolution = own_evolution if evolution is None else evolution
        elif uuid is None:
            nickname = kwargs.get("nickname")
            uuid = new_uuid() if nickname is None else nickname_uuid(nickname)
        self._scopes = tuple(kwargs.get("scopes") or scopes)
        self._uuid = uuid
        self._evolution = evolution
        self._nickname = kwargs.get("nickname")
        self._payload = kwargs.get("data", kwargs.get("payload"))
        self._state = kwargs.get("state") or EntryState.STAGED
        self._created = time()
        self._stored = None
        self._content = None
        self._notes = None
        self._user_metadata = kwargs.get("metadata")
        return self

    # -- what it holds ---------------------------------------------------------------------------------------

    @property
    def nickname(self) -> str | None:
        """The name that the uuid was made from, or None; fixed from the beginning."""
        return self._nickname

    @nickname.setter
    def nickname(self, _nickname: str | None) -> NoReturn:
        raise InvalidArgumentError(
            "an entry keeps its nickname, because its id follows from it: make a new one, "
            "laila.constant(entry.data, nickname=…)"
        )

    @property
    def data(self) -> Any:
        """The payload."""
        return self._payload

    @data.setter
    def data(self, _payload: Any) -> NoReturn:
        if self._evolution is None:
            raise ImmutableEntryError(
                "a constant keeps its payload: make a new one, laila.constant(…), under a name of its own",
                key=self.global_id,
            )
        raise InvalidArgumentError("the payload of a variable changes by entry.evolve(data=…)")

    @property
    def state(self) -> EntryState:
        """Where the entry is in its life. Assigning what is no :class:`EntryState` is a ``TypeError``."""
        return self._state

    @state.setter
    def state(self, state: EntryState) -> None:
        self._state = check_state(state)

    @property
    def metadata(self) -> Mapping[str, object]:
        """The known facts about the entry, read-only.

        ``created`` (seconds since 1970), ``type`` and what the user passed as ``metadata``, under ``user``;
        an entry that was remembered also has ``size`` (bytes), ``codec`` and ``transformations``.
        """
        from types import MappingProxyType

        if self._stored is not None:
            from laila.entry.stored import metadata

            return metadata(self.global_id, *self._stored)
        from laila.codec.registry import type_name

        return MappingProxyType(
            {
                "created": self._created,
                "type": type_name(type(self._payload)),
                "user": MappingProxyType(self._user_metadata or {}),
            }
        )

    def user_metadata(self) -> Mapping[str, object] | None:
        """Return the metadata that the user gave, also after the entry was stored and remembered.

        Returns:
            The metadata, or None.
        """
        if self._user_metadata is None and self._stored is not None:
            user = self.metadata["user"]
            self._user_metadata = dict(user) if isinstance(user, dict) else {}
        return self._user_metadata or None

    @property
    def provenance(self) -> Mapping[str, object] | None:
        """Where the entry came from, as ``memorize(…, provenance=…)`` was told; None where nobody said it.

        Read-only. The writer of the blob set it; nobody has checked it.
        """
        from laila.entry.provenance import NOTE, read_provenance

        note = self._notes.get(NOTE) if self._notes else None
        return None if note is None else read_provenance(note, self.global_id)

    @helpful
    def evolve(
        self,
        precedence: list[str] | None = None,
        constitution: Callable[..., object] | None = None,
        data: object = None,
    ) -> Self:
        """Replace the payload and count the evolution up by one.

        Args:
            precedence: Reserved.
            constitution: Reserved.
            data: The new payload.

        Returns:
            The entry itself.

        Raises:
            ImmutableEntryError: the entry is a constant (a ``RuntimeError``).
            InvalidArgumentError: the payload was given without its keyword ``data`` (a ``TypeError``).
        """
        if precedence is not None and data is None:
            raise InvalidArgumentError("evolve() takes the new payload by keyword: entry.evolve(data=…)")
        if self._evolution is None:
            raise ImmutableEntryError(
                f"{self.global_id} is a constant and cannot evolve; make a variable(…) of it",
                key=self.global_id,
            )
        check_constitution(constitution, data)
        self.user_metadata()  # kept from evolution to evolution
        self._payload = data
        self._evolution += 1
        self._state = EntryState.READY
        self._stored = None
        self._notes = None
        self._created = time()
        return self

    def _to_store(self) -> object:
        """Return what is stored as the payload."""
        return self._payload

    # -- as a plain dict -------------------------------------------------------------------------------------

    def serialize(
        self,
        transformations: TransformationSequence | Iterable[str | Transformation] | None = None,
        *,
        exclude_private: Collection[str] | None = _NOT_IN_DICT,
    ) -> dict[str, Any]:
        """Return the entry as a plain dict, which :meth:`recover` takes; JSON-safe with ``["base64"]``.

        Args:
            transformations: What is done to the payload, in this order.
            exclude_private: Names of keys to leave out, with or without a leading underscore. Names that the
                dict lacks are ignored, for example ``_payload``, ``_state`` and ``_local_lock``.

        Returns:
            The dict.
        """
        from laila.entry.stored import serialize

        names = (exclude_private,) if isinstance(exclude_private, str) else exclude_private or ()
        exclude = [name if name in _NOT_IN_DICT else name.removeprefix("_") for name in names]
        return serialize(self, transformations, exclude)

    @classmethod
    def recover(cls, in_dict: Mapping[str, Any] | str | Entry, notify_on_creation: bool = False) -> Self:
        """Rebuild an entry from its dict, or from the JSON text of that dict.

        Args:
            in_dict: The dict or the text. An Entry is returned as it is.
            notify_on_creation: Tell the observers of the active policy.

        Returns:
            The entry.

        Raises:
            ValueError: the JSON is not valid, or the dict is damaged.
            RuntimeError: ``in_dict`` has another type.
        """
        from laila.entry.stored import recover

        entry = recover(cls, in_dict)
        if notify_on_creation:
            entry.notify_policy()
        return entry

    def notify_policy(self) -> None:
        """Tell the active policy's observers (hook ``laila_entry_created``) of this entry. Writes nothing."""
        from laila.active import get_active_policy

        get_active_policy().notify_entry(self)

    def stored_in(self) -> str | None:
        """Say where the entry is stored. A change of the payload in place is not noticed.

        Returns:
            The uuid of the pool; None if the entry was not stored, or has evolved since.
        """
        if self._state is EntryState.POOLED or self._stored is not None:
            return getattr(self, "_pool", None)
        return None

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        stand_in = _stand_in.get()
        return (stand_in and stand_in(self)) or super().__reduce_ex__(protocol)

    def __repr__(self) -> str:
        name = f" {self._nickname!r}" if self._nickname else ""
        kind = type(self._payload).__name__
        return f"<{type(self).__name__} {self.global_id}{name} {self._state.name}: {kind}>"

    def _repr_html_(self) -> str:
        """Show in a notebook what the entry is, but not the payload."""
        from laila.notebook import fields_html

        fields = {"id": self.global_id, "state": self._state.name, "type": type(self._payload).__name__}
        if type(self._payload).__module__.partition(".")[0] in {
            "numpy",
            "torch",
        }:  # asking runs no other code
            for name in ("dtype", "shape", "nbytes"):
                if hasattr(self._payload, name):
                    fields[name] = str(getattr(self._payload, name))
        return fields_html(self._nickname or type(self).__name__, fields.items())


# While a task is packed: gives what is pickled in place of an entry, or None for the entry itself.
_stand_in: ContextVar[Callable[[Entry], tuple[Any, ...] | None] | None]
_stand_in = ContextVar("laila_entry_stand_in", default=None)
