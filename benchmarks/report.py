"""What was measured, told: medians, ratios, a verdict a figure; as a table, as JSON and as a picture."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.bench import Figure

__all__ = ["Row", "make_row", "picture", "table", "write"]

NOISY = 1.6
"""A raw counterpart whose rounds differ by more than this says that the machine was too busy to judge."""


@dataclass(frozen=True)
class Row:
    """One figure of one workload. Values are in the figure's unit; a ratio is ours divided by the other's."""

    workload: str
    figure: str
    unit: str
    ours: float
    ours_range: tuple[float, float]
    ours_p99: float
    raw: float | None
    raw_range: tuple[float, float] | None
    ratio: float | None
    ratio_range: tuple[float, float] | None
    target: str
    verdict: str
    """``met``, ``missed``, ``noisy`` or, where there is no target, nothing."""


def make_row(
    workload: str, figure: Figure, ours: Sequence[Sequence[float]], raw: Sequence[Sequence[float]]
) -> Row:
    """Judge the rounds of one figure: each round's median beside that of the other side's round after it."""
    mine = [statistics.median(one) for one in ours]
    theirs = [statistics.median(one) for one in raw if one]
    every = sorted(value for one in ours for value in one)
    ratios = [a / b for a, b in zip(mine, theirs, strict=False) if b > 0]
    ratio = statistics.median(ratios) if ratios else None
    own = statistics.median(mine)
    targets, kept = [], []
    if figure.ratio is not None and ratio is not None:
        targets.append(f"≤ {figure.ratio:g} ×")
        kept.append(ratio <= figure.ratio)
    if figure.at_most is not None:
        targets.append(f"≤ {_number(figure.at_most, figure.unit)}")
        kept.append(own <= figure.at_most)
    verdict = "" if not kept else "met" if all(kept) else "missed"
    noisy = bool(theirs) and max(theirs) > NOISY * min(theirs)
    if verdict == "missed" and noisy:
        verdict = "noisy"
    return Row(
        workload,
        figure.name,
        figure.unit,
        own,
        (min(every), max(every)),
        every[min(len(every) - 1, int(len(every) * 0.99))],
        statistics.median(theirs) if theirs else None,
        (min(theirs), max(theirs)) if theirs else None,
        ratio,
        (min(ratios), max(ratios)) if ratios else None,
        ", ".join(targets),
        verdict,
    )


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    if unit != "s":
        return f"{value:,.1f} {unit}"
    for factor, name in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if value * factor >= 1 or name == "µs":
            return f"{value * factor:.3g} {name}"
    raise AssertionError


def table(rows: Sequence[Row], other: str = "raw") -> str:
    """A Markdown table of the rows."""
    lines = [
        f"| workload | figure | laila | min – p99 | {other} | min – max | ratio | min – max | target | |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- |",
    ]
    for row in rows:
        spread = f"{_number(row.ours_range[0], row.unit)} – {_number(row.ours_p99, row.unit)}"
        other_spread = (
            "" if row.raw_range is None else " – ".join(_number(v, row.unit) for v in row.raw_range)
        )
        ratio = "–" if row.ratio is None else f"{row.ratio:.2f}"
        ratios = "" if row.ratio_range is None else " – ".join(f"{v:.2f}" for v in row.ratio_range)
        cells = [row.workload, row.figure, _number(row.ours, row.unit), spread, _number(row.raw, row.unit)]
        cells += [other_spread, ratio, ratios, row.target, row.verdict]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


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
        return
    colors = {"met": "#2a7f62", "missed": "#b3432f", "noisy": "#c9a227", "": "#5b6770"}
    figure, axes = plt.subplots(figsize=(9, 0.32 * len(shown) + 1.2))
    for place, row in enumerate(shown):
        assert row.ratio is not None
        assert row.ratio_range is not None
        axes.barh(place, row.ratio, color=colors[row.verdict], height=0.7)
        axes.plot(row.ratio_range, (place, place), color="black", linewidth=1)
        if row.target.startswith("≤") and "×" in row.target:
            limit = float(row.target.split()[1])
            axes.plot((limit, limit), (place - 0.45, place + 0.45), color="black", linewidth=2)
    axes.set_yticks(range(len(shown)), [f"{row.workload} {row.figure}" for row in shown], fontsize=8)
    axes.invert_yaxis()
    axes.axvline(1, color="grey", linewidth=0.8, linestyle=":")
    axes.set_xlabel(f"time of laila / time of {other}; a thick mark is the target")
    figure.tight_layout()
    figure.savefig(file, dpi=120)
    plt.close(figure)
