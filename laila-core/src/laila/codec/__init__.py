"""Payload to Blob and back: exact types, shared objects, trust.

:func:`encode` takes a snapshot of a payload; :func:`decode` gives back an equal one of the same types. A
plain payload (:mod:`laila.codec.plain`) is one MessagePack object; everything else is a sequence of rows
(:mod:`laila.codec.encoder`, :mod:`laila.codec.decoder`). Data never runs code: decoding knows a table of
tags, and what needs a class or a function of the user's was registered by :func:`register_type` or bears a
valid signature (:mod:`laila.codec.trust`).
"""

from __future__ import annotations

from time import time

from laila.blob.blob import Blob, unpack_checked
from laila.codec import plain
from laila.codec.registry import register_codec, register_type
from laila.errors import CorruptEntryError, PayloadError, TransformationError
from laila.showing import said, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["decode", "encode", "register_codec", "register_type"]


def encode(
    payload: object,
    *,
    key: str,
    nickname: str | None = None,
    user_metadata: Mapping[str, object] | None = None,
    pickle: bool = True,
    copy: bool = True,
    created: float | None = None,
    verify: bool = False,
    borrow: bool = False,
    notes: Mapping[str, bytes] | None = None,
) -> Blob:
    """Take a snapshot of ``payload`` as a :class:`Blob` filed under the global id ``key``.

    Nothing that is done to the payload afterwards changes the blob. ``copy=False`` keeps read-only arrays
    without copying them. ``pickle=False`` refuses what would need a signature: classes that are not
    registered, and whatever only a pickle carries. ``user_metadata`` is plain data with text for keys;
    ``created`` (seconds since the epoch) is now unless given. ``notes`` are fields of the header that readers
    may skip. Safe to call from several threads.

    ``borrow=True`` copies no array at all, and is for who uses the blob up before the payload can change.

    What runs code of others (classes, codecs, pickles) is read again and compared with ``payload`` before the
    blob is returned; ``verify=True`` does so for any payload, with the contents of all arrays.

    Raises:
        PayloadError: (a ``TypeError``) something would not come back exactly; ``path`` says where it is.
        PayloadCycleError: (also a ``ValueError``) the payload contains itself.
        SecretError: a signature is needed and the signing key cannot be read or made.
        ValueError: ``copy=False`` met a writable array, unless ``borrow``.
    """
    user = None if user_metadata is None else _pack_metadata(user_metadata)
    when = time() if created is None else created
    tree = plain.pack(payload)
    if tree is not None:
        if verify:
            from laila.codec.verified import verify_plain

            verify_plain(payload, tree)
        return Blob(
            key, tree, (), nickname, (when, type(payload).__name__, len(tree), "plain", user), notes=notes
        )
    from laila.codec.encoding import encode_rows

    return encode_rows(payload, key, nickname, user, pickle, copy and not borrow, when, verify, borrow, notes)


def _pack_metadata(given: Mapping[str, object]) -> bytes:
    data = dict(given)
    packed = plain.pack(data) if all(type(name) is str for name in data) else None
    if packed is None:
        raise PayloadError(
            "metadata takes text for keys and plain data (None, bool, int, float, str, bytes, list, dict) "
            "for values, "
            f"not {shown(data)}",
            path="metadata",
        )
    return packed


def decode(blob: Blob, *, copy: bool = True, consume: bool = False) -> object:
    """Rebuild the payload of ``blob``; each call gives new, writable objects.

    Safe to call from several threads.

    With ``copy=False`` arrays are read-only views of the blob's buffers. ``consume=True`` is for a caller
    that alone has the blob and drops it: an array then keeps memory that a buffer owns, instead of a copy.

    Raises:
        CorruptEntryError: the blob's rows are not what :func:`encode` writes.
        UntrustedPayloadError: it needs a class or a pickle, and no signature by a known key covers it.
        PayloadError: a class it names is gone or has changed.
        MissingPluginError: it needs numpy, torch, … and that is not installed.
        TransformationError: it is still transformed; see :class:`laila.transform.TransformationSequence`.
    """
    if blob.transformations:
        names = ", ".join(name for name, _ in blob.transformations)
        raise TransformationError(
            f"the blob of {blob.key} is still transformed ({names}): undo that with "
            "TransformationSequence.invert first",
            name=blob.transformations[-1][0],
        )
    tree = blob.tree
    if tree[:1] != b"\xc1":
        for buffer in blob.buffers:  # which no plain payload has
            buffer.check(blob.key)
        try:
            payload = unpack_checked(tree)
            if type(payload) in (dict, list) and plain.pack_object(payload) != tree:
                plain.check_unique_keys(tree)  # else it was written otherwise than here, such as by a client
            return payload
        except MemoryError:
            raise  # that says nothing about the blob
        except Exception as error:
            # ValueError, TypeError (an unhashable key) and several of msgpack's own: all say the same.
            raise CorruptEntryError(
                f"the blob of {blob.key} is damaged: its tree cannot be read ({type(error).__name__}: "
                f"{said(error, 200)})",
                key=blob.key,
            ) from error
    from laila.codec.decoder import decode_rows

    return decode_rows(blob, copy, consume)
