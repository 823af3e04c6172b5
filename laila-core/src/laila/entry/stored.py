"""Entries in their stored forms: as a blob for pools and peers, as a plain dict for people and JSON."""

from __future__ import annotations

from types import MappingProxyType

from laila.blob.blob import MAGIC, Blob, metadata_of
from laila.blob.buffer import Buffer
from laila.codec import decode, encode
from laila.entry.construction import EntryState
from laila.entry.content import Content, check_unchanged, digest_now
from laila.entry.entry import Entry
from laila.entry.leaves import leaf_of
from laila.entry.manifest import Manifest
from laila.errors import CorruptEntryError, EntryDictError, EntryTypeError, InvalidArgumentError
from laila.identity import parse_global_id, parse_valid
from laila.showing import said, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from typing import Any, TypeVar

    from laila.blob.head import Meta
    from laila.transform import Transformation, TransformationSequence

    E = TypeVar("E", bound=Entry)

__all__ = ["as_blob", "from_blob", "metadata", "recover", "serialize", "to_blob"]

_FORMAT = 1


def to_blob(entry: Entry, *, pickle: bool = True, copy: bool = True, verify: bool = False) -> Blob:
    """Take a snapshot of an entry as a plain blob.

    Args:
        entry: The entry.
        pickle: Sign and pickle what cannot be stored as data; otherwise that is an error.
        copy: Copy the memory of arrays; otherwise they must not change until the blob is used up.
        verify: Read the snapshot again and compare it with the payload.

    Returns:
        The blob.

    Raises:
        PayloadError: a part of the payload cannot be stored; the message names its place.
        ImmutableEntryError: the id was made from the payload, which has changed since.
    """
    content = entry._content
    blob = encode(
        entry._to_store(),
        key=entry.global_id,
        nickname=entry._nickname,
        user_metadata=entry._user_metadata if entry._stored is None else entry.user_metadata(),
        pickle=pickle and content is None,
        copy=copy,
        created=entry._created,
        verify=verify,
        notes=entry._notes,
    )
    if content is not None:
        # A stored manifest may say more than its tree.
        digest = digest_now(entry.blueprint) if isinstance(entry, Manifest) else blob.digest
        check_unchanged(content, digest, blob.key)
    return blob


def from_blob(blob: Blob, *, copy: bool = True, consume: bool = False) -> Entry:
    """Rebuild an entry from a plain blob.

    Args:
        blob: The blob.
        copy: Give arrays memory of their own; otherwise they are read-only views of the blob.
        consume: Let arrays keep the memory of the blob, which nobody else uses from then on.

    Returns:
        The entry; a manifest if the id is that of a manifest.

    Raises:
        CorruptEntryError: the blob is damaged.
        UntrustedPayloadError: the payload is signed, and the signature does not verify here.
    """
    scopes, uuid, evolution = parse_valid(blob.key)
    payload = decode(blob, copy=copy, consume=consume)
    if scopes[-1] == "MANIFEST":
        try:
            entry: Entry = Manifest._recovered(payload)
        except ValueError as error:
            raise CorruptEntryError(f"{blob.key} holds no manifest: {said(error)}", key=blob.key) from error
    else:
        entry = Entry.__new__(Entry)
        entry._payload = payload
    entry._scopes = scopes
    entry._uuid = uuid
    entry._evolution = evolution
    entry._nickname = blob.nickname
    entry._state = EntryState.READY
    meta = blob._meta
    entry._stored = meta, blob.undone
    entry._content = None
    if uuid[14] == "8" and evolution is None and scopes[-1] != "MANIFEST" and blob.signature is None:
        entry._content = Content(uuid, blob.digest, blob.content_nbytes, leaf_of(blob))
    entry._user_metadata = None
    entry._notes = blob.notes or None
    entry._created = 0.0 if meta is None else meta[0]
    return entry


def metadata(key: str, meta: Meta | None, undone: tuple[str, ...]) -> Mapping[str, object]:
    """The metadata of an entry that was remembered: what its blob said, and what was ``undone`` of it."""
    return MappingProxyType({"user": {}, **metadata_of(meta, key), "transformations": undone})


