"""What one side lets the other send: agreed in the handshake, enforced by whoever receives."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["CHUNK_BYTES", "HEADER_BYTES", "Limits", "Offer"]

CHUNK_BYTES = 256 * 1024
"""The most data in one binary message: small calls pass between two of them."""
HEADER_BYTES = 12


class Limits(NamedTuple):
    """What this side accepts."""

    max_message_bytes: int = 2 * 2**30
    """The blobs of one message."""
    max_json_bytes: int = 4 * 2**20
    """One JSON message."""
    max_depth: int = 64
    """How deep JSON may nest."""
    max_in_flight: int = 1024
    """How many calls may wait for their answer."""
    max_streams: int = 32
    """How many messages with blobs may be under way at a time."""
    window_bytes: int = 2**20
    """How much of a stream may be sent ahead of what was taken in."""
    max_buffered_bytes: int = 4 * 2**30
    """What all messages that were not dealt with may take; beyond it only the oldest stream goes on."""

    def offer(self) -> dict[str, int]:
        """Return what the other side has to know."""
        return {name: getattr(self, name) for name in Offer._fields}


class Offer(NamedTuple):
    """What the other side accepts, as it said."""

    max_message_bytes: int
    max_json_bytes: int
    max_in_flight: int
    max_streams: int
    window_bytes: int

    @classmethod
    def read(cls, given: object) -> Offer:
        """Read what :meth:`Limits.offer` gave. Raises ``ValueError``."""
        if type(given) is not dict:
            raise ValueError("limits must be an object")
        values = []
        for name in cls._fields:
            value = given.get(name)
            if type(value) is not int or not 0 < value < 2**62:
                raise ValueError(f"the limit {name} must be a positive integer")
            values.append(value)
        return cls(*values)
