"""TLS for connections: contexts from files, and the certificate that binds a handshake to its channel."""

from __future__ import annotations

import hashlib
import ssl
from contextlib import suppress

from laila.errors import SettingsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import PathLike

    Path = str | PathLike[str]

__all__ = ["channel_of_client", "channel_of_server", "client_context", "server_context"]


def _reason(error: OSError) -> str:
    """Return the reason without the file's name: that may be a key, given here by mistake."""
    return (
        error.reason or "the file cannot be read" if isinstance(error, ssl.SSLError) else error.strerror or ""
    )


def server_context(certificate: Path, private_key: Path | None) -> ssl.SSLContext:
    """Return a context for a listener. Raises :class:`SettingsError` for files that are not valid."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, private_key)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"certificate= and private_key= are no PEM files of a certificate and its key: {_reason(error)}",
            option="certificate",
        ) from None
    return context


def client_context(authorities: Path | None) -> ssl.SSLContext:
    """Return a context that verifies the other side, by the system's authorities or those in a PEM file."""
    try:
        return ssl.create_default_context(cafile=authorities)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"authorities= is no PEM file of certificates: {_reason(error)}",
            option="authorities",
        ) from None


def channel_of_server(context: ssl.SSLContext) -> bytes:
    """Return the SHA-256 of the certificate that ``context`` shows (``tls-server-end-point``, RFC 5929).

    A context does not give out its certificate. So this asks for it like a client does: by a handshake, in
    memory.
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    stranger.check_hostname = False
    stranger.verify_mode = ssl.CERT_NONE
    client = stranger.wrap_bio(to_client, to_server)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(10):
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            pass
        else:
            shown = client.getpeercert(binary_form=True)
            if shown is not None:
                return hashlib.sha256(shown).digest()
        # It wants to read; or it wants a certificate of the client's, but has shown its own by now.
        with suppress(ssl.SSLError):
            server.do_handshake()
    raise SettingsError(
        "the TLS context of the listener shows no certificate to bind handshakes to; give another context, "
        "or channel_binding=False on both sides",
        option="ssl_context",
    )


def channel_of_client(connection: object) -> bytes:
    """Return the SHA-256 of the certificate that a client sees; empty without TLS."""
    if not isinstance(connection, (ssl.SSLObject, ssl.SSLSocket)):
        return b""
    shown = connection.getpeercert(binary_form=True)
    return b"" if shown is None else hashlib.sha256(shown).digest()
