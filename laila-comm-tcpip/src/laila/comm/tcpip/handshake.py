"""The handshake as pure objects: each side proves that it knows the secret, and who it is. Does no I/O.

Two messages each way: JSON-RPC calls of ``laila.hello`` and ``laila.authenticate``, and their answers. The
secret is stretched by scrypt under a salt of the listener's; what crosses is an HMAC-SHA-256 (RFC 2104,
FIPS 180-4) under the stretched key over all that both sides said: version, nonces, salt, ids, identity keys,
and the channel. The client proves first: a stranger who connects learns nothing that would let them test a
guess.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import NamedTuple

from laila.comm.tcpip.limits import Offer
from laila.comm.tcpip.messages import BadMessage, Code, dump, load
from laila.contract import ROLES, is_policy_id, said, shown
from laila.errors import PeerError, PeerRefusedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from laila.comm.tcpip.identity import Identity
    from laila.contract import Role

__all__ = ["VERSIONS", "ClientHandshake", "Refused", "ServerHandshake", "Verified", "Welcome", "stretch"]

VERSIONS = (1,)
HELLO, AUTHENTICATE = "laila.hello", "laila.authenticate"
MAX_TEXT = 16 * 1024
"""The longest message of a handshake, in characters."""
_NONCE_BYTES = _SALT_BYTES = _PROOF_BYTES = _IDENTITY_BYTES = 32
_SIGNATURE_BYTES = 64
_MAX_ID = 512


def stretch(secret: str, salt: bytes) -> bytes:
    """Return the key of 32 bytes for a secret: scrypt (RFC 7914), N = 2**15, r = 8, p = 1.

    Takes a tenth of a second and 32 MiB. The version fixes the parameters, so no peer can weaken them.
    """
    return hashlib.scrypt(
        secret.encode("utf-8", "surrogatepass"), salt=salt, n=2**15, r=8, p=1, maxmem=2**26, dklen=32
    )


class Refused(Exception):
    """The handshake failed. ``answer`` goes to the other side; ``secret`` says that its secret was wrong."""

    def __init__(self, reason: str, answer: str, *, secret: bool = False) -> None:
        super().__init__(reason)
        self.answer = answer
        self.secret = secret


class Verified(NamedTuple):
    """The client that has connected. ``policy`` is None for a client without a policy."""

    policy: str | None
    identity: bytes
    role: Role
    offer: Offer
    answer: str


class Welcome(NamedTuple):
    """The listener that this side has connected to."""

    policy: str
    identity: bytes
    role: Role
    offer: Offer
    instance: str


class _Transcript:
    """All parts of the conversation, each after its length: no two conversations give the same bytes."""

    def __init__(self, parts: Sequence[bytes]) -> None:
        self._bytes = b"".join(len(part).to_bytes(4, "big") + part for part in (b"laila peers", *parts))

    def proof(self, key: bytes, who: bytes, more: bytes = b"") -> bytes:
        return hmac.digest(key, self.said_by(who, more), "sha256")

    def said_by(self, who: bytes, more: bytes = b"") -> bytes:
        return who + b"\0" + self._bytes + more


def _fields(text: str, member: str) -> tuple[object, dict[str, object], object]:
    """Return the id, the object ``member``, and the method of a message. Raises :class:`BadMessage`."""
    if len(text) > MAX_TEXT:
        raise BadMessage("a message of the handshake is too long", fatal=True)
    tree = load(text, 8)
    if type(tree) is not dict or tree.get("jsonrpc") != "2.0":
        raise BadMessage("this is no JSON-RPC 2.0 message")
    error = tree.get("error")
    if type(error) is dict and member == "result":
        code = error.get("code")
        message = str(error.get("message", ""))[:500]
        if code == Code.REFUSED:
            raise PeerRefusedError(f"the peer refused: {message}", peer="")
        raise PeerError(f"the peer ended the handshake: {message}", peer="")
    fields = tree.get(member)
    if type(fields) is not dict:
        raise BadMessage(f"a message of the handshake has an object as its {member}")
    number = tree.get("id")
    if type(number) not in (int, str):
        raise BadMessage("a message of the handshake has an id")
    return number, fields, tree.get("method")


def _bytes(fields: dict[str, object], name: str, size: int, *, optional: bool = False) -> bytes:
    value = fields.get(name)
    if value is None and optional:
        return b""
    if type(value) is not str or len(value) != 2 * size:
        raise BadMessage(f"{name} is {size} bytes in hexadecimal digits")
    try:
        return bytes.fromhex(value)
    except ValueError:
        raise BadMessage(f"{name} is {size} bytes in hexadecimal digits") from None


def _policy(fields: dict[str, object], *, optional: bool = False) -> str | None:
    value = fields.get("policy")
    if value is None and optional:
        return None
    if type(value) is not str or len(value) > _MAX_ID:
        raise BadMessage("policy is a global id")
    if not is_policy_id(value):
        raise BadMessage("policy is a global id of a policy")
    return value


class ServerHandshake:
    """The listener's side. ``keys`` are the stretched secrets with the roles they grant; used once."""

    def __init__(
        self,
        policy: str,
        identity: Identity,
        salt: bytes,
        keys: Sequence[tuple[bytes, Role]],
        *,
        channel: bytes = b"",
        limits: dict[str, int],
        instance: str,
    ) -> None:
        self._policy = policy
        self._identity = identity
        self._salt = salt
        self._keys = keys
        self._channel = channel
        self._limits = limits
        self._instance = instance
        self._nonce = secrets.token_bytes(_NONCE_BYTES)
        self._transcript: _Transcript | None = None
        self._client: tuple[str | None, bytes] = (None, b"")

    def challenge(self, text: str) -> str:
        """Read ``laila.hello``; return the challenge. Raises :class:`Refused`."""
        try:
            number, params, method = _fields(text, "params")
            if method != HELLO:
                raise BadMessage(f"the first message is a call of {HELLO}", Code.NO_METHOD)
            offered = params.get("versions")
            if (
                type(offered) is not list
                or not 0 < len(offered) <= 32
                or not all(type(v) is int for v in offered)
            ):
                raise BadMessage("versions is a list of numbers")
            nonce = _bytes(params, "nonce", _NONCE_BYTES)
            policy = _policy(params, optional=True)
            identity = _bytes(params, "identity", _IDENTITY_BYTES, optional=policy is None)
        except BadMessage as bad:
            raise _refusal(bad) from None
        common = [version for version in VERSIONS if version in offered]
        if not common:
            spoken = ", ".join(map(str, VERSIONS))
            raise Refused(
                "no common version",
                _error(number, Code.NO_VERSION, f"no version in common: this side speaks {spoken}"),
            )
        version = max(common)
        self._client = (policy, identity)
        self._transcript = _Transcript(
            _said(version, offered, nonce, self._nonce, self._salt, policy or "", self._policy, identity,
                  self._identity.public, self._channel)
        )  # fmt: skip
        return dump(
            {
                "id": number,
                "result": {
                    "version": version,
                    "nonce": self._nonce.hex(),
                    "salt": self._salt.hex(),
                    "policy": self._policy,
                    "identity": self._identity.public.hex(),
                },
            }
        )

    def verify(self, text: str) -> Verified:
        """Read ``laila.authenticate``; return the client and the answer. Raises :class:`Refused`."""
        assert self._transcript is not None
        transcript, (policy, identity) = self._transcript, self._client
        try:
            number, params, method = _fields(text, "params")
            if method != AUTHENTICATE:
                raise BadMessage(f"the second message is a call of {AUTHENTICATE}", Code.NO_METHOD)
            proof = _bytes(params, "proof", _PROOF_BYTES)
            signature = _bytes(params, "signature", _SIGNATURE_BYTES, optional=policy is None)
            offer = Offer.read(params.get("limits"))
        except BadMessage as bad:
            raise _refusal(bad) from None
        except ValueError as error:
            raise _refusal(BadMessage(said(error), Code.INVALID_PARAMS)) from None
        granted: tuple[bytes, Role] | None = None
        for key, role in self._keys:  # tries all keys, so that the time shows nothing about which one it was
            if hmac.compare_digest(transcript.proof(key, b"client"), proof):
                granted = (key, role)
        if granted is None:
            raise Refused("wrong secret", _error(number, Code.REFUSED, "the secret is wrong"), secret=True)
        if policy is not None and not self._identity.verify(
            identity, signature, transcript.said_by(b"client")
        ):
            raise Refused(
                "bad signature", _error(number, Code.REFUSED, "the signature does not verify"), secret=True
            )
        if policy == self._policy:
            raise Refused("itself", _error(number, Code.REFUSED, "a policy is no peer of its own"))
        key, role = granted
        more = b"\0".join((role.encode(), self._instance.encode()))
        answer = dump(
            {
                "id": number,
                "result": {
                    "proof": transcript.proof(key, b"server", more).hex(),
                    "signature": self._identity.sign(transcript.said_by(b"server", more)).hex(),
                    "role": role,
                    "instance": self._instance,
                    "limits": self._limits,
                },
            }
        )
        return Verified(policy, identity, role, offer, answer)

    def refuse(self, text: str, reason: str) -> str:
        """Return the answer that refuses a verified client, for example one with another peer's id."""
        number, _, _ = _fields(text, "params")
        return _error(number, Code.REFUSED, reason)


