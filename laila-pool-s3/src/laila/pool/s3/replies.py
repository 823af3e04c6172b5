"""Read the meaning of a failed request from the client's exception.

The client has a class for some failures and text for the others: the HTTP status, S3's XML, or the kind of
network fault, all in one string. That string may also quote the input of a signature. This module reads the
string, and passes on only the status, the service's code and its message.
"""

from __future__ import annotations

import re
from enum import Enum
from html import unescape
from typing import NamedTuple

from laila.pool.s3.library import library
from laila.pool.s3.redirects import NOWHERE

__all__ = ["Kind", "Reply", "read_reply"]


class Kind(Enum):
    """The kinds of failures that need different reactions."""

    MISSING = "missing"
    """The object is not there."""
    EXISTS = "exists"
    """The object is there already."""
    CONFLICT = "conflict"
    """Somebody else is writing the object at this moment: may succeed later."""
    RANGE = "range"
    """The object is shorter than the requested range."""
    NO_BUCKET = "no bucket"
    CREDENTIALS = "credentials"
    DENIED = "denied"
    REGION = "region"
    ELSEWHERE = "elsewhere"
    """A redirect to another host, which is not followed."""
    SLOW_DOWN = "slow down"
    SERVER = "server"
    """The service's own fault: may succeed later."""
    FULL = "full"
    UNSUPPORTED = "unsupported"
    TIMEOUT = "timeout"
    NETWORK = "network"
    """No connection, or a broken connection."""
    UNREADABLE = "unreadable"
    """An answer to DeleteObjects that the client cannot read."""
    UNSAID = "unsaid"
    """404, without a word about what is missing."""
    NAME = "name"
    """The client cannot take the object's name, for example because of a line break."""
    OTHER = "other"


RETRIED = frozenset({Kind.CONFLICT, Kind.SLOW_DOWN, Kind.SERVER, Kind.TIMEOUT, Kind.NETWORK})
"""The kinds that may succeed later."""


class Reply(NamedTuple):
    """A failure: its kind, and what the service said, if it did."""

    kind: Kind
    status: int | None = None
    code: str | None = None
    message: str = ""


_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>\s*([\w.-]{1,80})\s*</Code>")
_MESSAGE = re.compile(r"<Message>([^<]{0,2000})</Message>")
_DELETE = "DeleteObjects request failed for key "
_DELETE_CODE = re.compile(r" \(code: ([\w.-]{1,80})\)")
_HTTP_KIND = re.compile(r"kind: (Connect|Request|Timeout|Interrupted|Decode|Unknown|Body)\b")
_NETWORK_WORDS = (
    ("dns error", "its name is unknown"),
    ("ConnectionRefused", "it refuses connections"),
    ("InvalidCertificate", "its certificate is not trusted (ca_bundle= names an authority)"),
    ("NetworkUnreachable", "there is no way to it"),
    ("HostUnreachable", "there is no way to it"),
)
_LONGEST = 16 * 1024
_ADDRESS = re.compile(r"Error performing [A-Z]+ (\S+)")

