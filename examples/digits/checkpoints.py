"""How the demo files things: the chain of tiers, a manifest for each checkpoint, and fingerprints."""

from __future__ import annotations

import hashlib
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING

import numpy as np

import laila

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["fingerprint", "manifest_of", "open_tiers"]


def open_tiers(url: str) -> list[laila.Pool]:
    """Make memory in front of the pool at ``url`` the store that the verbs mean; return the tiers."""
    laila.alpha_pool = laila.tiers(laila.MemoryPool(nickname="memory"), url)
    return laila.alpha_pool.chain()


def manifest_of(run: str, name: str, parts: Mapping[str, object]) -> laila.Manifest:
    """A manifest ``{name: parts}``.

    Every part is a constant with a nickname, so that a rerun finds what is stored already and writes nothing.
    """
    entries = {part: laila.constant(value, nickname=f"{run}/{name}/{part}") for part, value in parts.items()}
    return laila.Manifest({name: entries}, nickname=f"{run}/{name}")


def fingerprint(value: object) -> str:
    """SHA-256 over the exact type and bits of ``value`` and all that it holds. Knows nothing of laila."""
    digest = hashlib.sha256()
    for piece in _pieces(value):
        digest.update(len(piece).to_bytes(8, "little"))
        digest.update(piece)
    return digest.hexdigest()


def _pieces(value: object) -> Iterator[bytes]:
    kind = type(value)
    yield f"{kind.__module__}.{kind.__qualname__}".encode()
    if isinstance(value, np.ndarray):
        fortran = value.flags.f_contiguous and not value.flags.c_contiguous
        yield f"{value.dtype.str} {value.shape} {'F' if fortran else 'C'}".encode()
        yield value.tobytes(order="A")
    elif isinstance(value, dict):
        yield str(len(value)).encode()
        for key, item in value.items():
            yield from _pieces(key)
            yield from _pieces(item)
    elif isinstance(value, (list, tuple)):
        yield str(len(value)).encode()
        for item in value:
            yield from _pieces(item)
    elif is_dataclass(value):
        for field in fields(value):
            yield field.name.encode()
            yield from _pieces(getattr(value, field.name))
    elif isinstance(value, float):
        yield value.hex().encode()
    elif isinstance(value, bytes):
        yield value
    elif value is None or isinstance(value, (bool, int, str)):
        yield repr(value).encode()
    else:
        raise TypeError(f"no fingerprint for a {kind.__qualname__}")
