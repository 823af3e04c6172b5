"""Trust: the keys that sign what needs code, and the keyring that keeps them.

A key is at least 32 bytes; its id is the beginning of a SHA-256 over it, which reveals nothing. Keys lie in
``<secrets>/<ring>/<id>.key``, one line of hexadecimal digits, readable by the owner only; the file ``active``
names the one that signs. An environment variable (``LAILA_SECRET_KEY``) takes precedence and touches no file.
As with ssh, what others own or may write to is not trusted: see :mod:`laila.codec.keyfiles`.
"""

from __future__ import annotations

import os
import re

from laila.codec import keyfiles
from laila.errors import SecretError, UntrustedPayloadError
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from laila.blob.blob import Blob

__all__ = [
    "CODE_KEY",
    "Keyring",
    "encryption_keys",
    "export_key",
    "import_key",
    "is_encryption_key",
    "list_keys",
    "new_key",
    "parse_key",
    "sign_blob",
    "signing_keys",
    "verify_blob",
]

KEY_BYTES = 32
_is_id = re.compile(r"[0-9a-f]{16}", re.ASCII).fullmatch
_EXPORTED = "laila-key"
_is_exported = re.compile(rf"{_EXPORTED} ([0-9a-f]{{16}}) ((?:[0-9a-f]{{2}}){{32,}})", re.ASCII).fullmatch
_is_hex = re.compile(r"(?:[0-9a-fA-F]{2}){32,}", re.ASCII).fullmatch
_is_base64 = re.compile(r"[A-Za-z0-9+/_-]{43}=", re.ASCII).fullmatch


def parse_key(text: str) -> bytes:
    """Read a key from text.

    What ``laila keys export`` prints, 64 or more hexadecimal digits, the base64 of 32 bytes, or any text of
    32 characters on.

    Raises :class:`SecretError` for a shorter one; the message never shows it.
    """
    text = text.strip()
    exported = _is_exported(text)
    if exported:
        return bytes.fromhex(exported[2])
    if _is_hex(text):
        return bytes.fromhex(text)
    if _is_base64(text):
        from base64 import b64decode

        return b64decode(text.translate(str.maketrans("-_", "+/")))
    if len(text) < KEY_BYTES:
        raise SecretError(
            f"a key of {len(text)} characters is too short: give at least {KEY_BYTES} characters, or 32 "
            "bytes as "
            "hexadecimal digits or base64 (python -c 'import secrets; print(secrets.token_hex())' makes one)",
            name="key",
        )
    return text.encode("utf-8", "surrogateescape")


