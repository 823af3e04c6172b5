"""The identity of a policy: its own Ed25519 key (RFC 8032), and the keys of the peers that were seen.

A secret is shared: it says that a peer may come in, not which peer it is. So each policy signs its
handshakes, and an id belongs to the first key that came with it. A policy with a nickname has the same id in
every process, so its key is kept in the ``secrets`` directory. Any other key lives as long as its process.
"""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from laila.contract import ROLES, directory, locks, private_folder, said
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
    folder, name = directory("secrets") / "peers", f"{uuid}.key"
    try:
        within = private_folder(folder)
        try:
            # The file appears whole or not at all, and is private from the first moment. The first of several
            # processes makes it.
            fresh = f".{uuid}.{secrets.token_hex(8)}"
            number = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=within)
            try:
                with os.fdopen(number, "w", encoding="ascii") as file:
                    file.write(Identity().private().hex() + "\n")
                with suppress(FileExistsError):
                    os.link(fresh, name, src_dir_fd=within, dst_dir_fd=within)
            finally:
                os.unlink(fresh, dir_fd=within)
            return Identity(_read(name, within))
        finally:
            os.close(within)
    except (OSError, ValueError) as error:
        raise SecretError(
            f"the identity of the policy cannot be read from {folder / name}, or made there: {said(error)}; "
            "restore the file and its rights, or remove it to begin with a new identity",
            name="peers",
        ) from error


def _read(name: str, within: int) -> bytes:
    """Return the key in a file of the folder ``within``; ValueError where others own or may read the file."""
    number = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=within)
    with os.fdopen(number, encoding="ascii") as file:
        found = os.fstat(number)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            mode = stat.S_IMODE(found.st_mode)
            raise ValueError(f"it is no file of this user alone (uid {found.st_uid}, mode {mode:04o})")
        return bytes.fromhex(file.read(1 << 10))


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
