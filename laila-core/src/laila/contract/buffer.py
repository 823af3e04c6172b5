"""The buffers of a blob as authors import them by module: see :mod:`laila.blob`, which has them."""

from __future__ import annotations

from laila.blob.buffer import Buffer

__all__ = ["Buffer"]
