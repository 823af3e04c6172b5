"""Who a policy is: an Ed25519 key (RFC 8032) of its own, and the keys that others were seen with.

A secret is shared, so it says that a peer may come in, not which peer it is. Each policy therefore signs its
handshakes, and an id belongs to the key it was first seen with. The key of a policy with a nickname, whose id
is the same in every process, is kept in the ``secrets`` directory; any other lives as long as its process.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from laila.contract import ROLES, directory, locks, said
from laila.errors import SecretError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from laila.contract import Role

__all__ = ["Identity", "KnownPeers", "identity_of"]

_MOST_KNOWN = 10_000


class Identity:
    """A signing key. ``repr`` shows none of it."""

    def __init__(self, private: bytes | None = None) -> None:
        self._key = (
            Ed25519PrivateKey.generate() if private is None else Ed25519PrivateKey.from_private_bytes(private)
        )
        self.public = self._key.public_key().public_bytes_raw()

    def sign(self, data: bytes) -> bytes:
        """Return the signature of ``data``, 64 bytes."""
        return self._key.sign(data)

    def private(self) -> bytes:
        """Return the key itself, 32 bytes."""
        return self._key.private_bytes_raw()

    @staticmethod
    def verify(public: bytes, signature: bytes, data: bytes) -> bool:
        """Whether ``signature`` is that of ``data`` under the key ``public``."""
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
        except (InvalidSignature, ValueError):
            return False
        return True


_identities: dict[str, Identity] = {}
_lock = locks.long_lock()


def identity_of(policy: str) -> Identity:
    """Return the identity of a policy of this process, the same one each time.

    Raises :class:`~laila.errors.SecretError` where its file cannot be read or made.
    """
    with _lock:
        known = _identities.get(policy)
        if known is None:
            uuid = policy.rpartition(":")[2]
            # A uuid made of a name (version 5) is that of a policy with a nickname.
            known = _identities[policy] = _kept(uuid) if uuid[14:15] == "5" else Identity()
        return known


def _kept(uuid: str) -> Identity:
    folder = directory("secrets") / "peers"
    path = folder / f"{uuid}.key"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = Identity()
        # Whole or not at all, and private from the first moment; the first of several processes makes it.
        fresh = folder / f".{uuid}.{os.getpid()}"
        number = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(number, "w", encoding="ascii") as file:
            file.write(made.private().hex() + "\n")
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            os.unlink(fresh)
        return Identity(bytes.fromhex(path.read_text("ascii")))
    except (OSError, ValueError) as error:
        raise SecretError(
            f"the identity of the policy cannot be read from {path}, or made there: {said(error)}; "
            "restore the "
            "file, or remove it to begin with a new identity",
            name="peers",
        ) from error


class KnownPeers:
    """Which key each id was seen with, for the life of a process. Thread-safe.

    No id is forgotten. There is room for 10,000 of each role: strangers who know a secret for reading fill
    the room of readers, and take nobody's place. Who comes under a secret of a higher role than an id was
    claimed with takes the id over: it may have been claimed in advance, by somebody who may do less.
    """

    def __init__(self) -> None:
        self._keys: dict[str, tuple[bytes, int]] = {}
        self._counts = [0] * (len(ROLES) + 1)

    def claim(self, policy: str, public: bytes, role: Role | None = "write") -> bool:
        """Note that ``policy`` came with the key ``public``, under a secret of ``role``.

        False where it is known by another key, or there is no room for one more. ``role`` is None for whom
        this side has connected to.
        """
        rank = len(ROLES) if role is None else ROLES.index(role)
        with locks.mutex:
            known = self._keys.get(policy)
            if known is not None:
                key, before = known
                if key == public and rank <= before:
                    return True
                if key != public and rank <= before:
                    return False
                self._counts[before] -= 1
            elif role is not None and self._counts[rank] >= _MOST_KNOWN:
                return False
            self._keys[policy] = (public, rank)
            self._counts[rank] += 1
            return True