class Keyring:
    """The keys of one purpose. Safe to share between threads and processes; ``repr`` shows no key.

    ``ring`` is the folder under the ``secrets`` directory, ``variable`` the environment variable that holds a
    key instead, and ``label`` keeps the ids of two purposes apart.
    """

    def __init__(self, ring: str, variable: str, label: bytes) -> None:
        self._ring = ring
        self._variable = variable
        self._label = label
        self._known: dict[tuple[str, str], tuple[tuple[int, ...], bytes]] = {}

    def __repr__(self) -> str:
        return f"<Keyring {self._ring}>"

    def key_id(self, key: bytes) -> str:
        """The id of a key: 16 hexadecimal digits that do not reveal it."""
        from hashlib import sha256

        return sha256(self._label + b"\0" + key).hexdigest()[:16]

    def _folder(self) -> Path:
        # Imported late, since most processes sign nothing and need no directory.
        from laila.directories import directory

        folder = directory("secrets") / self._ring
        folder.mkdir(mode=0o700, exist_ok=True)
        for path in (folder.parent, folder):
            keyfiles.check(path, os.stat(path), self._ring)
        return folder

    def _from_environment(self) -> bytes | None:
        text = os.environ.get(self._variable)
        if not text:
            return None
        try:
            return parse_key(text)
        except SecretError as error:
            raise SecretError(f"{self._variable}: {error}", name=self._ring) from None

    def find(self, key_id: str) -> bytes | None:
        """The key of that id, or None when it is not here.

        Raises :class:`SecretError` for an unreadable one.
        """
        from_environment = self._from_environment()
        if from_environment is not None and self.key_id(from_environment) == key_id:
            return from_environment
        if not _is_id(key_id):
            return None
        folder = self._folder()
        if self._is_revoked(folder, key_id):
            raise SecretError(
                f"the key {key_id} was revoked here: what it protects is refused. If that was a mistake: "
                f"laila keys revoke --undo {key_id}",
                name=self._ring,
                key_id=key_id,
            )
        # A key whose file was taken away or replaced, in whichever process, is trusted no longer.
        try:
            result = os.lstat(folder / f"{key_id}.key")
        except OSError:
            return None
        place, version = (
            (str(folder), key_id),
            (result.st_ino, result.st_mtime_ns, result.st_mode, result.st_uid),
        )
        known = self._known.get(place)
        if known is None or known[0] != version:
            key = self._read(folder, key_id)
            if key is None:
                return None
            known = self._known[place] = (version, key)
        return known[1]

    def is_revoked(self, key_id: str) -> bool:
        """Whether a key was revoked here. A key that the environment variable gives counts as not revoked."""
        given = self._from_environment()
        if not _is_id(key_id) or (given is not None and self.key_id(given) == key_id):
            return False
        return self._is_revoked(self._folder(), key_id)

    @staticmethod
    def _is_revoked(folder: Path, key_id: str) -> bool:
        return os.path.lexists(folder / f"{key_id}.revoked")

    def holds(self, key_id: str) -> bool:
        """Whether the file of a key is here, revoked or not."""
        return bool(_is_id(key_id)) and os.path.lexists(self._folder() / f"{key_id}.key")

    def revoke(self, key_id: str) -> str | None:
        """Refuse from now on what a key signed or encrypted. The key's file stays.

        Returns the id of the key that was made in its place, if it was the active one. Raises
        :class:`SecretError` for a key that is not here.
        """
        folder = self._folder()
        if not self.holds(key_id):
            raise self._unknown(key_id)
        made = self.new() if self._active(folder) == key_id else None
        if not self._is_revoked(folder, key_id):
            self._create(folder / f"{key_id}.revoked", key_id)
        return made

    def restore(self, key_id: str) -> None:
        """Take a revocation back. Raises :class:`SecretError` for a key that was not revoked."""
        if not self.is_revoked(key_id):
            raise SecretError(
                f"{shown(key_id) if _is_id(key_id) else 'this'} is no key that was revoked here",
                name=self._ring,
            )
        (self._folder() / f"{key_id}.revoked").unlink(missing_ok=True)

    def _read(self, folder: Path, key_id: str) -> bytes | None:
        try:
            text = keyfiles.read(folder / f"{key_id}.key", self._ring)
        except FileNotFoundError:
            return None
        except SecretError:
            raise
        except (OSError, UnicodeDecodeError) as error:
            raise SecretError(
                f"the key {key_id} in {folder} cannot be read: {error}", name=self._ring
            ) from error
        key = bytes.fromhex(text) if _is_hex(text.strip()) else b""
        if self.key_id(key) != key_id:
            raise SecretError(
                f"the file of the key {key_id} in {folder} does not hold that key; restore it, or remove it",
                name=self._ring,
            )
        return key

    def current(self) -> tuple[str, bytes]:
        """The id and the key to sign or encrypt with, made at first need. Raises :class:`SecretError`."""
        from_environment = self._from_environment()
        if from_environment is not None:
            return self.key_id(from_environment), from_environment
        folder = self._folder()
        key_id = self._active(folder)
        if key_id is None:
            key_id = self._first(folder)
        key = self.find(key_id)
        if key is None:
            raise SecretError(
                f"{folder / 'active'} names the key {key_id}, which is not there; import it again "
                "(laila keys import) or make another (laila keys new)",
                name=self._ring,
            )
        return key_id, key

    def _active(self, folder: Path) -> str | None:
        try:
            text = keyfiles.read(folder / "active", self._ring, private=False).strip()
        except FileNotFoundError:
            return None
        except SecretError:
            raise
        except (OSError, UnicodeDecodeError) as error:
            raise SecretError(f"{folder / 'active'} cannot be read: {error}", name=self._ring) from error
        if not _is_id(text):
            raise SecretError(f"{folder / 'active'} does not name a key; remove it", name=self._ring)
        return text

    def _first(self, folder: Path) -> str:
        """Make the first key.

        If several processes do so at once, all use the key that was linked first.
        """
        key = os.urandom(KEY_BYTES)
        key_id = self.key_id(key)
        self._write(folder, key_id, key)
        if self._link(folder, key_id):
            return key_id
        (folder / f"{key_id}.key").unlink(missing_ok=True)
        winner = self._active(folder)
        if winner is None:
            raise SecretError(
                f"{folder / 'active'} came and went while a key was made; try again", name=self._ring
            )
        return winner

    def _link(self, folder: Path, key_id: str) -> bool:
        """Name the active key unless one is named already; whole or not at all."""
        scratch = folder / f".active-{os.urandom(8).hex()}"
        self._create(scratch, key_id)
        try:
            os.link(scratch, folder / "active")
        except FileExistsError:
            return False
        except OSError as error:
            raise SecretError(f"{folder / 'active'} cannot be made: {error}", name=self._ring) from error
        finally:
            scratch.unlink(missing_ok=True)
        return True

    def _create(self, path: Path, text: str) -> None:
        try:
            number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(number, "w", encoding="ascii") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(number)
        except OSError as error:
            raise SecretError(
                f"{path.parent} cannot be written ({error}); set another directory "
                f"(laila.set_default_directory) or {self._variable}",
                name=self._ring,
            ) from error

    def _write(self, folder: Path, key_id: str, key: bytes) -> None:
        scratch = folder / f".{key_id}-{os.urandom(8).hex()}"
        self._create(scratch, key.hex())
        os.replace(scratch, folder / f"{key_id}.key")

    def list(self) -> list[dict[str, object]]:
        """Every key as ``{"id", "active", "revoked", "source", "name"}``, never the key itself."""
        result: list[dict[str, object]] = []
        from_environment = self._from_environment()
        if from_environment is not None:
            result.append(
                {
                    "id": self.key_id(from_environment),
                    "active": True,
                    "revoked": False,
                    "source": self._variable,
                    "name": None,
                }
            )
        folder = self._folder()
        active = self._active(folder)
        for path in sorted(folder.glob("*.key")):
            if _is_id(path.stem):
                label = path.with_suffix(".name")
                name = label.read_text("utf-8").strip() if label.exists() else None
                current = from_environment is None and path.stem == active
                result.append(
                    {
                        "id": path.stem,
                        "active": current,
                        "revoked": self._is_revoked(folder, path.stem),
                        "source": str(path),
                        "name": name,
                    }
                )
        return result

    def new(self, name: str | None = None) -> str:
        """Make a key, use it from now on, and return its id. ``name`` is a note for people."""
        folder = self._folder()
        key = os.urandom(KEY_BYTES)
        key_id = self.key_id(key)
        self._write(folder, key_id, key)
        if name is not None:
            (folder / f"{key_id}.name").write_text(name + "\n", "utf-8")
        scratch = folder / f".active-{os.urandom(8).hex()}"
        self._create(scratch, key_id)
        os.replace(scratch, folder / "active")
        return key_id

    def export(self, key_id: str) -> str:
        """The key as text, for :meth:`import_text` elsewhere.

        Raises :class:`SecretError` when it is not here.
        """
        key = self.find(key_id)
        if key is None:
            raise self._unknown(key_id)
        return f"{_EXPORTED} {key_id} {key.hex()}"

    def _unknown(self, key_id: str) -> SecretError:
        here = ", ".join(str(entry["id"]) for entry in self.list()) or "none"
        # A wrong id may be a key, given by mistake.
        which = shown(key_id) if _is_id(key_id) else "of such an id"
        return SecretError(f"there is no key {which} here; known: {here}", name=self._ring)

    def import_text(self, text: str) -> str:
        """Keep a key that :meth:`export` gave elsewhere, for verifying; return its id.

        Takes what was exported, or 64 or more hexadecimal digits, and nothing else beside it. Raises
        :class:`SecretError` for any other text, and for a key that was changed on the way.
        """
        text = text.strip()
        exported = _is_exported(text)
        if not exported and not _is_hex(text):
            raise SecretError(
                f"this is no key of laila: that is one line, `{_EXPORTED} <id> <hexadecimal digits>`, as "
                "`laila keys export` prints it. Nothing was imported",
                name=self._ring,
            )
        key = parse_key(text)
        key_id = self.key_id(key)
        if exported and exported[1] != key_id:
            raise SecretError(
                f"this key is not the one that it says, {exported[1]}: it was changed on the way, or is for "
                "another purpose. Export it again. Nothing was imported",
                name=self._ring,
            )
        folder = self._folder()
        if self._is_revoked(folder, key_id):
            raise SecretError(
                f"the key {key_id} was revoked here. Nothing was imported", name=self._ring, key_id=key_id
            )
        self._write(folder, key_id, key)
        return key_id


