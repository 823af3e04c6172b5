"""The hash of a content: what ids by content are made of, the same on every machine and in every language.

It covers what a blob's digest covers, the tree and the buffers with their descriptions, by SHA-256: nobody
can make two contents of one hash. Large parts are hashed in pieces of 1 MiB, so that several threads share
the work. ``docs/reference/blob-format.md`` gives the definition.
"""

from __future__ import annotations

from hashlib import sha256

import msgpack
from xxhash import xxh3_128_digest

from laila.blob.pieces import PIECE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from threading import Thread

    from laila.blob.blob import Blob

__all__ = ["content_hash", "content_hashes", "fill_checksums", "hash_in_pieces"]

_PURPOSE = b"laila content 1\0"
_NO_BUFFERS = b"\x90"
_MOST_THREADS = 4


def content_hash(blob: Blob, namespace: bytes) -> bytes:
    """Hash the content of a plain blob: neither its id nor nickname, metadata and signature count.

    Computes the checksums of the buffers on the way, while their bytes are in the processor's cache.

    Args:
        blob: The blob. Its buffers must not change meanwhile.
        namespace: The 16 bytes of the namespace that the hash belongs to.

    Returns:
        32 bytes.
    """
    if not blob.buffers and len(blob.tree) <= PIECE:  # the most common of all, without ado
        whole = sha256(sha256(blob.tree).digest() if blob.tree else b"").digest()
        return sha256(b"".join((_PURPOSE, namespace, whole, _NO_BUFFERS))).digest()
    return content_hashes([blob], namespace)[0]


def content_hashes(blobs: Sequence[Blob], namespace: bytes) -> list[bytes]:
    """Hash the contents of several blobs as :func:`content_hash` does, in threads that share all pieces.

    Args:
        blobs: The blobs.
        namespace: The 16 bytes of the namespace that the hashes belong to.

    Returns:
        32 bytes for each blob.
    """
    large = [blob for blob in blobs if blob.buffers or len(blob.tree) > PIECE]
    views = [
        view for blob in large for view in (memoryview(blob.tree), *(buffer.data for buffer in blob.buffers))
    ]
    pairs = zip(*hash_in_pieces(views), strict=True)
    found: dict[int, bytes] = {}
    for blob in large:
        whole, _ = next(pairs)
        table = []
        for buffer in blob.buffers:
            hashed, sums = next(pairs)
            buffer.give_sums(sums)
            table.append([buffer.nbytes, buffer.dtype, buffer.shape, buffer.order, hashed])
        packed: bytes = msgpack.packb(table)
        found[id(blob)] = sha256(b"".join((_PURPOSE, namespace, whole, packed))).digest()
    return [found.get(id(blob)) or content_hash(blob, namespace) for blob in blobs]


def fill_checksums(blobs: Sequence[Blob]) -> None:
    """Compute the checksums of the large buffers of ``blobs``, in several threads."""
    buffers = [buffer for blob in blobs for buffer in blob.buffers if buffer.nbytes > PIECE]
    pieces = _pieces_of([buffer.data for buffer in buffers])
    sums = [b""] * len(pieces)

    def sum_piece(i: int) -> None:
        sums[i] = xxh3_128_digest(pieces[i])

    _for_each(sum_piece, len(pieces))
    start = 0
    for buffer in buffers:
        stop = start - -buffer.nbytes // PIECE
        buffer.give_sums(b"".join(sums[start:stop]))
        start = stop


def hash_in_pieces(parts: Sequence[memoryview]) -> tuple[list[bytes], list[bytes]]:
    """Hash each of several parts: SHA-256 over the SHA-256 of each of its pieces.

    Args:
        parts: One-dimensional views of bytes.

    Returns:
        32 bytes for each part; and for each part the checksums of its pieces, joined.
    """
    pieces = _pieces_of(parts)
    hashes: list[bytes] = [b""] * len(pieces)
    sums: list[bytes] = [b""] * len(pieces)

    def hash_piece(i: int) -> None:
        hashes[i] = sha256(pieces[i]).digest()
        sums[i] = xxh3_128_digest(pieces[i])

    _for_each(hash_piece, len(pieces))
    found, checksums, start = [], [], 0
    for part in parts:
        stop = start - -part.nbytes // PIECE
        found.append(sha256(b"".join(hashes[start:stop])).digest())
        checksums.append(b"".join(sums[start:stop]) or xxh3_128_digest(b""))
        start = stop
    return found, checksums


def _pieces_of(parts: Sequence[memoryview]) -> list[memoryview]:
    return [part[at : at + PIECE] for part in parts for at in range(0, part.nbytes, PIECE)]


def _for_each(work: Callable[[int], None], count: int) -> None:
    """Call ``work`` with each number below ``count``: in this thread, and for many also in others."""
    numbers = iter(range(count))  # which gives each number to one thread
    helpers: list[Thread] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            for i in numbers:
                work(i)
        except BaseException as error:  # noqa: BLE001 - raised again by the caller
            errors.append(error)

    if count > 1:
        from threading import Thread

        from laila.threads import start_thread

        for _ in range(min(count, _MOST_THREADS, _processors()) - 1):
            helper = Thread(target=run, name="laila-hash", daemon=True)
            if not start_thread(helper):
                break
            helpers.append(helper)
    try:
        for i in numbers:
            work(i)
    finally:
        for _ in numbers:  # after an error nothing more is begun
            pass
        for helper in helpers:
            helper.join()
    if errors:
        raise errors[0]


def _processors() -> int:
    """How many processors this process may use."""
    import os

    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1
