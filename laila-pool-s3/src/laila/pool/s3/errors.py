"""The errors of pools on object stores, told apart by what to do about them.

    PoolError (OSError)
    └── ObjectStoreError                       a request that failed in any other way
        ├── CredentialsError (PermissionError)     no, wrong or expired credentials
        ├── AccessDeniedError (PermissionError)    credentials that may not do this
        ├── BucketNotFoundError (FileNotFoundError)  a bucket that is not there
        ├── SlowDownError (BlockingIOError)        a service that asks for fewer requests, and went on asking
        ├── UnreachableError (ConnectionError)     no connection, or one that broke
        └── StalledError (TimeoutError)            no answer in time

No message holds a secret: not the keys, and nothing that was computed from them.
"""

from __future__ import annotations

from laila.errors import PoolError

__all__ = [
    "AccessDeniedError",
    "BucketNotFoundError",
    "CredentialsError",
    "ObjectStoreError",
    "SlowDownError",
    "StalledError",
    "UnreachableError",
]


class ObjectStoreError(PoolError):
    """A request failed.

    ``bucket`` and ``key`` (laila's key, or None where the request was about no single one) say about what,
    ``code`` is the service's word for it (``"AccessDenied"``), ``status`` the HTTP status; None where there
    was none.
    """

    bucket: str
    key: str | None
    code: str | None
    status: int | None


class CredentialsError(ObjectStoreError, PermissionError):
    """There are no credentials, or the service does not take them: unknown, wrong or expired."""


class AccessDeniedError(ObjectStoreError, PermissionError):
    """The credentials are right, and may not do this."""


class BucketNotFoundError(ObjectStoreError, FileNotFoundError):
    """There is no such bucket."""


class SlowDownError(ObjectStoreError, ConnectionError):
    """The service asked for fewer requests, and asked again at every try."""


class UnreachableError(ObjectStoreError, ConnectionError):
    """No connection to the service, or one that broke at every try."""


class StalledError(ObjectStoreError, TimeoutError):
    """The service did not answer in time, at any try."""
