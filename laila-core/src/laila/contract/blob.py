"""The stored form as authors import it by module: see :mod:`laila.blob`, which has it."""

from __future__ import annotations

from laila.blob.blob import FORMAT_VERSION, MAGIC, Blob
from laila.blob.head import BlobHead

__all__ = ["FORMAT_VERSION", "MAGIC", "Blob", "BlobHead"]
