"""What a pool keeps about its own upkeep, as entries of other scopes: pins, and notes of a collection.

The note of a collection says since when candidates have been candidates, and it tells writers to take care:
while it is there, a writer that found its content in the pool leaves a note that the content is in use.
"""

from __future__ import annotations

from laila.codec import decode, encode
from laila.errors import CorruptEntryError, LailaError
from laila.identity import new_uuid, nickname_uuid, universal_namespace
from laila.upkeep.leaves import is_kept_by_its_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from laila.blob.blob import Blob, BlobHead
    from laila.contract.pool import Pool

__all__ = [
    "COLLECTION",
    "Note",
    "is_pin",
    "is_use",
    "mark_of",
    "note_use",
    "pin_key",
    "read_payload",
    "used_in",
    "write",
]

COLLECTION = "LAILA:COLLECTION:GLOBAL_ID:d9cf7a9a-1021-5d47-bade-f5d218e360bc"
"""The id of the note of a collection."""
_USE = "LAILA:USE:GLOBAL_ID:"
_PIN = "LAILA:PIN:GLOBAL_ID:"


def pin_key(pinned: str) -> str:
    """Return the id under which the pin of an id is stored."""
    return f"{_PIN}{nickname_uuid(pinned, universal_namespace())}"


def is_pin(key: str) -> bool:
    """Whether a key is that of a pin."""
    return key.startswith(_PIN)


def is_use(key: str) -> bool:
    """Whether a key is that of a writer's note that it relies on entries."""
    return key.startswith(_USE)


def note_use(pool: Pool, keys: Iterable[str]) -> None:
    """Note that a writer found ``keys`` in the pool that decides, and relies on them.

    Costs nothing for named entries; one request where nobody has ever collected in the pool.
    """
    used = [key for key in keys if not is_kept_by_its_key(key)]
    if not used:
        return
    last = pool.deciding_tier
    last.touch_here(used)
    if last.exists(COLLECTION):
        write(last, f"{_USE}{new_uuid()}", {"used": used})


def write(tier: Pool, key: str, payload: object) -> None:
    """Store a note, in place of an older one."""
    (outcome,) = tier.store_here([encode(payload, key=key, pickle=False)], replace=True)
    if isinstance(outcome, LailaError):
        raise outcome


def read_payload(blob: Blob) -> dict[str, object]:
    """Return what a note says. Raises :class:`CorruptEntryError`."""
    payload = decode(blob)
    if type(payload) is not dict or not all(type(name) is str for name in payload):
        raise CorruptEntryError(f"{blob.key} is no note of a pool's upkeep; forget it", key=blob.key)
    return payload


def mark_of(key: str, head: Blob | BlobHead) -> int:
    """Return a number for an entry as it was written: another where it was written again."""
    from hashlib import blake2b

    from laila.blob.blob import Blob

    parts = [key.encode("utf-8", "surrogatepass"), head.digest]
    if head._meta is not None:
        parts.append(str(head._meta[0]).encode())
    if head.transformations:  # which hide when it was written, and change with that
        if isinstance(head, Blob):
            head = Blob.read_head(head.head)
        parts += (row[4] for row in head.table)
    return int.from_bytes(blake2b(b"\0".join(parts), digest_size=8).digest(), "little")


class Note:
    """The note of a collection: by mark, since when an entry has been a candidate (seconds, UTC)."""

    def __init__(self, since: dict[int, float] | None = None) -> None:
        self.since = {} if since is None else since

    @classmethod
    def read(cls, tier: Pool, now: float) -> Note:
        """Return the note of ``tier``, empty where there is none. A damaged note counts as none."""
        (blob,) = tier.load_here([COLLECTION])
        if blob is None or isinstance(blob, CorruptEntryError):
            return cls()
        if isinstance(blob, BaseException):
            raise blob
        from array import array

        payload = read_payload(blob)
        marks, since = payload.get("marks"), payload.get("since")
        if type(marks) is not bytes or type(since) is not bytes or len(marks) != len(since) or len(marks) % 8:
            return cls()
        # A time in the future is no time to wait for: the clock was wrong then.
        every = zip(array("Q", marks), array("d", since), strict=True)
        return cls({mark: when for mark, when in every if when <= now})

    def write(self, tier: Pool) -> None:
        """Store the note, in place of the older one."""
        from array import array

        marks, since = array("Q", self.since), array("d", self.since.values())
        write(tier, COLLECTION, {"marks": marks.tobytes(), "since": since.tobytes()})


def used_in(tier: Pool, keys: Sequence[str]) -> list[str]:
    """Return the keys that writers' notes name."""
    used: list[str] = []
    for blob in tier.load_here(keys) if keys else ():
        if isinstance(blob, BaseException):
            raise blob
        ids = [] if blob is None else read_payload(blob).get("used")
        used += [key for key in ids if type(key) is str] if type(ids) is list else []
    return used