signing_keys = Keyring("keys", "LAILA_SECRET_KEY", b"laila signing key")
"""The keys that sign payloads that need code."""
encryption_keys = Keyring("encryption", "LAILA_ENCRYPTION_KEY", b"laila encryption key")
"""The keys that the aes-gcm transformation uses unless it gets a key."""


def is_encryption_key(text: str) -> bool:
    """Whether an exported key says that it is one that encrypts."""
    exported = _is_exported(text.strip())
    return exported is not None and encryption_keys.key_id(bytes.fromhex(exported[2])) == exported[1]


def list_keys() -> list[dict[str, object]]:
    """The signing keys known here: id, whether it signs, where it comes from, its name."""
    return signing_keys.list()


def new_key(name: str | None = None) -> str:
    """Make a signing key, sign with it from now on, and return its id."""
    return signing_keys.new(name)


def export_key(key_id: str) -> str:
    """The text of a signing key. Raises :class:`SecretError` when it is not here."""
    return signing_keys.export(key_id)


def import_key(text: str) -> str:
    """Keep a signing key exported elsewhere, so that what it signed is trusted here; return its id."""
    return signing_keys.import_text(text)


CODE_KEY = "code"
"""What a blob of code is filed under that is sent to be run: the id of no entry."""
_VALUE, _CODE = b"laila blob signature 1\0", b"laila code signature 1\0"


