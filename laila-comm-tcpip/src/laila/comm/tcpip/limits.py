"""The limits for what the other side sends: agreed in the handshake, enforced by the receiver."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["CHUNK_BYTES", "HEADER_BYTES", "Limits", "Offer"]

CHUNK_BYTES = 256 * 1024
"""The most data in one binary message, in bytes: small calls pass between two of them."""
HEADER_BYTES = 12


class Limits(NamedTuple):
    """The limits for messages that this side accepts."""

    max_message_bytes: int = 2 * 2**30
    """The most bytes of the blobs of one message."""
    max_json_bytes: int = 4 * 2**20
    """The most bytes of one JSON message."""
    max_depth: int = 64
    """The deepest nesting of JSON."""
    max_in_flight: int = 1024
    """The most calls that may wait for an answer."""
    max_streams: int = 32
    """The most messages with blobs that may be in progress."""
    window_bytes: int = 2**20
    """The most bytes of a stream that may be sent before the receiver has taken them."""
    max_buffered_bytes: int = 4 * 2**30
    """The most bytes of unhandled messages; beyond it only the oldest stream goes on."""

    def offer(self) -> dict[str, int]:
        """Return the limits that the other side must know."""
        return {name: getattr(self, name) for name in Offer._fields}


class Offer(NamedTuple):
    """The limits of the other side, from its offer."""

    max_message_bytes: int
    max_json_bytes: int
    max_in_flight: int
    max_streams: int
    window_bytes: int

    @classmethod
    def read(cls, offer: object) -> Offer:
        """Read an offer that :meth:`Limits.offer` made. Raises ``ValueError``."""
        if type(offer) is not dict:
            raise ValueError("limits must be an object")
        values = []
        for name in cls._fields:
            value = offer.get(name)
            if type(value) is not int or not 0 < value < 2**62:
                raise ValueError(f"the limit {name} must be a positive integer")
            values.append(value)
        return cls(*values)