class ClientHandshake:
    """The side that connects. ``policy`` is None for a client without a policy; used once."""

    def __init__(
        self, policy: str | None, identity: Identity, *, channel: bytes = b"", limits: dict[str, int]
    ) -> None:
        self._policy = policy
        self._identity = identity
        self._channel = channel
        self._limits = limits
        self._nonce = secrets.token_bytes(_NONCE_BYTES)
        self._transcript: _Transcript | None = None
        self._server: tuple[str, bytes] = ("", b"")
        self._key = b""

    @property
    def _public(self) -> bytes:
        return b"" if self._policy is None else self._identity.public

    def hello(self) -> str:
        """Return the first message."""
        params: dict[str, object] = {"versions": list(VERSIONS), "nonce": self._nonce.hex()}
        if self._policy is not None:
            params |= {"policy": self._policy, "identity": self._public.hex()}
        return dump({"id": 0, "method": HELLO, "params": params})

    def salt(self, text: str) -> bytes:
        """Read the challenge; return the salt that stretches the secret. Raises :class:`PeerError`."""
        try:
            _, result, _ = _fields(text, "result")
            version = result.get("version")
            nonce = _bytes(result, "nonce", _NONCE_BYTES)
            salt = _bytes(result, "salt", _SALT_BYTES)
            policy = _policy(result)
            identity = _bytes(result, "identity", _IDENTITY_BYTES)
        except BadMessage as bad:
            raise PeerError(f"this is no laila peer: {bad}", peer="") from None
        if type(version) is not int or version not in VERSIONS:
            raise PeerError(f"the peer chose the version {shown(version)}, which was not offered", peer="")
        assert policy is not None
        self._server = (policy, identity)
        mine, theirs = self._public, identity
        said = _said(
            version,
            VERSIONS,
            self._nonce,
            nonce,
            salt,
            self._policy or "",
            policy,
            mine,
            theirs,
            self._channel,
        )
        self._transcript = _Transcript(said)
        return salt

    def authenticate(self, key: bytes) -> str:
        """Return the second message, with the proof under the stretched secret."""
        assert self._transcript is not None
        self._key = key
        params: dict[str, object] = {
            "proof": self._transcript.proof(key, b"client").hex(),
            "limits": self._limits,
        }
        if self._policy is not None:
            params["signature"] = self._identity.sign(self._transcript.said_by(b"client")).hex()
        return dump({"id": 1, "method": AUTHENTICATE, "params": params})

    def welcome(self, text: str) -> Welcome:
        """Read the last message: the other side knows the secret, too. Raises :class:`PeerError`."""
        assert self._transcript is not None
        policy, identity = self._server
        try:
            _, result, _ = _fields(text, "result")
            proof = _bytes(result, "proof", _PROOF_BYTES)
            signature = _bytes(result, "signature", _SIGNATURE_BYTES)
            role, instance = result.get("role"), result.get("instance")
            offer = Offer.read(result.get("limits"))
        except (BadMessage, ValueError) as bad:
            raise PeerError(f"this is no laila peer: {said(bad)}", peer=policy) from None
        if role not in ROLES or type(instance) is not str or len(instance) > 64:
            raise PeerError("this is no laila peer: it grants no role", peer=policy)
        more = b"\0".join((str(role).encode(), instance.encode()))
        if not hmac.compare_digest(self._transcript.proof(self._key, b"server", more), proof):
            raise PeerRefusedError(
                "the other side does not know the secret: it is not whom you meant", peer=policy
            )
        if not self._identity.verify(identity, signature, self._transcript.said_by(b"server", more)):
            raise PeerRefusedError("the signature of the other side does not verify", peer=policy)
        return Welcome(policy, identity, role, offer, instance)


def _said(
    version: int, offered: Sequence[int], client_nonce: bytes, server_nonce: bytes, salt: bytes, client: str,
    server: str, client_identity: bytes, server_identity: bytes, channel: bytes,
) -> list[bytes]:  # fmt: skip
    return [
        str(version).encode(),
        ",".join(map(str, offered)).encode(),
        client_nonce,
        server_nonce,
        salt,
        client.encode(),
        server.encode(),
        client_identity,
        server_identity,
        channel,
    ]


def _error(number: object, code: int, message: str) -> str:
    return dump({"id": number, "error": {"code": code, "message": message}})


def _refusal(bad: BadMessage) -> Refused:
    return Refused(str(bad), _error(None, bad.code, str(bad)))
