"""Read packed leaves: ranges of packs, each a blob that is verified by itself.

Where the pool transforms nothing a leaf is read at once, by the place that the manifest has for it. If that
fails, or if the pack may be transformed, the head of the pack is read first: it says what is stored.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import NamedTuple

from laila.blob.blob import Blob
from laila.blob.buffer import byte_view
from laila.blob.head import PREFIX_BYTES, corrupt
from laila.blob.parsing import head_nbytes, parse_head
from laila.errors import CorruptEntryError, LailaError, TransformationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from laila.blob.blob import BytesLike
    from laila.contract.pool import Pool
    from laila.entry.packs import Wanted

    Spans = Sequence[tuple[int, int]]
    Read = Callable[[Spans], Sequence[BytesLike]]
    Found = Blob | BaseException | None

__all__ = ["PackReader", "whole_head"]

_START = 64 * 1024
"""The bytes of a pack that are read first, where its head is needed: most heads are shorter."""
_HEAD_AT_ONCE = 16 << 20
_GAP = 64
"""So many bytes between two leaves are read with them."""
_RUN = 8 << 20
"""The bytes of one range."""
_KEPT_OPEN = 4


def whole_head(first: memoryview, read: Read) -> memoryview:
    """Return the bytes of a head, of which ``first`` is the beginning; the rest of it is read."""
    if first.nbytes < PREFIX_BYTES:
        return first  # which is told by who parses it
    total = int.from_bytes(first[24:32], "little")
    size = min(head_nbytes(first), total)
    parts: list[BytesLike] = [first]
    # The writer chose the number, and may have chosen any: what is not there ends this soon.
    for at in range(first.nbytes, size, _HEAD_AT_ONCE):
        parts += read([(at, min(at + _HEAD_AT_ONCE, size))])
    return first if len(parts) == 1 else memoryview(b"".join(parts))


class _Opened(NamedTuple):
    """A pack whose head was read."""

    read: Read
    start: int


class _Run(NamedTuple):
    """A range with the leaves in it."""

    start: int
    stop: int
    members: list[int]


class PackReader:
    """Reads leaves out of packs for one call of a verb, in the tiers of a chain. Not thread-safe."""

    def __init__(self, pool: Pool, *, refresh: bool = False) -> None:
        self._tiers = pool.chain()[-1:] if refresh else pool.chain()
        self._opened: OrderedDict[tuple[int, str], _Opened] = OrderedDict()

    def read(self, wanted: Sequence[Wanted]) -> list[Found]:
        """Read leaves.

        A cache that fails is skipped. No cache is filled: it would keep a pack for the sake of a leaf.

        Args:
            wanted: The leaves.

        Returns:
            For each its plain blob; None where no tier has its pack, or its error. Raises what the backend
            of the last tier raises.
        """
        outcomes: list[Found] = [None] * len(wanted)
        last = self._tiers[-1]
        for tier in self._tiers:
            todo = [i for i, outcome in enumerate(outcomes) if not isinstance(outcome, Blob)]
            if not todo:
                break
            work = partial(self._read_in, tier, [wanted[i] for i in todo])
            nothing: list[Found] = [None] * len(todo)
            found = work() if tier is last else tier._guarded("read", len(todo), work, nothing)
            for i, outcome in zip(todo, found, strict=True):
                outcomes[i] = outcomes[i] if outcome is None else outcome
            hits = sum(isinstance(outcome, Blob) for outcome in found)
            tier._counter.count(hits, len(found) - hits)
        return outcomes

    def _read_in(self, tier: Pool, wanted: Sequence[Wanted]) -> list[Found]:
        outcomes: list[Found] = [None] * len(wanted)
        packs: dict[str, list[int]] = {}
        for i, one in enumerate(wanted):
            packs.setdefault(one.place.pack, []).append(i)
        doubtful = list(packs)
        if tier.transformations is None:
            asked = {pack: _runs(wanted, members) for pack, members in packs.items()}
            spans = [(pack, [(run.start, run.stop) for run in runs]) for pack, runs in asked.items()]
            doubtful = []
            for pack, found in zip(packs, tier.ranges_of_many(spans), strict=True):
                if isinstance(found, CorruptEntryError):
                    doubtful.append(pack)
                elif found is not None:
                    for run, data in zip(asked[pack], found, strict=True):
                        view = byte_view(data)
                        for i in run.members:
                            at = wanted[i].place.start + wanted[i].place.offset - run.start
                            outcomes[i] = _blob_of(wanted[i], view[at : at + wanted[i].place.length])
                    if not all(isinstance(outcomes[i], Blob) for i in packs[pack]):
                        doubtful.append(pack)
        for pack in doubtful:
            rest = [i for i in packs[pack] if not isinstance(outcomes[i], Blob)]
            for i, outcome in zip(rest, self._with_head(tier, pack, [wanted[i] for i in rest]), strict=True):
                outcomes[i] = outcome
        return outcomes

    def _with_head(self, tier: Pool, pack: str, wanted: Sequence[Wanted]) -> list[Found]:
        """Read leaves of one pack where its head says that they are."""
        try:
            opened = self._open(tier, pack)
        except LailaError as error:
            return [_of_leaf(tier, one, error) for one in wanted]
        if opened is None:
            return [None] * len(wanted)
        outcomes: list[Found] = []
        for one in wanted:
            start = opened.start + one.place.offset
            try:
                (data,) = opened.read([(start, start + one.place.length)])
            except CorruptEntryError as error:
                outcomes.append(_of_leaf(tier, one, error))
                continue
            blob = _blob_of(one, byte_view(data))
            outcomes.append(blob if isinstance(blob, Blob) else _of_leaf(tier, one, blob))
        return outcomes

    def _open(self, tier: Pool, pack: str) -> _Opened | None:
        opened = self._opened.get((id(tier), pack))
        if opened is None:
            opened = _open(tier, pack)
            if opened is not None:
                self._opened[id(tier), pack] = opened
                if len(self._opened) > _KEPT_OPEN:
                    self._opened.popitem(last=False)
        return opened


def _runs(wanted: Sequence[Wanted], members: Sequence[int]) -> list[_Run]:
    """Join leaves of one pack that follow each other."""
    runs: list[_Run] = []
    for i in sorted(members, key=lambda i: wanted[i].place.offset):
        place = wanted[i].place
        start = place.start + place.offset
        stop = start + place.length
        last = runs[-1] if runs else None
        # The same leaf twice is one range, too.
        if last is not None and start <= last.stop + _GAP and stop - last.start <= _RUN:
            runs[-1] = _Run(last.start, max(last.stop, stop), [*last.members, i])
        else:
            runs.append(_Run(start, stop, [i]))
    return runs


def _blob_of(wanted: Wanted, data: memoryview) -> Blob | CorruptEntryError:
    try:
        blob = Blob.from_bytes(bytes(data), key=wanted.leaf)
        if blob.transformations:
            raise corrupt(wanted.leaf, "what is packed is not transformed by itself")
        if wanted.digest is not None and blob.digest != wanted.digest:
            raise corrupt(wanted.leaf, "the pack has another content than the manifest says")
    except CorruptEntryError as error:
        return error
    return blob


def _of_leaf(tier: Pool, wanted: Wanted, error: LailaError) -> LailaError:
    """Return the error of one leaf. If its pack is damaged, the error says which pack that is."""
    if not isinstance(error, CorruptEntryError):
        return error
    own = CorruptEntryError(
        f"{wanted.leaf} cannot be read out of the pack {wanted.place.pack}: {error}", key=wanted.leaf
    )
    return tier.placed(own)


def _open(tier: Pool, pack: str) -> _Opened | None:
    """Read the head of a pack, of which ranges can be read then; None where this pool does not have it."""

    def read(spans: Spans) -> Sequence[BytesLike]:
        found = tier.ranges_here(pack, spans)
        if found is None:
            raise corrupt(pack, "it was forgotten while it was read")
        return found

    first = tier.ranges_here(pack, [(0, _START)], short=True)
    if first is None:
        return None
    head = parse_head(whole_head(byte_view(first[0]), read), pack, True)
    if not head.transformations:
        return _Opened(read, _payload_start(pack, head.offsets()))
    try:
        inner, size = tier.reader_of(head, read)
    except TransformationError:
        return _read_whole(tier, pack)
    start = whole_head(byte_view(inner([(0, min(_START, size))])[0]), inner)
    plain = parse_head(start, pack, True)
    return _Opened(inner, _payload_start(pack, plain.offsets()))


def _read_whole(tier: Pool, pack: str) -> _Opened | None:
    """Read a pack in a form of which no part can be read alone, such as ``zstd``."""
    (blob,) = tier.load_here([pack])
    if blob is None:
        return None
    if isinstance(blob, BaseException):
        raise blob
    _payload_start(pack, blob.buffers)
    data = blob.buffers[0].data
    return _Opened(lambda spans: [data[start:stop] for start, stop in spans], 0)


def _payload_start(pack: str, starts: Sequence[object]) -> int:
    if len(starts) != 1:
        raise corrupt(pack, "it is no pack: it has no payload of bytes")
    (start,) = starts
    return start if isinstance(start, int) else 0
