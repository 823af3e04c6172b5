"""A laila pool on S3 and every compatible service, by the Rust object_store."""

from __future__ import annotations

from laila.pool.s3.errors import (
    AccessDeniedError,
    BucketNotFoundError,
    CredentialsError,
    ObjectStoreError,
    SlowDownError,
    StalledError,
    UnreachableError,
)
from laila.pool.s3.pool import S3Pool
from laila.pool.s3.settings import S3Settings

__all__ = [
    "AccessDeniedError",
    "BucketNotFoundError",
    "CredentialsError",
    "ObjectStoreError",
    "S3Pool",
    "S3Settings",
    "SlowDownError",
    "StalledError",
    "UnreachableError",
]
