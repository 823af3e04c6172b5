"""Entries of a peer that are read in part: the requests and the peer's answers."""

from __future__ import annotations

from laila.blob.parsing import parse_head
from laila.blob.pieces import covering
from laila.central import reading
from laila.central.ids import as_key
from laila.entry.packs import Wanted
from laila.errors import EntryNotFoundError, InvalidArgumentError
from laila.peering.answers import is_meant, not_meant, wrong
from laila.showing import shown
from laila.tiering.packed import PackReader
from laila.views.memory import ReadBuffers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from laila.contract.pool import Pool
    from laila.peering.proxy import RemotePolicyProxy
    from laila.views.memory import PartialBuffers

    Spans = Sequence[tuple[int, int]]

__all__ = ["leaves_sent", "open_remote", "packed_blobs", "parts_of"]

_AT_ONCE = 8 << 20
"""The bytes that one answer may have."""
_LEAVES_AT_ONCE = 1 << 16


class _RemoteBuffers(ReadBuffers):
    """The buffers of an entry of a peer; what it sends is verified here, too."""

    at_once = _AT_ONCE

    def __init__(
        self, peer: RemotePolicyProxy, keys: Sequence[str], head: bytes, options: dict[str, object]
    ) -> None:
        view = memoryview(head)
        found = parse_head(view, None, True)
        if not is_meant(found.key, keys):
            raise not_meant(found.key, keys)
        if found.transformations or found.head_nbytes != len(head):
            raise wrong("with the head of something else")
        super().__init__(view, found)
        self._peer = peer
        self._options = options

    def fetch(self, number: int, runs: Spans) -> list[bytes]:
        """Read runs of whole pieces of buffer ``number``."""
        asked = [self.head.key, self.head.digest, number, [list(run) for run in runs]]
        found = self._peer.call(
            "central.memory.read_parts", asked, dict(self._options), repeatable=True
        ).wait()
        if type(found) is not list or list(map(type, found)) != [bytes] * len(runs):
            raise wrong("with what is no list of bytes")
        if [len(data) for data in found] != [stop - start for start, stop in runs]:
            raise wrong("with more or fewer bytes than were asked for")
        return found


def open_remote(
    peer: RemotePolicyProxy,
    keys: Sequence[str],
    meant: Sequence[str],
    named: dict[str, object],
    options: dict[str, object],
) -> PartialBuffers:
    """Open an entry of a peer.

    Args:
        peer: The peer.
        keys: The id, as the peer is asked for it; nothing where ``named`` has a nickname.
        meant: The ids that the answer may have.
        named: What else says the entry: nickname, scope and namespace.
        options: The choice of a pool over there.
    """
    head = peer.call("central.memory.open", keys, {**options, **named}, repeatable=True).wait()
    if type(head) is not bytes:
        raise wrong(f"with a {type(head).__name__} for the head of an entry")
    return _RemoteBuffers(peer, meant, head, options)


def parts_of(buffers: PartialBuffers, digest: object, number: object, runs: object) -> list[bytes]:
    """What a peer asked for: runs of bytes of one buffer, verified.

    Raises:
        InvalidArgumentError: it asked for what is not there, or for more than one answer may have.
        EntryNotFoundError: the content differs from the opened one.
    """
    if buffers.digest != digest:
        raise EntryNotFoundError(
            f"{buffers.head.key} was replaced after it was opened: open it again",
            key=buffers.head.key,
            pool="",
        )
    table = buffers.head.table
    if type(number) is not int or not 0 <= number < len(table) or not isinstance(runs, (list, tuple)):
        raise InvalidArgumentError(f"{buffers.head.key} has no buffer {shown(number)}")
    size, end, total = table[number][0], 0, 0
    spans: list[tuple[int, int]] = []
    for run in runs:
        if (
            not isinstance(run, (list, tuple))
            or len(run) != 2
            or any(type(place) is not int for place in run)
        ):
            raise InvalidArgumentError("a run of bytes is said by its first and the one after its last")
        start, stop = run
        if not end <= start <= stop <= size:
            raise InvalidArgumentError(f"there are no bytes {start} to {stop} of {size}, after {end}")
        spans.append((start, stop))
        end = stop
        total += stop - start
    # Whole pieces are read: a byte here and there would have a node read all of a large entry.
    total = max(total, sum(stop - start for start, stop in covering(spans, size)))
    if total > _AT_ONCE:
        raise InvalidArgumentError(
            f"{total} bytes, in whole pieces, are more than the {_AT_ONCE} of one answer"
        )
    window = buffers.window(number, spans)
    return [bytes(window[start:stop]) for start, stop in spans]


def leaves_sent(leaves: object) -> tuple[dict[str, Wanted], list[str]]:
    """Return what a peer asked for: the packed leaves, and the ids of all.

    Raises:
        InvalidArgumentError: it asked for what no manifest has, or for more than one answer may have.
    """
    if not isinstance(leaves, (list, tuple)):
        raise InvalidArgumentError(f"leaves are a list, not a {type(leaves).__name__}")
    packed: dict[str, Wanted] = {}
    keys: list[str] = []
    for leaf in leaves:
        if isinstance(leaf, str):
            keys.append(as_key(leaf))
            continue
        wanted = Wanted.sent(list(leaf) if isinstance(leaf, tuple) else leaf)
        if wanted is None:
            raise InvalidArgumentError("a packed leaf is said by its id, its pack and three numbers")
        keys.append(as_key(wanted.leaf))
        packed[wanted.leaf] = wanted
    if len(keys) > _LEAVES_AT_ONCE:
        raise InvalidArgumentError(f"{len(keys)} leaves are more than the {_LEAVES_AT_ONCE} of one answer")
    return packed, keys


def packed_blobs(
    pool: Pool, keys: Sequence[str], packed: Mapping[str, Wanted], *, refresh: bool
) -> list[object]:
    """Return the blob of each leaf, or its error."""
    once = list(packed.values())
    found: dict[str, object] = {
        wanted.leaf: blob
        for wanted, blob in zip(once, PackReader(pool, refresh=refresh).read(once), strict=True)
        if blob is not None
    }
    rest = [key for key in dict.fromkeys(keys) if key not in found]
    if rest:
        found.update(zip(rest, reading.fetch(pool, rest, refresh=refresh), strict=True))
    return [found[key] for key in keys]
