"""Transformations: compression, encryption and base64, applied to a whole blob.

A pool has transformations. A stored blob says which were applied, so reading needs no options, only the key.
"""

from __future__ import annotations

from laila.transform.base import Transformation, register_transformation
from laila.transform.compression import Base64, Zlib, Zstd
from laila.transform.encryption import AesGcm
from laila.transform.sequence import TransformationSequence

__all__ = [
    "AesGcm",
    "Base64",
    "Transformation",
    "TransformationSequence",
    "Zlib",
    "Zstd",
    "register_transformation",
]
