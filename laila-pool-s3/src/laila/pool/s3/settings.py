"""The options of the pool."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from laila.contract import Settings, option, shown, shown_url
from laila.errors import SettingsError

if TYPE_CHECKING:
    from typing import Any

__all__ = ["MIB", "S3Settings", "check_bucket", "check_endpoint", "check_prefix"]

MIB = 1024 * 1024
_REGION = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")
_BUCKET = re.compile(r"(?:[A-Za-z0-9_-]{0,128}:)?[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_LONGEST_PREFIX = 512  # of S3's 1,024 bytes for a name; the rest of a name needs less than 300


def check_bucket(name: str, *, in_host: bool) -> None:
    """Raise ``SettingsError`` if ``name`` cannot be a bucket's name, and could make another URL or host."""
    # Ceph writes a tenant before a colon.
    if not _BUCKET.fullmatch(name) or ".." in name or (in_host and ":" in name):
        raise SettingsError(
            f"{shown(name)} is no name of a bucket: that is letters, digits, dots, hyphens and underscores",
            option="bucket_name",
        )


def check_prefix(value: str) -> None:
    """Raise ``ValueError`` if object names cannot begin with ``value``."""
    segments = value.strip("/").split("/") if value.strip("/") else []
    if any(segment in ("", ".", "..") for segment in segments):
        raise ValueError(
            f"{shown(value)} has an empty segment, or `.` or `..`, which object names cannot have"
        )
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError(f"{shown(value)} has a control character")
    if len(value.encode()) > _LONGEST_PREFIX:
        raise ValueError(f"it has {len(value.encode())} bytes; {_LONGEST_PREFIX} is the most")


def _at_least(least: float) -> Any:
    def check(settings: object, field: Any, value: float) -> None:
        if not value >= least:
            raise ValueError(f"{shown(value)} is less than {least}")

    return check


def _service(url: str | None) -> object:
    """Return the service at an endpoint: credentials belong to it."""
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:  # nothing can be reached by such a URL
        return url


def _region(settings: object, field: Any, value: str | None) -> None:
    # It becomes a part of AWS's host names; a slash in it would make another host.
    if value is not None and not _REGION.fullmatch(value):
        raise ValueError("a region is letters, digits and hyphens, such as eu-central-1")


class S3Settings(Settings):
    """The options of :class:`S3Pool`."""

    prefix = "s3"

    bucket_name: str = option(printed=True, help="the bucket, which must be there")
    key_prefix: str = option(
        printed=True,
        default="",
        arg="s3.prefix",
        env="LAILA_S3_PREFIX",
        help="the beginning of the pool's object names, such as `team/results`; `prefix=` in a call",
        validator=lambda settings, field, value: check_prefix(value),
    )
    access_key_id: str | None = option(
        default=None, secret=True, help="with `secret_access_key`; else a profile or the `AWS_*` variables"
    )
    secret_access_key: str | None = option(default=None, secret=True, help="the key that signs requests")
    session_token: str | None = option(default=None, secret=True, help="the token of temporary keys")
    profile_name: str | None = option(
        printed=True,
        default=None,
        from_data=False,
        help="a profile of the AWS files, which then comes before the `AWS_*` variables",
    )
    anonymous: bool = option(printed=True, default=False, help="do not sign requests: for public buckets")
    region_name: str | None = option(
        default=None,
        validator=_region,
        shown="the profile's, or `us-east-1`",
        env=("LAILA_S3_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION"),
        help="the region of the bucket",
    )
    endpoint_url: str | None = option(
        default=None,
        binds=_service,
        shown="the profile's, or AWS",
        env=("LAILA_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
        help="the service, such as `https://minio.example.org`",
    )
    virtual_hosted: bool = option(
        printed=True,
        default=False,
        help="put the bucket into the host's name, for services that want it there",
    )
    ca_bundle: str | None = option(
        default=None,
        binds=lambda file: file,
        env=("LAILA_S3_CA_BUNDLE", "AWS_CA_BUNDLE"),
        help="a PEM file of certificate authorities to trust beside the system's",
    )
    conditional_create: bool = option(
        printed=True,
        default=True,
        help="false for a service without `If-None-Match` on PUT: creating is atomic in one process alone",
    )
    bulk_delete: bool = option(printed=True, default=True, help="false for a service without DeleteObjects")
    concurrency: int = option(
        printed=True,
        default=32,
        help="the most requests of one call at a time",
        validator=_at_least(1),
    )
    part_bytes: int = option(
        printed=True,
        default=16 * MIB,
        help="blobs of more than four parts of this size are read, and written over others, in parts",
        validator=_at_least(5 * MIB),
    )
    timeout: float = option(
        printed=True,
        default=20.0,
        help="seconds that one try of a request may take, and four more for each MiB that it carries",
        validator=_at_least(0.1),
    )
    retries: int = option(
        printed=True,
        default=8,
        help="how often a request that may succeed later is tried again",
        validator=_at_least(0),
    )
    deadline: float = option(
        printed=True,
        default=90.0,
        help="seconds until a request is given up, all tries together",
        validator=_at_least(0.1),
    )
    allow_http: bool = option(
        printed=True,
        default=False,
        binds=lambda allowed: allowed,
        help="whether the endpoint may be plain http and not on this machine",
    )

    @property
    def large_bytes(self) -> int:
        """Larger blobs are sent in parts; below this size the overhead of parts is more than the gain."""
        return 4 * self.part_bytes


def check_endpoint(url: str, *, allow_http: bool) -> None:
    """Raise ``SettingsError`` if ``url`` is not an endpoint, or would send payloads in the clear."""
    if "@" in url:
        raise SettingsError(
            "endpoint_url holds no user and password: give access_key_id= and secret_access_key=",
            option="endpoint_url",
        )
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise SettingsError(
            f"endpoint_url {shown_url(url)} is not of the form https://host:port", option="endpoint_url"
        )
    if parts.scheme == "http" and not allow_http and not _is_loopback(parts.hostname):
        raise SettingsError(
            f"endpoint_url {shown_url(url)} is plain http: what is stored would cross the network for all to "
            "read and to change; use https, or pass allow_http=True where the network is trusted",
            option="endpoint_url",
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
