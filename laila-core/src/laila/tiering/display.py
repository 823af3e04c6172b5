"""How a pool and the chain behind it look: as one line, and as a table in notebooks."""

from __future__ import annotations

from html import escape

from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from laila.contract.pool import Pool

__all__ = ["chain_html", "chain_text"]

_COLUMNS = ("entries", "bytes", "hits", "misses", "fills", "failures", "evictions")
_ALWAYS = ("hits", "misses")
_IN_A_LINE = (*_ALWAYS, "fills", "failures", "evictions")


def chain_text(pool: Pool) -> str:
    """Return one line with each tier and its counters, nearest first; hides zeros except hits and misses."""
    return f"<{' << '.join(map(_tier_text, pool.chain()))}>"


def _tier_text(tier: Pool) -> str:
    facts = _facts(tier)
    shown = [f"{name}={facts[name]}" for name in _IN_A_LINE if facts.get(name) or name in _ALWAYS]
    return " ".join([type(tier).__name__, _name(tier), *(["closed"] if tier.closed else []), *shown])


def chain_html(pool: Pool) -> str:
    """Return a table with a row for each tier, nearest first. All text is escaped."""
    chain = pool.chain()
    every = [_facts(tier) for tier in chain]
    known = {name: None for facts in every for name in facts}
    columns = [name for name in _COLUMNS if name in known] + [name for name in known if name not in _COLUMNS]
    rows = [
        _row(
            "td",
            [tier.label, type(tier).__name__ + (" (closed)" if tier.closed else "")],
            [facts.get(name, "") for name in columns],
        )
        for tier, facts in zip(chain, every, strict=True)
    ]
    caption = "one pool" if len(chain) == 1 else "one store" if pool.write_through else "a read cache"
    return (
        f"<table><caption>{caption}</caption>{_row('th', ['tier', 'kind'], columns)}{''.join(rows)}</table>"
    )


def _facts(tier: Pool) -> dict[str, object]:
    counters: dict[str, object] = {
        "hits": tier.hits,
        "misses": tier.misses,
        "fills": tier.fills,
        "failures": tier.failures,
    }
    return counters if tier.closed else {**counters, **tier._facts()}


def _name(tier: Pool) -> str:
    return f"nickname={shown(tier.nickname)}" if tier.nickname else tier._place()


def _row(cell: str, texts: Iterable[object], numbers: Iterable[object]) -> str:
    left = "".join(f'<{cell} style="text-align:left">{escape(str(text))}</{cell}>' for text in texts)
    right = "".join(
        f"<{cell}>{escape(f'{number:,}' if type(number) is int else str(number))}</{cell}>"
        for number in numbers
    )
    return f"<tr>{left}{right}</tr>"
