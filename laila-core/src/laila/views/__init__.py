"""Views of what is stored: head and tree are read at once, of the buffers the pieces that are used."""

from __future__ import annotations

from laila.views.view import ArrayView, BytesView, GroupView, ObjectView, View

__all__ = ["ArrayView", "BytesView", "GroupView", "ObjectView", "View"]
