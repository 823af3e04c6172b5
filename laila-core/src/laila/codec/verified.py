"""Blobs that are read before they are stored, and compared with what was given.

Rows of classes, codecs and pickles run code of others, who may write what they cannot read, or leave
something out in silence. So a blob that has such rows is decoded once more, before anything is written; it
costs about as much as reading it. Arrays and tensors are not read again: what was given takes their place.
"""

from __future__ import annotations

from laila.blob.blob import unpack_checked
from laila.codec import registry, tags
from laila.codec.advice import INSTEAD, instead_of
from laila.codec.decoder import Decoder, read_rows
from laila.codec.graphs import SHARED_ATTRIBUTES, Comparison, difference
from laila.codec.leftout import tell
from laila.codec.levels import alike
from laila.codec.parts import path_to
from laila.errors import PayloadError
from laila.showing import said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from laila.blob.blob import Blob
    from laila.codec.encoder import Encoder

__all__ = ["SHARED_ATTRIBUTES", "is_sound", "refuse", "verify", "verify_plain"]

_REMEDY_OF_SHARED = "store one of both, or a copy of one: dict(vars(obj)), copy.copy(obj)"


def verify(blob: Blob, payload: object, encoder: Encoder, *, deep: bool) -> tuple[str, str] | None:
    """Read ``blob`` again; return where and how it differs from ``payload``, or None.

    Raises :class:`PayloadError`, with the place, for one that cannot be read. ``deep`` reads and compares
    arrays and tensors as well.
    """
    decoder = Decoder(blob, copy=deep, trusted=True)
    if not deep:
        decoder.given = encoder.leaves()
    try:
        result = read_rows(decoder)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a class raises is told, with its place
        _refuse_row(payload, encoder, decoder.row, error)
    try:
        if alike(payload, result, deep=deep):
            return None
        comparison = Comparison(deep, by_recipes=encoder.rebuild)
        place = comparison.run(payload, result)
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        return None  # it cannot be looked into: another thread changes it, or its class forbids that
    if place is None:
        tell(comparison.left_out)
    return place


def is_sound(blob: Blob, payload: object, encoder: Encoder, *, deep: bool) -> bool:
    """Whether :func:`verify` finds nothing."""
    try:
        return verify(blob, payload, encoder, deep=deep) is None
    except PayloadError:
        return False


def verify_plain(payload: object, tree: bytes) -> None:
    """Raise :class:`PayloadError` for a plain payload that would come back changed."""
    place = difference(payload, unpack_checked(tree), deep=True)
    if place is not None:
        refuse(place)


def refuse(place: tuple[str, str]) -> NoReturn:
    """Raise the error about a payload that would come back changed."""
    path, reason = place
    remedy = _REMEDY_OF_SHARED if reason == SHARED_ATTRIBUTES else INSTEAD
    raise PayloadError(f"{path} cannot be stored: it would come back changed: {reason}; {remedy}", path=path)


def _refuse_row(payload: object, encoder: Encoder, row: int, error: Exception) -> NoReturn:
    """Raise the error about a row that cannot be read."""
    obj, tag = encoder.object_of(row)
    if tag == tags.PICKLED:
        from laila.codec.signed import culprit

        obj = culprit(obj)
    path = path_to(payload, obj)
    name = registry.type_name(type(obj))
    if tag == tags.PICKLED:
        cause = error.__cause__ or error
        what = f"{name} pickles but does not unpickle ({type(cause).__name__}: {said(cause)})"
    else:
        what = f"{name} could not be read again ({type(error).__name__}: {said(error)})"
    place = path or "something in payload"
    raise PayloadError(
        f"{place} cannot be stored: {what}; {instead_of(type(obj))}", path=path or "payload"
    ) from error
