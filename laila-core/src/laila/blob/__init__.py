"""The stored form of an entry: its head, its buffers, its checksums, and the memory that it is read into.

Everything above is made of this package. It imports errors, locks and texts, and nothing else of laila's.
"""

from __future__ import annotations

from laila.blob.blob import Blob
from laila.blob.buffer import Buffer
from laila.blob.head import BlobHead

__all__ = ["Blob", "BlobHead", "Buffer"]