def _mac(key: bytes, blob: Blob, key_id: str) -> bytes:
    import hmac

    # A stored value with a signature, for example a function, is not signed as code to run.
    state = hmac.new(key, _CODE if blob.key == CODE_KEY else _VALUE, "sha256")
    for part in blob.signed_parts(key_id):
        state.update(part)
    return state.digest()


_told: set[type] = set()


def sign_blob(blob: Blob, types: Mapping[type, str]) -> None:
    """Sign ``blob``, and log once per type why that was needed."""
    key_id, key = signing_keys.current()
    blob.signature = (key_id, _mac(key, blob, key_id))
    for kind, how in types.items():
        if kind not in _told:
            from laila.codec.advice import remedy

            _told.add(kind)
            from laila.showing import logger

            logger("laila.codec").warning(
                "%s.%s is stored %s, signed with the key %s: it is remembered only where that key is "
                "known. %s.",
                kind.__module__,
                kind.__qualname__,
                how,
                key_id,
                remedy(kind, how),
            )


def verify_blob(blob: Blob) -> bool:
    """Whether the signature of ``blob`` is by a key known here.

    Raises:
        UntrustedPayloadError: the key was revoked; or it is known and the signature is not its own: the blob
            was changed.
    """
    if blob.signature is None:
        return False
    key_id, mac = blob.signature
    if signing_keys.is_revoked(key_id):
        raise UntrustedPayloadError(
            f"{blob.key} was signed with the key {key_id}, which was revoked here. Nothing was imported or "
            "run",
            key_id=key_id,
            type_name=None,
        )
    key = signing_keys.find(key_id)
    if key is None:
        return False
    import hmac

    if not hmac.compare_digest(_mac(key, blob, key_id), mac):
        raise UntrustedPayloadError(
            f"the signature of {blob.key} does not verify with the key {key_id}: the blob was changed "
            "after it was "
            "signed. Nothing was imported or run",
            key_id=key_id,
            type_name=None,
        )
    return True
