"""What keeps a pool small: how many bytes there are, what nothing refers to, pins, and what may expire."""

from __future__ import annotations
