"""What is lent, in the bucket: one small object for each lease, replaced by conditional writes.

The objects are in a folder of their own, beside the folder of the entries. An object stays when its lease was
given back: a service cannot delete one version of an object only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from laila.contract import MAX_KEY_BYTES, LeaseTable
from laila.pool.s3.names import label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from laila.pool.s3.client import Client
    from laila.pool.s3.helper_pool import HelperPool

__all__ = ["LEASES", "S3Leases"]

LEASES = "laila-leases"
_SUFFIX = ".lease"
_LONGEST = 3 * MAX_KEY_BYTES + 1


class S3Leases(LeaseTable):
    """The table of one pool. Thread-safe."""

    longest_pause = 1.0

    def __init__(self, client: Client, helper_pool: HelperPool, root: str) -> None:
        self._client = client
        self._helper_pool = helper_pool
        self._folder = f"{root}{LEASES}"

    def read(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the record of each key, or None."""
        return [record for record, _ in self._helper_pool.map(self._get, keys)]

    def swap(self, changes: Sequence[tuple[str, bytes | None, bytes]]) -> list[bool]:
        """Replace each record that is still as it was read. A repeated try may say False of what was done."""
        return self._helper_pool.map(self._swap, changes)

    def keys(self) -> list[str]:
        """Return the keys that have a record."""
        names = [
            name
            for page in self._client.list(self._folder)
            for name in page
            if name.startswith(f"{self._folder}/") and name.endswith(_SUFFIX)
        ]
        found = self._helper_pool.map(lambda name: self._client.get(name, None), names)
        keys = [_key_in(piece.data) for piece in found if piece is not None and piece.data is not None]
        return [key for key in keys if key is not None]

    def _name(self, key: str) -> str:
        # As the names of entries: `~` and a hash where the key is long, so the key is in the object, too.
        return f"{self._folder}/{label(key)}{_SUFFIX}"

    def _get(self, key: str) -> tuple[bytes | None, str | None]:
        piece = self._client.get(self._name(key), key)
        if piece is None:
            return None, None
        body = b"" if piece.data is None else bytes(piece.data)
        return body.partition(b"\n")[2], piece.version

    def _swap(self, change: tuple[str, bytes | None, bytes]) -> bool:
        key, old, new = change
        body = quote(key, safe=":").encode() + b"\n" + new
        if old is None:
            return self._client.put(self._name(key), key, [body], create=True)
        record, version = self._get(key)
        if record != old or version is None:
            return False
        return self._client.put_over(self._name(key), key, body, version)


def _key_in(body: memoryview) -> str | None:
    try:
        return unquote(bytes(body[:_LONGEST]).partition(b"\n")[0].decode("ascii"), errors="strict")
    except UnicodeDecodeError:
        return None  # somebody else's object
