"""The references of the manifests of a pool, and the keys that are names. Each manifest is read once."""

from __future__ import annotations

from collections import deque
from itertools import islice

from laila.entry import Manifest, from_blob
from laila.entry.packs import PACK_SCOPE
from laila.entry.provenance import NOTE, read_provenance
from laila.errors import CorruptEntryError, IdentityError, LailaError
from laila.identity import parse_global_id
from laila.keys import is_evolution, is_manifest, stem_of
from laila.tiering.single import groups

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from laila.blob.blob import Blob, BlobHead
    from laila.contract.pool import Pool

__all__ = ["BATCH", "References", "batches", "is_entry", "is_kept_by_its_key", "manifests_in"]

BATCH = 512
"""How many keys are looked at in one call."""
_GROUP_BYTES = 8 * 1024 * 1024
_KEPT_SCOPES = ("ENTRY", "MANIFEST", PACK_SCOPE)


def batches(keys: Iterable[str], size: int = BATCH) -> Iterator[list[str]]:
    """Divide keys into lists of at most ``size``."""
    rest = iter(keys)
    while batch := list(islice(rest, size)):
        yield batch


def is_entry(key: str) -> bool:
    """Whether a key is the id of an entry, a manifest or a pack of leaves."""
    try:
        return parse_global_id(key).scopes[-1] in _KEPT_SCOPES
    except IdentityError:
        return False


def is_kept_by_its_key(key: str) -> bool:
    """Whether the key alone says that somebody can name the entry.

    The uuid of a nickname has version 5, in each namespace. A key that is no id is a name itself, and what
    has another scope belongs to the pool.
    """
    try:
        scopes, uuid, _ = parse_global_id(key)
    except IdentityError:
        return True
    return scopes[-1] not in _KEPT_SCOPES or uuid[14] == "5"


def manifests_in(pool: Pool, keys: Iterable[str]) -> Iterator[tuple[str, Manifest | Exception | None]]:
    """Read manifests of ``pool`` alone, at most 8 MiB of them at a time, or one that is larger.

    Args:
        pool: The pool.
        keys: The ids of the manifests.

    Yields:
        Each id with its manifest, its error, or None where it is not there.
    """
    for batch in batches(keys):
        sizes = pool.sizes_here(batch)
        sized = ((k, _GROUP_BYTES if size is None else size) for k, size in zip(batch, sizes, strict=True))
        for group in groups(sized, _GROUP_BYTES):
            for key, blob in zip(group, pool.load_here(group), strict=True):
                yield key, _manifest(key, blob)


def _manifest(key: str, blob: Blob | BaseException | None) -> Manifest | Exception | None:
    if blob is None or isinstance(blob, Exception):
        return blob
    if isinstance(blob, BaseException):
        raise blob
    try:
        entry = from_blob(blob)
    except LailaError as error:
        return error
    if isinstance(entry, Manifest):
        return entry
    return CorruptEntryError(f"{key} holds no manifest", key=key)


class References:
    """The ids that entries of a pool refer to, directly or through other manifests.

    Attributes:
        holders: For each id that is referred to, an id that refers to it.
        unread: The error of each manifest, or entry, whose references nobody knows.
    """

    def __init__(self, pool: Pool, *, inputs: bool = False) -> None:
        self._pool = pool
        self._inputs = inputs
        self.holders: dict[str, str] = {}
        self.unread: dict[str, Exception] = {}
        self._followed: set[str] = set()

    def holder(self, key: str) -> str | None:
        """Return an id that refers to ``key``, or to all evolutions of it; None if there is none."""
        found = self.holders.get(key)
        if found is None and is_entry(key) and is_evolution(key):
            found = self.holders.get(stem_of(key))
        return found

    def follow(self, keys: Iterable[str], *, again: bool = False) -> None:
        """Note what ``keys`` refer to, what that refers to, and so on. Reads each manifest once.

        Args:
            keys: Ids of entries and manifests, stored or not. They are not referred to by this.
            again: Read ``keys`` again, if they were read before.
        """
        first = list(keys)
        if again:
            self._followed.difference_update(first)
        rest = deque([first])
        while rest:
            found: list[str] = []
            now = [key for key in rest.popleft() if key not in self._followed]
            self._followed.update(now if self._inputs else filter(is_manifest, now))
            for key, manifest in manifests_in(self._pool, filter(is_manifest, now)):
                self.unread.pop(key, None)
                if isinstance(manifest, Exception):
                    self.unread[key] = manifest
                elif manifest is not None:
                    found += self._note(key, manifest.references())
            if self._inputs:
                for key, ids in self._inputs_of(now):
                    found += self._note(key, ids)
            if found:
                rest.append(found)

    def hold(self, key: str, by: str) -> None:
        """Note that ``key`` is referred to."""
        self.holders.setdefault(key, by)

    def _note(self, by: str, ids: Iterable[str]) -> list[str]:
        """Note what ``by`` refers to; return what was not referred to before."""
        fresh = [leaf for leaf in dict.fromkeys(ids) if leaf not in self.holders]
        self.holders.update(dict.fromkeys(fresh, by))
        return fresh

    def _inputs_of(self, keys: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
        """Give the inputs that the provenance of entries names."""
        every = [key for key in keys if is_entry(key)]
        stems = [key for key in every if not is_manifest(key) and not is_evolution(key)]
        for batch in batches(stems):
            for stem, numbers in zip(batch, self._pool.histories_here(batch), strict=True):
                every += [f"{stem}-{n}" for n in numbers]
        for batch in batches(every):
            for key, head in zip(batch, self._pool.heads_here(batch), strict=True):
                if isinstance(head, LailaError):
                    self.unread[key] = head
                elif head is not None:
                    try:
                        ids = _inputs(self._plain(key, head))
                    except LailaError as error:
                        self.unread[key] = error
                    else:
                        yield key, ids

    def _plain(self, key: str, head: Blob | BlobHead) -> Blob | BlobHead:
        """Return what has the notes: a transformation hides them."""
        if not head.transformations:
            return head
        (blob,) = self._pool.load_here([key])
        if isinstance(blob, BaseException):
            raise blob
        return head if blob is None else blob


def _inputs(head: Blob | BlobHead) -> list[str]:
    note = (head.notes or {}).get(NOTE)
    inputs = [] if note is None else read_provenance(note, head.key).get("inputs", [])
    ids = inputs if isinstance(inputs, list) else []  # somebody else may have written it
    return [key for key in ids if isinstance(key, str) and is_entry(key)]
