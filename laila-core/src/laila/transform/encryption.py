"""AES-256-GCM, in segments, under a key of its own for every blob.

The stored bytes are a random salt of 16 bytes and then segments of at most 1 MiB of plain text, each
followed by its tag of 16 bytes. The key of a blob is ``HMAC-SHA256(key, "laila aes-gcm 1" + salt)``: so
nonces need not be random (GCM bears 2**32 random ones under one key, and 64 GiB under one nonce; neither
limit is near). The nonce of a segment is its number (11 bytes, big-endian) and a byte that is 1 for the last:
segments cannot be cut off, moved or repeated. The associated data is the global id, so that a blob cannot be
filed under another key.
"""

from __future__ import annotations

import re
from os import urandom

from laila.errors import SecretError
from laila.showing import shown
from laila.tracebacks import given_secrets
from laila.transform.base import (
    Transformation,
    corrupt,
    register_transformation,
    stated_size,
    unavailable,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import ClassVar

    from laila.transform.base import Read

    BytesLike = bytes | bytearray | memoryview

__all__ = ["AesGcm"]

SEGMENT = 1 << 20
_SALT = 16
_TAG = 16
_KEY = 32


_is_id = re.compile(r"[0-9a-f]{16}", re.ASCII).fullmatch


def _derive(key: bytes, purpose: bytes) -> bytes:
    import hmac

    return hmac.digest(key, purpose, "sha256")


@register_transformation
class AesGcm(Transformation):
    """Authenticated encryption. Needs the extra ``crypto``.

    ``key`` is 32 bytes, or a text in the form of ``LAILA_ENCRYPTION_KEY`` (32 characters or more; hexadecimal
    digits and base64 are decoded). Without it the key is ``LAILA_ENCRYPTION_KEY``, or else the key in the
    ``secrets`` directory, made when first needed; ``key_name`` picks another key there by its id. Losing the
    key is losing the data: keep a copy of it. A blob says the id of its key, and reading looks for that key.
    """

    name: ClassVar[str] = "aes-gcm"
    secret_options: ClassVar[tuple[str, ...]] = ("key",)

    @given_secrets
    def __init__(self, key: bytes | str | None = None, key_name: str | None = None) -> None:
        from laila.codec.trust import parse_key

        if isinstance(key, str):
            key = parse_key(key)
        if key is not None and (not isinstance(key, bytes) or len(key) < _KEY):
            raise SecretError(
                "an encryption key is at least 32 bytes, or a text of at least 32 characters", name=self.name
            )
        if key_name is not None and not (isinstance(key_name, str) and _is_id(key_name)):
            raise SecretError(
                "key_name is the id of a key, 16 hexadecimal digits as `laila keys` shows it (what was given "
                "is not repeated: it may be the key)",
                name=self.name,
            )
        self._key = key
        self._key_name = key_name

    def _current(self) -> tuple[str, bytes]:
        from laila.codec.trust import encryption_keys

        if self._key is not None:
            return encryption_keys.key_id(self._key), self._key
        if self._key_name is None:
            return encryption_keys.current()
        key = encryption_keys.find(self._key_name)
        if key is None:
            raise SecretError(
                "no encryption key in the secrets directory has this key_name (`laila keys` lists them)",
                name=self.name,
            )
        return self._key_name, key

    def options(self) -> dict[str, object]:
        """List the constructor arguments that make an equal transformation, without the key."""
        return {} if self._key_name is None else {"key_name": self._key_name}

    def params(self) -> dict[str, object]:
        """Return the id of the key."""
        return {"key": self._current()[0]}

    def fingerprint(self) -> tuple[object, ...]:
        """Return the id of the key: two transformations encrypt alike if they use one key."""
        return (self.name, self._current()[0])

    def digest(self, digest: bytes) -> bytes:
        """Return a hash of the digest under the key."""
        # Keyed, so that equal contents compare equal for owners of the key, and nobody else can guess
        # contents.
        return _derive(_derive(self._current()[1], b"laila content digest 1"), digest)[: len(digest)]

    def bind(self, *, key: str, params: Mapping[str, object] | None = None) -> AesGcm:
        """Bind the key that is current now, or the key that ``params`` names."""
        # The active key may change at any moment: the blob must name the key that was used.
        return AesGcm(self._current()[1] if params is None else self._secret_for(params.get("key"), key))

    def apply(self, data: BytesLike, *, key: str) -> bytearray:
        """Encrypt the bytes of an entry."""
        aes, _invalid = _library(self.name)
        salt = urandom(_SALT)
        cipher = aes(_derive(self._current()[1], b"laila aes-gcm 1" + salt))
        view = memoryview(data)
        associated = key.encode("utf-8", "surrogatepass")
        count = max(1, -(-len(view) // SEGMENT))
        out = bytearray(_SALT + len(view) + count * _TAG)
        out[:_SALT] = salt
        at = _SALT
        for number in range(count):
            piece = view[number * SEGMENT : (number + 1) * SEGMENT]
            sealed = cipher.encrypt(_nonce(number, number == count - 1), piece, associated)
            out[at : at + len(sealed)] = sealed
            at += len(sealed)
        return out

    def invert(self, data: BytesLike, *, key: str, params: Mapping[str, object]) -> bytearray:
        """Decrypt and authenticate; changed bytes are a :class:`CorruptEntryError`."""
        aes, invalid = _library(self.name)
        view = memoryview(data)
        secret = self._secret_for(params.get("key"), key)
        size = stated_size(params, key, self.name)
        count = max(1, -(-(len(view) - _SALT) // (SEGMENT + _TAG)))
        if size != len(view) - _SALT - count * _TAG:
            raise corrupt(key, self.name, "is not as long as it says")
        cipher = aes(_derive(secret, b"laila aes-gcm 1" + bytes(view[:_SALT])))
        associated = key.encode("utf-8", "surrogatepass")
        out = bytearray(size)
        at = 0
        for number in range(count):
            start = _SALT + number * (SEGMENT + _TAG)
            try:
                piece = cipher.decrypt(
                    _nonce(number, number == count - 1), view[start : start + SEGMENT + _TAG], associated
                )
            except invalid as error:
                # The id of the key is right, so somebody changed the data, or the id that it is stored under.
                raise corrupt(
                    key, self.name, "does not authenticate: it was changed, or filed under another key"
                ) from error
            out[at : at + len(piece)] = piece
            at += len(piece)
        return out

    def reader(self, read: Read, nbytes: int, *, key: str, params: Mapping[str, object]) -> Read:
        """Return a reader of ranges, which reads and decrypts the segments that have them."""
        aes, invalid = _library(self.name)
        secret = self._secret_for(params.get("key"), key)
        size = params.get("size")
        count = max(1, -(-(nbytes - _SALT) // (SEGMENT + _TAG)))
        if type(size) is not int or size < 0 or size != nbytes - _SALT - count * _TAG:
            raise corrupt(key, self.name, "is not as long as it says")
        (salt,) = read([(0, _SALT)])
        cipher = aes(_derive(secret, b"laila aes-gcm 1" + bytes(salt)))
        associated = key.encode("utf-8", "surrogatepass")

        def place(number: int) -> int:
            return min(_SALT + number * (SEGMENT + _TAG), nbytes)

        def read_parts(ranges: Sequence[tuple[int, int]]) -> list[BytesLike]:
            runs: list[tuple[int, int]] = []  # of segments
            for start, stop in ranges:
                if stop > size:
                    raise corrupt(key, self.name, f"has {size} bytes, not {stop}")
                first, last = start // SEGMENT, -(-stop // SEGMENT)
                if runs and first <= runs[-1][1]:
                    runs[-1] = (runs[-1][0], max(last, runs[-1][1]))
                elif stop > start:
                    runs.append((first, last))
            plain: dict[int, bytes] = {}
            for (first, last), data in zip(
                runs, read([(place(first), place(last)) for first, last in runs]), strict=True
            ):
                view = memoryview(data)
                for number in range(first, last):
                    at = place(number) - place(first)
                    sealed = view[at : at + SEGMENT + _TAG]
                    try:
                        plain[number] = cipher.decrypt(
                            _nonce(number, number == count - 1), sealed, associated
                        )
                    except invalid as error:
                        raise corrupt(
                            key,
                            self.name,
                            "does not authenticate: it was changed, or filed under another key",
                        ) from error
            return [
                b"".join(
                    plain[number][max(start - number * SEGMENT, 0) : stop - number * SEGMENT]
                    for number in range(start // SEGMENT, -(-stop // SEGMENT))
                )
                if stop > start
                else b""
                for start, stop in ranges
            ]

        return read_parts

    def _secret_for(self, key_id: object, key: str) -> bytes:
        from laila.codec.trust import encryption_keys

        if type(key_id) is not str:
            raise corrupt(key, self.name, "does not name its key")
        if self._key is not None and encryption_keys.key_id(self._key) == key_id:
            return self._key
        secret = encryption_keys.find(key_id)
        if secret is None:
            reason = "the key given is another one" if self._key is not None else "it is not here"
            raise SecretError(
                f"{key} is encrypted with the key {shown(key_id)}, and {reason}: set "
                "LAILA_ENCRYPTION_KEY, pass "
                "AesGcm(key=…) to "
                "the pool, or restore the key into the secrets directory",
                name=self.name,
                key_id=key_id,
            )
        return secret


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + (b"\1" if last else b"\0")


if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM


def _library(name: str) -> tuple[type[AESGCM], type[Exception]]:
    try:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise unavailable(name, "cryptography", "crypto", error) from error
    return AESGCM, InvalidTag
