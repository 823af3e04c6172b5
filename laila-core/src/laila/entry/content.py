"""Ids by content: which uuid a payload has, and whether it is still the payload that its id was made from."""

from __future__ import annotations

from typing import NamedTuple

from laila.errors import (
    IdentityConflictError,
    IdentityError,
    ImmutableEntryError,
    InvalidValueError,
    ManifestError,
    PayloadError,
)
from laila.identity import content_uuid, get_active_namespace, last_scope
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from laila.blob.blob import Blob
    from laila.entry.entry import Entry
    from laila.entry.leaves import Leaf

__all__ = [
    "Content",
    "check_by",
    "check_unchanged",
    "content_of",
    "digest_now",
    "digests_now",
    "encoded",
    "with_entries",
]

_LEAF_SCOPES = ("ENTRY", "MANIFEST")
_MAX_DEPTH = 200
_TOGETHER_BYTES = 64 << 20


class Content(NamedTuple):
    """The payload that an id was made from."""

    uuid: str
    digest: bytes
    """Its content digest."""
    nbytes: int
    """The bytes of its tree and buffers."""
    leaf: Leaf | None
    """The facts about it in the table of a manifest."""


def check_by(by: object, **names: object) -> bool:
    """Whether the id comes from the content: ``by`` is None or "content", and then no other name is given."""
    if by is None:
        return False
    if by != "content":
        raise InvalidValueError(f'by={shown(by)}: an id can be made by="content", or leave by= out')
    given = [f"{name}={shown(value)}" for name, value in names.items() if value is not None]
    if given:
        raise IdentityConflictError(
            f'by="content" and {given[0]} exclude each other: the id is one or the other. Give the name to '
            "a laila.Manifest that holds the entry"
        )
    return True


def content_of(payload: object) -> Content:
    """Derive the uuid of ``payload`` in the active namespace. Reads all of it, and copies no array.

    Raises:
        PayloadError: the payload cannot be stored, or has no canonical form; the message names the place.
    """
    return _contents([encoded(payload)])[0]


def _contents(blobs: Sequence[Blob]) -> list[Content]:
    from laila.blob.content import content_hashes
    from laila.entry.leaves import leaf_of

    hashes = content_hashes(blobs, get_active_namespace().bytes)
    return [
        Content(content_uuid(hashed), blob.digest, blob.content_nbytes, leaf_of(blob))
        for blob, hashed in zip(blobs, hashes, strict=True)
    ]


def digest_now(payload: object) -> bytes:
    """Return the content digest that ``payload`` has now. Reads all of it, and copies no array."""
    return digests_now([payload])[0]


def digests_now(payloads: Iterable[object]) -> list[bytes]:
    """Return the content digests that ``payloads`` have now. Reads all of them, and copies no array."""
    from laila.blob.content import fill_checksums

    digests: list[bytes] = []
    for blobs in _together(map(encoded, payloads)):
        fill_checksums(blobs)
        digests += [blob.digest for blob in blobs]
    return digests


def _together(blobs: Iterable[Blob]) -> Iterator[list[Blob]]:
    """Group blobs: a few MiB, or one larger blob, at a time. Some blobs hold copies of what they encode."""
    some: list[Blob] = []
    size = 0
    for blob in blobs:
        some.append(blob)
        size += blob.content_nbytes
        if size >= _TOGETHER_BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some


def encoded(payload: object) -> Blob:
    """Encode ``payload`` as data alone, without copying its arrays: not to be kept.

    Raises:
        PayloadError: the payload cannot be stored, or has no canonical form.
    """
    from laila.codec import encode

    try:
        return encode(payload, key="", pickle=False, borrow=True, created=0.0)
    except PayloadError as error:
        # Only what is data has the same bytes in every process; what a pickle has depends on it.
        error.args = (str(error).replace("pickle=False forbids", 'by="content" does not allow'),)
        raise


def check_unchanged(content: Content, digest: bytes, key: str) -> None:
    """Raise :class:`ImmutableEntryError` where ``digest`` is not that of the payload that made the id."""
    if digest != content.digest:
        raise ImmutableEntryError(
            f"the payload of {key} was changed after its id was made from it: make a new entry of what it is "
            'now, laila.constant(…, by="content")',
            key=key,
        )


def with_entries(tree: object) -> dict[str, object]:
    """Put an entry by content in the place of each value in the tree of a manifest.

    Dicts are branches. A list or a tuple is a list of leaves. Entries stay as they are. One object in two
    places is read once.

    Raises:
        ManifestError: a text could be a value and the id of an entry.
        PayloadError: a value cannot be stored, or has no canonical form.
    """
    from laila.entry.entry import Entry

    made: dict[int, Entry] = {}
    queue: list[tuple[Entry, tuple[str | int, ...]]] = []

    def leaf(value: object, path: tuple[str | int, ...]) -> Entry:
        if isinstance(value, Entry):
            return value
        if isinstance(value, str) and _is_leaf_id(value):
            raise ManifestError(
                f'the leaf {_place(path)} is a value by="content" or the id of an entry: give the entry '
                "(laila.remember), or laila.constant(…) of the text",
                path=_place(path),
            )
        known = made.get(id(value))
        if known is None:
            known = made[id(value)] = Entry.constant(value)  # its id comes later, with those of others
            queue.append((known, path))
        return known

    def branch(value: object, path: tuple[str | int, ...]) -> object:
        if isinstance(value, dict):
            if len(path) > _MAX_DEPTH:
                raise ManifestError(
                    f"the tree is nested deeper than {_MAX_DEPTH} levels, or contains itself",
                    path=_place(path),
                )
            return {key: branch(child, (*path, key)) for key, child in value.items()}
        if isinstance(value, (list, tuple)):
            return [leaf(item, (*path, i)) for i, item in enumerate(value)]
        return leaf(value, path)

    if not isinstance(tree, dict):
        raise ManifestError(f"a manifest is made of a dict, not {type(tree).__name__}", path="$")
    found = {key: branch(child, (key,)) for key, child in tree.items()}

    def blobs() -> Iterator[Blob]:
        for entry, path in queue:
            try:
                yield encoded(entry._payload)
            except PayloadError as error:
                error.args = (f"the leaf {_place(path)}: {error}",)
                raise

    entries = iter(queue)
    for some in _together(blobs()):
        for content in _contents(some):
            entry, _ = next(entries)
            entry._uuid, entry._content = content.uuid, content
    return found


def _is_leaf_id(text: str) -> bool:
    try:
        return last_scope(text) in _LEAF_SCOPES
    except IdentityError:
        return False


def _place(path: tuple[str | int, ...]) -> str:
    return "$" + "".join(f"[{shown(step)}]" for step in path)