def as_blob(key: str, value: bytes | bytearray | memoryview | str | Blob | Entry | Mapping[str, Any]) -> Blob:
    """Make the plain blob that ``pool[key] = value`` means.

    Args:
        key: The key on the left side.
        value: An Entry, a serialized entry, a Blob or a blob's bytes, all with an id of their own. Other
            bytes and text become the payload of a blob under ``key``.

    Returns:
        The blob.

    Raises:
        InvalidArgumentError: the value has another type, or another id than ``key`` (a ``TypeError``).
    """
    if isinstance(value, Blob):
        return value
    if isinstance(value, Entry):
        return to_blob(value)
    if isinstance(value, dict):
        return to_blob(recover(Entry, value))
    if isinstance(value, (bytes, bytearray, memoryview)):
        if bytes(value[: len(MAGIC)]) == MAGIC:
            return Blob.from_bytes(bytes(value), key=key)
        return encode(bytes(value), key=key)
    if isinstance(value, str):
        return encode(value, key=key)
    raise InvalidArgumentError(
        f"pool[…] = takes an Entry, its serialized dict, a Blob, bytes or text, not a "
        f"{type(value).__name__}; wrap the object first: laila.constant(…)"
    )


def serialize(
    entry: Entry,
    transformations: TransformationSequence | Iterable[str | Transformation] | None,
    exclude: Collection[str],
) -> dict[str, Any]:
    """Return ``entry`` as a plain dict; see :meth:`laila.Entry.serialize`."""
    from laila.transform import TransformationSequence

    blob = to_blob(entry)
    if transformations:
        sequence = (
            transformations
            if isinstance(transformations, TransformationSequence)
            else TransformationSequence(transformations)
        )
        blob = sequence.apply(blob)
    steps = [[name, dict(params)] for name, params in blob.transformations]
    payload: bytes | str = bytes(blob) if not steps else bytes(blob.buffers[0].data)
    if steps and steps[-1][0] == "base64" and isinstance(payload, bytes):
        payload = payload.decode("ascii")
    whole = {
        "format": _FORMAT,
        "global_id": entry.global_id,
        "scopes": entry.scopes,
        "uuid": entry.uuid,
        "evolution": entry.evolution,
        "nickname": entry.nickname,
        "transformations": steps,
        "digest": blob.digest.hex(),
        "payload": payload,
    }
    return {name: value for name, value in whole.items() if name not in exclude}


def recover(kind: type[E], source: Mapping[str, Any] | str | Entry) -> E:
    """Rebuild an entry from what :func:`serialize` gave, or its JSON text; see :meth:`Entry.recover`."""
    if isinstance(source, str):
        from json import JSONDecodeError, loads

        try:
            source = loads(source)
        except (JSONDecodeError, RecursionError) as error:
            raise EntryDictError(f"this is no JSON text of a serialized entry: {error}") from error
        if not isinstance(source, dict):
            raise EntryDictError("this JSON text is no serialized entry: it holds no object")
    entry = source if isinstance(source, Entry) else _from_dict(source)
    if not isinstance(entry, kind):
        raise EntryDictError(
            f"{entry.global_id} is not a {kind.__name__}; recover it with laila.Entry.recover"
        )
    return entry


def _from_dict(fields: object) -> Entry:
    if not isinstance(fields, dict):
        raise EntryTypeError(
            "recover() takes a serialized entry (a dict or its JSON text) or an Entry, "
            f"not a {type(fields).__name__}"
        )
    absent = [name for name in ("global_id", "payload") if name not in fields]
    if absent:
        raise EntryDictError(f"this dict is no serialized entry: {' and '.join(absent)} missing")
    if fields.get("format", _FORMAT) != _FORMAT:
        raise EntryDictError(
            f"serialized by a newer laila (format {shown(fields['format'])}): this one reads {_FORMAT}"
        )
    key, payload = fields["global_id"], fields["payload"]
    parse_global_id(key)
    if isinstance(payload, str):
        payload = payload.encode("utf-8", "surrogatepass")
    if not isinstance(payload, (bytes, bytearray, memoryview)):
        raise EntryDictError(f"the payload of {key} is a {type(payload).__name__}, not bytes or base64 text")
    steps = fields.get("transformations") or []
    if steps:
        from laila.transform import TransformationSequence

        try:
            done = tuple((str(name), dict(params)) for name, params in steps)
            digest = bytes.fromhex(fields["digest"])
        except (KeyError, TypeError, ValueError) as error:
            raise EntryDictError(
                f"the transformations of {key} are no list of [name, parameters], or its digest is missing"
            ) from error
        buffer = Buffer(memoryview(bytes(payload)))
        outer = Blob(key, b"", (buffer,), transformations=done, digest=digest)
        blob = TransformationSequence(()).invert(outer)
    else:
        blob = Blob.from_bytes(bytes(payload), key=key)
    return from_blob(blob)
