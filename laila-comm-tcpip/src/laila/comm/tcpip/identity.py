"""The identity of a policy: its own Ed25519 key (RFC 8032), and the keys of the peers that were seen.

A secret is shared: it says that a peer may come in, not which peer it is. So each policy signs its
handshakes, and an id belongs to the first key that came with it. A policy with a nickname has the same id in
every process, so its key is kept in the ``secrets`` directory. Any other key lives as long as its process.
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
    """A signing key. Its ``repr`` shows no part of it."""

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
        """Return whether ``signature`` is a signature of ``data`` by the key ``public``."""
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
        except (InvalidSignature, ValueError):
            return False
        return True


_identities: dict[str, Identity] = {}
_lock = locks.long_lock()


def identity_of(policy: str) -> Identity:
    """Return the identity of a policy of this process, the same object each time.

    Raises :class:`~laila.errors.SecretError` if its file cannot be read or made.
    """
    with _lock:
        known = _identities.get(policy)
        if known is None:
            uuid = policy.rpartition(":")[2]
            # A uuid made from a name (version 5) belongs to a policy with a nickname.
            known = _identities[policy] = _kept(uuid) if uuid[14:15] == "5" else Identity()
        return known


def _kept(uuid: str) -> Identity:
    folder = directory("secrets") / "peers"
    path = folder / f"{uuid}.key"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = Identity()
        # The file appears whole or not at all, and is private from the first moment. The first of several
        # processes makes it.
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
    """The first key that each id was seen with, for the life of a process. Thread-safe.

    No id is forgotten. There is room for 10,000 ids of each role. Strangers with a secret for reading fill
    the room of readers only. A peer whose secret has a higher role than the first claim takes the id over:
    somebody with fewer rights may have claimed it in advance.
    """

    def __init__(self) -> None:
        self._keys: dict[str, tuple[bytes, int]] = {}
        self._counts = [0] * (len(ROLES) + 1)

    def claim(self, policy: str, public: bytes, role: Role | None = "write") -> bool:
        """Note that ``policy`` came with the key ``public``, under a secret of ``role``.

        Returns False if another key is known for it, or if there is no room. ``role`` is None for a listener
        that this side has connected to.
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
