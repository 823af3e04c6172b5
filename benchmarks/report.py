"""What was measured, told: medians, ratios, a verdict a figure; as tables, as JSON and as a picture."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmarks.bench import Figure

__all__ = ["Row", "Side", "make_row", "picture", "table", "write"]

NOISY = 1.6
"""Where the medians of one side's rounds differ by more than this, the machine was too busy to judge."""


@dataclass(frozen=True)
class Side:
    """What one side of a figure took, over all rounds, in the figure's unit."""

    median: float
    """The median of the rounds' medians."""
    low: float
    p99: float
    high: float
    spread: float
    """The greatest median of a round divided by the least."""

    @classmethod
    def of(cls, rounds: Sequence[Sequence[float]]) -> Side | None:
        """Sum the rounds up; None where there are none."""
        medians = [statistics.median(one) for one in rounds if one]
        if not medians:
            return None
        every = [value for one in rounds for value in one]
        spread = max(medians) / min(medians) if min(medians) > 0 else 1.0
        return cls(statistics.median(medians), min(every), _p99(every), max(every), spread)


@dataclass(frozen=True)
class Row:
    """One figure of one workload. Values are in the figure's unit; a ratio is ours divided by the other's."""

    workload: str
    figure: str
    unit: str
    per: str
    latency: bool
    ours: Side
    raw: Side | None
    ratio: float | None
    ratio_range: tuple[float, float] | None
    p99_ratio: float | None
    limit: float | None
    """The greatest ratio that is on target."""
    target: str
    verdict: str
    """``met``, ``missed``, ``known`` (missed, and explained), ``noisy``; nothing where there is no target."""
    why: str = ""
    """Where the limit is, of what is ``known``."""


def make_row(
    workload: str, figure: Figure, ours: Sequence[Sequence[float]], raw: Sequence[Sequence[float]]
) -> Row:
    """Judge the rounds of one figure: each round's median beside that of the other side's round after it."""
    mine, theirs = Side.of(ours), Side.of(raw)
    assert mine is not None, f"{workload} measured nothing as {figure.name!r}"
    pairs = [(a, b) for a, b in zip(ours, raw, strict=False) if a and b and statistics.median(b) > 0]
    ratios = [statistics.median(a) / statistics.median(b) for a, b in pairs]
    ratio = statistics.median(ratios) if ratios else None
    p99 = statistics.median(_p99(a) / _p99(b) for a, b in pairs) if pairs else None
    targets, kept = [], []
    if figure.ratio is not None and ratio is not None:
        targets.append(f"≤ {figure.ratio:g} ×")
        kept.append(ratio <= figure.ratio)
    if figure.p99 is not None and p99 is not None:
        targets.append(f"p99 ≤ {figure.p99:g} ×")
        kept.append(p99 <= figure.p99)
    if figure.at_most is not None:
        targets.append(f"≤ {_number(figure.at_most, figure.unit)}")
        kept.append(mine.median <= figure.at_most)
    verdict = "" if not kept else "met" if all(kept) else "missed"
    if verdict == "missed" and figure.known is not None and ratio is not None and ratio <= figure.known:
        verdict = "known"
    # Memory and counts do not depend on what else the machine does: of those a miss is a miss.
    timed = figure.unit in ("s", "×")
    if (
        verdict == "missed"
        and timed
        and any(one is not None and one.spread > NOISY for one in (mine, theirs))
    ):
        verdict = "noisy"
    return Row(
        workload,
        figure.name,
        figure.unit,
        figure.per,
        figure.latency,
        mine,
        theirs,
        ratio,
        (min(ratios), max(ratios)) if ratios else None,
        p99,
        figure.ratio,
        ", ".join(targets),
        verdict,
        figure.why if verdict == "known" else "",
    )


def _p99(samples: Sequence[float]) -> float:
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


def _number(value: float, unit: str) -> str:
    if unit != "s":
        return f"{value:,.2f} {unit}" if abs(value) < 10 else f"{value:,.0f} {unit}"
    for factor, name in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if value * factor >= 1 or name == "µs":
            return f"{value * factor:.3g} {name}"
    raise AssertionError


