"""The errors of failed requests. They say what happened, where, and what to do, and show no secret."""

from __future__ import annotations

import re
from errno import ENOSPC
from typing import TYPE_CHECKING, NamedTuple

from laila.contract import shown
from laila.pool.s3.errors import (
    AccessDeniedError,
    BucketNotFoundError,
    CredentialsError,
    ObjectStoreError,
    SlowDownError,
    StalledError,
    UnreachableError,
)
from laila.pool.s3.replies import Kind, Reply

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Place", "failure"]


class Place(NamedTuple):
    """The place of a pool's objects, in words: for messages."""

    label: Callable[[], str]
    bucket: str
    endpoint: str
    credentials: str
    """Where the credentials come from."""
    secrets: tuple[str, ...] = ()
    """Texts that no message may hold."""

    @property
    def pool(self) -> str:
        """The present label of the pool: a policy may have renamed it since it was opened."""
        return self.label()

    def __repr__(self) -> str:
        return f"Place({self.pool!r}, {self.bucket!r}, {self.endpoint!r}, {self.credentials!r})"


_CLASSES = {
    Kind.NO_BUCKET: BucketNotFoundError,
    Kind.CREDENTIALS: CredentialsError,
    Kind.DENIED: AccessDeniedError,
    Kind.SLOW_DOWN: SlowDownError,
    Kind.TIMEOUT: StalledError,
    Kind.NETWORK: UnreachableError,
}

_CREDENTIALS = {
    "SignatureDoesNotMatch": "the secret access key is not that of the access key id",
    "InvalidAccessKeyId": "the access key id is unknown there",
    "ExpiredToken": "the credentials have expired; fetch new ones and open the pool again",
    "TokenRefreshRequired": "the credentials have expired; fetch new ones and open the pool again",
    "InvalidToken": "the session token is not that of the access key id, or has expired",
    "RequestTimeTooSkewed": "the clock of this machine is wrong: set it",
}


def failure(
    place: Place, verb: str, key: str | None, reply: Reply, tries: int, text: str
) -> ObjectStoreError:
    """Make the error for ``reply``; its cause is ``text``, the client's message, without secrets."""
    what = f"{verb} {key}" if key is not None else f"{verb} objects"
    again = f", {tries} times" if tries > 1 else ""
    said = f" ({reply.code})" if reply.code else f" (HTTP {reply.status})" if reply.status else ""
    message = (
        f"pool {shown(place.pool)} could not {what} in bucket {shown(place.bucket)} at "
        f"{place.endpoint}{again}: "
        f"{_meaning(place, reply)}{said}"
    )
    error = _CLASSES.get(reply.kind, ObjectStoreError)(
        _without(message, place.secrets),
        pool=place.pool,
        bucket=place.bucket,
        key=key,
        code=reply.code,
        status=reply.status,
    )
    if reply.kind is Kind.FULL:
        error.errno = ENOSPC
    error.__cause__ = RuntimeError(_scrubbed(text, place.secrets))
    return error


def _meaning(place: Place, reply: Reply) -> str:
    who = "the client library" if reply.status is None and reply.code is None else "the service"
    reason = f"{who} says {shown(reply.message)}" if reply.message else "the service does not say why"
    match reply.kind:
        case Kind.NO_BUCKET:
            return "there is no such bucket; make it, or correct bucket_name, region_name or endpoint_url"
        case Kind.CREDENTIALS:
            why = _CREDENTIALS.get(reply.code or "", reason)
            return f"{why}. The credentials came from {place.credentials}"
        case Kind.DENIED:
            return (
                "the credentials may not do this; the pool needs s3:GetObject, s3:PutObject, s3:DeleteObject "
                "and s3:ListBucket (without the last, a key that is not there is denied too). They came from "
                f"{place.credentials}; {reason}"
            )
        case Kind.REGION:
            expected = re.search(r"expecting '([\w-]+)'", reply.message)
            region = f"region_name={shown(expected[1])}" if expected else "region_name="
            return f"the bucket is in another region; pass {region}, or the endpoint_url that it is at"
        case Kind.ELSEWHERE:
            return (
                "the service redirects to another host, and redirects are not followed, as they could take "
                "what is secret along; correct endpoint_url or region_name"
            )
        case Kind.SLOW_DOWN:
            return "the service asks for fewer requests; lower concurrency=, or try again later"
        case Kind.SERVER:
            return f"the service failed; try again later. {reason[0].upper()}{reason[1:]}"
        case Kind.FULL:
            return f"there is no space left; {reason}"
        case Kind.UNSUPPORTED:
            return (
                "the service does not do this; where it lacks If-None-Match on PutObject pass "
                f"conditional_create=False, where it lacks DeleteObjects bulk_delete=False; {reason}"
            )
        case Kind.UNREADABLE:
            return (
                "the service's answer to DeleteObjects cannot be read; pass bulk_delete=False, which "
                "deletes one object a request"
            )
        case Kind.TIMEOUT:
            return "no answer in time; is the service up? Else raise timeout= or deadline="
        case Kind.NETWORK:
            return f"{reply.message}; is endpoint_url right, and the service up?"
        case Kind.NAME:
            return (
                f"somebody else's object there has a name that cannot be read: {shown(reply.message)}; "
                "rename or "
                "delete it, or give the pool another prefix="
            )
        case Kind.MISSING | Kind.UNSAID:
            return f"the answer is 404, and not in the way of S3; is endpoint_url right? {reason}"
        case _:
            return reason


def _without(text: str, secrets: tuple[str, ...]) -> str:
    for secret in secrets:
        text = text.replace(secret, "…")
    return text


_LONGEST = 16 * 1024  # longer answers of a service are cut before anything looks at them
# The text of an element ends where the next tag begins, or where the answer was cut.
_COMPUTED = re.compile(
    r"<(?:CanonicalRequest|CanonicalRequestBytes|StringToSign|StringToSignBytes|SignatureProvided|AWSAccessKeyId|Token-\d+)>"
    r"[^<]*|(?:X-Amz-Signature|X-Amz-Security-Token|X-Amz-Credential|Signature|sig)=[^&\s\"'<]+",
    re.IGNORECASE,
)


def _scrubbed(text: str, secrets: tuple[str, ...]) -> str:
    """Return the first part of the client's message, without secrets, for people who look for the cause."""
    shown = text.partition("\n\nDebug source:")[0][:_LONGEST]
    return _without(_COMPUTED.sub("…", shown), secrets)[:2000]