_BY_CODE = {
    **dict.fromkeys(("NoSuchKey", "BlobNotFound"), Kind.MISSING),
    **dict.fromkeys(("NoSuchBucket", "ContainerNotFound", "InvalidBucketName"), Kind.NO_BUCKET),
    **dict.fromkeys(
        (
            "SignatureDoesNotMatch",
            "InvalidAccessKeyId",
            "InvalidToken",
            "ExpiredToken",
            "TokenRefreshRequired",
            "RequestTimeTooSkewed",
            "InvalidSecurity",
            "AuthFailure",
            "MissingSecurityHeader",
            "AuthenticationFailed",
            "InvalidAuthenticationInfo",
        ),
        Kind.CREDENTIALS,
    ),
    **dict.fromkeys(("PermanentRedirect", "AuthorizationHeaderMalformed"), Kind.REGION),
    **dict.fromkeys(("AccessDenied", "AllAccessDisabled", "AccountProblem", "MethodNotAllowed"), Kind.DENIED),
    **dict.fromkeys(
        (
            "SlowDown",
            "SlowDownRead",
            "SlowDownWrite",
            "Throttling",
            "ThrottlingException",
            "RequestLimitExceeded",
            "TooManyRequests",
            "ServiceUnavailable",
            "ServerBusy",
        ),
        Kind.SLOW_DOWN,
    ),
    **dict.fromkeys(("InternalError", "RequestTimeout", "OperationTimedOut"), Kind.SERVER),
    **dict.fromkeys(("ConditionalRequestConflict", "OperationAborted"), Kind.CONFLICT),
    **dict.fromkeys(("QuotaExceeded", "XMinioStorageFull", "InsufficientStorage"), Kind.FULL),
    **dict.fromkeys(("NotImplemented", "XNotImplemented"), Kind.UNSUPPORTED),
    "InvalidRange": Kind.RANGE,
    "PreconditionFailed": Kind.EXISTS,
}  # fmt: skip

_BY_STATUS = {
    **dict.fromkeys((301, 302, 303, 307, 308), Kind.REGION),
    401: Kind.CREDENTIALS,
    403: Kind.DENIED,
    404: Kind.UNSAID,
    408: Kind.SERVER,
    409: Kind.EXISTS,
    412: Kind.EXISTS,
    416: Kind.RANGE,
    429: Kind.SLOW_DOWN,
    501: Kind.UNSUPPORTED,
    503: Kind.SLOW_DOWN,
    507: Kind.FULL,
}


def read_reply(error: BaseException, bucket: str) -> Reply:
    """Read the client's error about a request to ``bucket``, or about a request for credentials."""
    text = str(error)
    if isinstance(error, library().InvalidPathError):
        return Reply(Kind.NAME, message=text.partition("\n\nDebug source:")[0][:300])
    # The first part is for people and holds each fact once. The second part repeats it as the client's own
    # structures.
    shown, _, structures = text.partition("\n\nDebug source:")
    # A service may answer any length: this searches only as much as a person would read.
    shown, structures = shown[:_LONGEST], structures[:_LONGEST]
    status = int(match[1]) if (match := _STATUS.search(shown)) else None
    code = match[1] if (match := _CODE.search(shown)) else None
    message = unescape(match[1]) if (match := _MESSAGE.search(shown)) else ""
    # One error for each object: the first one is enough. Key, message and code are on one line.
    refused = shown.partition(_DELETE)[2].partition("\n")[0]
    if refused and (match := _DELETE_CODE.search(refused)):
        message, code = refused[: match.start()].partition(": ")[2], match[1]
    message = " ".join(message.split())[:300]
    if "redirect without LOCATION" in shown:
        return Reply(Kind.REGION, 301, "PermanentRedirect")
    if (match := _ADDRESS.search(shown)) and bucket not in match[1]:
        return Reply(Kind.CREDENTIALS, status, code, message or "the keys of the role could not be fetched")
    if "Got invalid DeleteObjects response" in shown:
        return Reply(Kind.UNREADABLE, status, code)
    if code is not None and code in _BY_CODE:
        return Reply(_BY_CODE[code], status, code, message)
    if status is not None:
        kind = _BY_STATUS.get(status, Kind.SERVER if status >= 500 else Kind.OTHER)
        return Reply(kind, status, code, message)
    if code is not None:
        return Reply(Kind.OTHER, None, code, message)
    network = _HTTP_KIND.search(structures)
    if network is None or network[1] in ("Decode", "Unknown"):
        return Reply(Kind.OTHER, message=shown[:300])
    if f"{NOWHERE}," in structures:
        return Reply(Kind.ELSEWHERE)
    if network[1] == "Timeout":
        return Reply(Kind.TIMEOUT)
    said = next((meaning for word, meaning in _NETWORK_WORDS if word in structures), "the connection broke")
    return Reply(Kind.NETWORK, message=said)