def table(rows: Sequence[Row], other: str = "raw") -> str:
    """The rows as Markdown tables: latencies in one of their own."""
    columns = [
        "workload",
        "figure",
        "laila",
        "min – p99 – max",
        other,
        "min – p99 – max",
        "ratio",
        "min – max",
    ]
    latency = ["workload", "latency", "laila p50", "p99", "max", f"{other} p50", "p99", "max"]
    told = [
        _lines(columns, [row for row in rows if not row.latency], _cells),
        _lines([*latency, "p50 ratio", "p99 ratio"], [row for row in rows if row.latency], _latency_cells),
    ]
    return "\n".join(text for text in told if text)


def _lines(columns: Sequence[str], rows: Sequence[Row], cells: Callable[[Row], list[str]]) -> str:
    lines = [
        [*columns, "target", ""],
        ["---", "---", *("---:" for _ in columns[2:]), "---", "---"],
        *([row.workload, _name(row), *cells(row), row.target, _told(row)] for row in rows),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) if rows else ""


def _told(row: Row) -> str:
    return f"{row.verdict}: {row.why}" if row.why else row.verdict


def _name(row: Row) -> str:
    return f"{row.figure}, per {row.per}" if row.per else row.figure


def _cells(row: Row) -> list[str]:
    cells = []
    for side in (row.ours, row.raw):
        if side is None:
            cells += ["–", ""]
        else:
            values = (_number(value, row.unit) for value in (side.low, side.p99, side.high))
            cells += [_number(side.median, row.unit), " – ".join(values)]
    ranges = "" if row.ratio_range is None else " – ".join(f"{v:.2f}" for v in row.ratio_range)
    return [*cells, _ratio(row.ratio), ranges]


def _latency_cells(row: Row) -> list[str]:
    cells = []
    for side in (row.ours, row.raw):
        values = (None,) * 3 if side is None else (side.median, side.p99, side.high)
        cells += ["–" if value is None else _number(value, row.unit) for value in values]
    return [*cells, _ratio(row.ratio), _ratio(row.p99_ratio)]


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def write(rows: Sequence[Row], facts: dict[str, str], folder: Path, other: str = "raw") -> None:
    """Write ``results.json``, ``results.md`` and ``results.png`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    report = {"machine": facts, "other": other, "rows": [asdict(row) for row in rows]}
    (folder / "results.json").write_text(json.dumps(report, indent=1) + "\n")
    told = "\n".join(f"- {name}: {fact}" for name, fact in facts.items())
    (folder / "results.md").write_text(f"# laila beside {other}\n\n{told}\n\n{table(rows, other)}")
    picture(rows, folder / "results.png", other)


def picture(rows: Sequence[Row], file: Path, other: str = "raw") -> None:
    """Draw the ratios as bars, each with its range and its target."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    shown = [row for row in rows if row.ratio is not None]
    if not shown:
        file.unlink(missing_ok=True)  # that of an earlier run
        return
    colors = {"met": "#2a7f62", "missed": "#b3432f", "known": "#8f6f3e", "noisy": "#c9a227", "": "#5b6770"}
    figure, axes = plt.subplots(figsize=(10, 0.3 * len(shown) + 1.2))
    for place, row in enumerate(shown):
        assert row.ratio is not None
        assert row.ratio_range is not None
        axes.barh(place, row.ratio - 1, left=1, color=colors[row.verdict], height=0.7)
        axes.plot(row.ratio_range, (place, place), color="black", linewidth=1)
        if row.limit is not None:
            axes.plot((row.limit, row.limit), (place - 0.45, place + 0.45), color="black", linewidth=2)
    axes.set_yticks(range(len(shown)), [f"{row.workload} {row.figure}" for row in shown], fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.margins(y=0.01)
    axes.set_xlabel(f"laila / {other}; to the left of 1: quicker; a thick mark: the target")
    figure.tight_layout()
    figure.savefig(file, dpi=120)
    plt.close(figure)
