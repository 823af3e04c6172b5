"""Entries: objects with an identity, and manifests that refer to them."""

from __future__ import annotations

from laila.entry.construction import EntryState
from laila.entry.entry import Entry
from laila.entry.manifest import Manifest
from laila.entry.stored import as_blob, from_blob, to_blob

__all__ = ["Entry", "EntryState", "Manifest", "as_blob", "from_blob", "to_blob"]
