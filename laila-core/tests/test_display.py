"""How pools and chains look: in one line, and as a table in a notebook."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

import laila
from laila.entry import to_blob

pytestmark = pytest.mark.usefixtures("policy")


class Table(HTMLParser):
    """Reads a table: rows of cells; refuses what is not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.caption = ""
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._open.append(tag)
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1] == "caption":
            self.caption += data
        else:
            self.rows[-1][-1] += data


def table_of(pool: laila.Pool) -> Table:
    return Table(pool._repr_html_())


def test_a_line_has_every_tier_with_its_counters() -> None:
    near, far = laila.MemoryPool(nickname="near", max_bytes=6000), laila.MemoryPool(nickname="far")
    laila.alpha_pool = laila.tiers(near, far)
    entries = [laila.constant(bytes(900)) for _ in range(4)]
    far.store([to_blob(entry) for entry in entries])
    assert (
        repr(near)
        == "<MemoryPool nickname='near' hits=0 misses=0 << MemoryPool nickname='far' hits=0 misses=0>"
    )
    for entry in (*entries, entries[-1]):
        laila.remember(entry).wait()
    assert repr(near) == (
        "<MemoryPool nickname='near' hits=1 misses=4 fills=4 evictions=2 << "
        "MemoryPool nickname='far' hits=4 misses=0>"
    )
    assert repr(far) == "<MemoryPool nickname='far' hits=4 misses=0>"
    near.close()
    laila.remember(entries[0]).wait()
    assert repr(near).startswith("<MemoryPool nickname='near' closed hits=1 misses=5 fills=4 failures=2 <<")
    unnamed = laila.MemoryPool()
    assert repr(unnamed) == f"<MemoryPool {unnamed.uuid[:8]} hits=0 misses=0>"


def test_a_table_of_a_chain_of_four() -> None:
    names = ["near", "<b>&\"'bold", "third", "last"]
    tiers = [laila.MemoryPool(nickname=name) for name in names[:3]]
    tiers[0] = laila.MemoryPool(nickname="near", max_bytes=1_000_000)
    last = laila.MemoryPool(nickname="last")
    laila.alpha_pool = laila.tiers(*tiers, last)
    entries = [laila.constant(i) for i in range(1200)]
    last.store([to_blob(entry) for entry in entries])
    laila.remember(entries).wait()
    laila.remember(entries[-2:]).wait()
    tiers[2].close()
    tiers[0].empty()
    tiers[1].empty()
    laila.remember(entries[0]).wait()

    table = table_of(tiers[0])
    assert table.caption == "one store"
    assert table.tags == {"table", "caption", "tr", "th", "td"}
    head, *rows = table.rows
    assert head == ["tier", "kind", "entries", "bytes", "hits", "misses", "fills", "failures", "evictions"]
    cells = [dict(zip(head, row, strict=True)) for row in rows]
    assert [row["tier"] for row in cells] == names
    assert [row["kind"] for row in cells] == ["MemoryPool", "MemoryPool", "MemoryPool (closed)", "MemoryPool"]
    assert [row["entries"] for row in cells] == ["1", "1", "", "1,200"]
    assert cells[0]["bytes"] == f"{tiers[0].nbytes:,} of 1,000,000"
    assert [row["bytes"] for row in cells[1:]] == ["", "", ""]
    assert [row["hits"] for row in cells] == ["2", "0", "0", "1,201"]
    assert [row["misses"] for row in cells] == ["1,201", "1,201", "1,201", "0"]
    assert [row["fills"] for row in cells] == ["1,201", "1,201", "1,200", "0"]
    assert [row["failures"] for row in cells] == ["0", "0", "2", "0"]
    assert int(cells[0]["evictions"].replace(",", "")) == tiers[0].evictions > 0

    assert "<b>" not in tiers[0]._repr_html_()
    assert table_of(last).caption == "one pool"
    assert len(table_of(last).rows) == 2
    assert table_of(tiers[1]).caption == "a read cache"


def test_a_pool_may_add_what_it_knows() -> None:
    class Own(laila.MemoryPool):
        def _facts(self) -> dict[str, object]:
            return {"server": "<here>", "entries": 3}

    table = table_of(Own(nickname="own"))
    assert table.rows[0][-1] == "server"
    assert table.rows[1][-1] == "<here>"
    assert "hits=0 misses=0>" in repr(Own())
