"""Which entries a pool need not be sent, since it has their content already.

Only where the id was made from the content (``by="content"``), so that no other content bears it. What is
stored is told from what is to be by its head: its id and its content digest. The payload there is not read.
"""

from __future__ import annotations

from laila.entry import Manifest
from laila.entry.content import digests_now
from laila.errors import LailaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from laila.contract.pool import Pool
    from laila.entry import Entry

__all__ = ["has_contents", "is_asked_for", "known_in", "known_where"]

_LARGE_BYTES = 64 * 1024
"""From this size on it pays to ask before sending."""


def known_in(pool: Pool, entries: Sequence[Entry]) -> set[int]:
    """Return the places of the entries that ``pool`` has already. Asks as one batch, and waits for it.

    Small ones are not asked for. A pool that cannot answer has none: storing meets what is wrong with it.
    """
    return known_where(entries, lambda contents: has_contents(pool, contents))


def known_where(
    entries: Sequence[Entry], ask: Callable[[Sequence[tuple[str, bytes]]], Sequence[bool]]
) -> set[int]:
    """Return the places of the entries that are there already; ``ask`` says it of ids with their digests."""
    asked = {
        i: content.digest
        for i, entry in enumerate(entries)
        if (content := entry._content) is not None and is_asked_for(entry)
    }
    if not asked:
        return set()
    try:
        found = ask([(entries[i].global_id, digest) for i, digest in asked.items()])
    except (LailaError, OSError):
        return set()
    there = [i for i, known in zip(asked, found, strict=True) if known]
    # What was changed since its id was made is no content that is there: taking its snapshot tells of it.
    digests = digests_now(entries[i]._payload for i in there)
    return {i for i, digest in zip(there, digests, strict=True) if digest == asked[i]}


def is_asked_for(entry: Entry) -> bool:
    """Whether an entry has an id by content, and is large enough to ask for it."""
    content = entry._content
    return content is not None and content.nbytes >= _LARGE_BYTES and not isinstance(entry, Manifest)


def has_contents(pool: Pool, contents: Sequence[tuple[str, bytes]]) -> list[bool]:
    """Return for each id and content digest whether the tier that decides has that content, as its head says.

    Raises what the backend raises.
    """
    last = pool.deciding_tier
    heads = last.heads_here([key for key, _ in contents])
    return [
        head is not None and not isinstance(head, LailaError) and last.is_content(head, digest)
        for head, (_, digest) in zip(heads, contents, strict=True)
    ]
