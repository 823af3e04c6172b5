"""The options of :class:`~laila.comm.tcpip.DefaultTCPIPProtocol`."""

from __future__ import annotations

from ipaddress import ip_address

from laila.comm.tcpip.limits import Limits
from laila.comm.tcpip.room import most_of_one
from laila.contract import (
    Role,
    Settings,
    option,
    shown,
)
from laila.errors import SettingsError

__all__ = ["TCPIPSettings", "is_loopback"]


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches ``host``."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class TCPIPSettings(Settings):
    """The address, the secrets, and the limits for the other side."""

    prefix = "tcpip"

    host: str = option(default="127.0.0.1", binds=is_loopback, help="the address to listen at")
    port: int = option(
        printed=True, default=0, help="the TCP port; with 0 the system chooses, see `bound_port`"
    )
    peer_secret_key: str | None = option(
        default=None,
        secret=True,
        from_data=False,
        help="peers that know it may connect, with the role `write`",
    )
    secrets: dict[str, Role] | None = option(
        default=None, secret=True, from_data=False, help="several secrets, each with the role that it grants"
    )
    listen: bool = option(printed=True, default=True, help="false: connect to others, and serve no address")
    grants: Role = option(
        printed=True,
        default="write",
        binds=lambda role: role,
        help="the role here of peers that this side has connected to",
    )
    certificate: str | None = option(
        default=None, from_data=False, help="a PEM file: listen with TLS, as `wss://`"
    )
    private_key: str | None = option(
        default=None, from_data=False, help="the PEM file of its key, where the certificate's file has none"
    )
    authorities: str | None = option(
        default=None,
        binds=lambda file: file,
        help="a PEM file of authorities that verify other sides' certificates",
    )
    allow_plaintext: bool = option(
        printed=True,
        default=False,
        binds=lambda allowed: allowed,
        help="listen at an address that other machines reach, without TLS",
    )
    channel_binding: bool = option(
        printed=True,
        default=True,
        binds=lambda bound: bound,
        help="bind handshakes to the TLS certificate; false where a proxy ends TLS",
    )
    origins: list[str] = option(
        factory=list, binds=sorted, help="origins of web pages that may connect; without any, no browser can"
    )
    reconnect: bool = option(
        printed=True, default=True, help="connect again when a connection that this side made has broken"
    )
    retry_seconds: float = option(
        printed=True,
        default=0.0,
        help="seconds that a call whose connection broke waits for the next one, to be sent again: a read, "
        "or a write under an idempotency key; with 0 it fails at once",
    )
    connect_timeout: float = option(
        printed=True, default=10.0, help="seconds for a connection and its handshake"
    )
    request_timeout: float | None = option(
        printed=True, default=None, help="seconds after which a call is given up, on both sides"
    )
    heartbeat: float = option(
        printed=True, default=5.0, help="seconds of silence after which the other side is asked"
    )
    heartbeat_timeout: float = option(
        printed=True, default=15.0, help="seconds of silence after which a connection is given up"
    )
    max_connections: int = option(printed=True, default=1024, help="connections of others at a time")
    max_handshakes: int = option(
        printed=True,
        default=128,
        help="handshakes of one address at a time, and as many connections without a handshake; of all "
        "addresses twice as many",
    )
    max_message_bytes: int = option(
        printed=True, default=Limits().max_message_bytes, help="the blobs of one message"
    )
    max_json_bytes: int = option(
        printed=True, default=Limits().max_json_bytes, help="the JSON of one message"
    )
    max_depth: int = option(printed=True, default=Limits().max_depth, help="how deep JSON may nest")
    max_in_flight: int = option(
        printed=True, default=Limits().max_in_flight, help="calls of one peer that wait for their answer"
    )
    max_streams: int = option(
        printed=True, default=Limits().max_streams, help="messages with blobs that one peer sends at a time"
    )
    window_bytes: int = option(
        printed=True,
        default=Limits().window_bytes,
        help="how much of a stream is sent before the receiver has taken it",
    )
    max_buffered_bytes: int = option(
        printed=True,
        default=Limits().max_buffered_bytes,
        help="memory for messages of one peer that are not handled yet; at most a quarter of the machine's",
    )
    max_calls_per_second: float | None = option(
        printed=True, default=None, help="calls of one peer; calls of a faster peer are read more slowly"
    )

    def limits(self) -> Limits:
        """Collect the limits on what this side accepts: no more than the memory that this process can have.

        Returns:
            The limits, from the options and their defaults.
        """
        limits = Limits(*(getattr(self, name) for name in Limits._fields))
        most = most_of_one()
        return limits._replace(
            max_message_bytes=min(limits.max_message_bytes, most),
            max_buffered_bytes=max(min(limits.max_buffered_bytes, most), limits.window_bytes),
        )

    def roles(self) -> dict[str, Role]:
        """Collect the secrets that let peers in.

        Returns:
            Each secret, and the role that it grants.
        """
        roles: dict[str, Role] = dict(self.secrets or {})
        if self.peer_secret_key is not None:
            roles.setdefault(self.peer_secret_key, "write")
        return roles


_POSITIVE = (
    "connect_timeout",
    "heartbeat",
    "heartbeat_timeout",
    "max_buffered_bytes",
    "max_connections",
    "max_depth",
    "max_handshakes",
    "max_in_flight",
    "max_json_bytes",
    "max_message_bytes",
    "max_streams",
    "window_bytes",
    "request_timeout",
    "max_calls_per_second",
)


def check(settings: TCPIPSettings, *, tls: bool) -> None:
    """Raise :class:`SettingsError` for invalid options, and for options that do not fit together."""
    for name in _POSITIVE:
        value = getattr(settings, name)
        if value is not None and not value > 0:
            raise SettingsError(f"{name}={shown(value)}: give a number above 0", option=name)
    if settings.retry_seconds < 0:
        raise SettingsError(
            f"retry_seconds={shown(settings.retry_seconds)} is less than 0", option="retry_seconds"
        )
    if not 0 <= settings.port <= 65535:
        raise SettingsError(
            f"port={shown(settings.port)}: a TCP port is a number from 0 to 65535", option="port"
        )
    if settings.max_buffered_bytes < settings.window_bytes:
        raise SettingsError("max_buffered_bytes is less than window_bytes", option="max_buffered_bytes")
    if any(not secret for secret in settings.roles()):
        raise SettingsError("a secret is a text of at least one character", option="secrets")
    if not settings.listen:
        return
    if not settings.roles():
        raise SettingsError(
            "a listener needs a secret: peer_secret_key=… (python -c 'import secrets; "
            "print(secrets.token_hex())' makes one), or secrets={…: 'read'}; listen=False only connects",
            option="peer_secret_key",
        )
    if not tls and not settings.allow_plaintext and not is_loopback(settings.host):
        raise SettingsError(
            f"other machines reach host={shown(settings.host)}. Without TLS, everybody on the way can read "
            "and change the messages (the secret itself is never sent): give certificate= and "
            "private_key=, or an ssl_context=; or say allow_plaintext=True if you trust the network",
            option="host",
        )
