"""The errors of pools on object stores. Each kind needs another reaction.

    PoolError (OSError)
    └── ObjectStoreError                       a request that failed in any other way
        ├── CredentialsError (PermissionError)     no, wrong or expired credentials
        ├── CredentialsError (PermissionError)     missing, wrong or expired credentials
            ├── AccessDeniedError (PermissionError)    credentials that may not do this
            ├── BucketNotFoundError (FileNotFoundError)  a missing bucket
            ├── SlowDownError (BlockingIOError)        the service asked for fewer requests, at every try
            ├── UnreachableError (ConnectionError)     no connection, or a broken connection

No message holds a secret: neither the keys, nor anything that was computed from them.
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

    ``bucket`` and ``key`` say what the request was about; ``key`` is laila's key, or None if the request was
    about no single key. ``code`` is the service's code (``"AccessDenied"``) and ``status`` the HTTP status;
    None if there was none.
    """

    bucket: str
    key: str | None
    code: str | None
    status: int | None


class CredentialsError(ObjectStoreError, PermissionError):
    """The credentials are missing, or the service refuses them: unknown, wrong or expired."""


class AccessDeniedError(ObjectStoreError, PermissionError):
    """The credentials are right, but may not do this."""


class BucketNotFoundError(ObjectStoreError, FileNotFoundError):
    """The bucket does not exist."""


class SlowDownError(ObjectStoreError, ConnectionError):
    """The service asked for fewer requests, and asked again at every try."""


class UnreachableError(ObjectStoreError, ConnectionError):
    """The service could not be reached, or every connection broke."""


class StalledError(ObjectStoreError, TimeoutError):
    """The service did not answer in time, at any try."""
