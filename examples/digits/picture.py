"""The demo's picture: digits beside what the recovered model takes them for, and how it learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["draw"]

ROWS, COLUMNS = 4, 8
INK, FAINT, RIGHT, WRONG = "#22303c", "#8a97a3", "#1f7a5c", "#c2412d"


def draw(
    path: Path,
    images: NDArray[np.float64],
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    curve: Sequence[float],
    continued: Sequence[float],
) -> None:
    """Save it as ``path``: 32 test images, the doubtful ones last, and the accuracy of every epoch."""
    mpl.use("agg")
    from matplotlib import pyplot as plt

    guessed = probabilities.argmax(axis=1)
    certain = probabilities.max(axis=1)
    wrong = np.flatnonzero(guessed != labels)
    right = np.flatnonzero(guessed == labels)
    # Mostly ordinary ones, in the order of the data set, then what the model got wrong.
    shown = [*right[:: max(1, len(right) // 27)][: ROWS * COLUMNS - min(5, len(wrong))], *wrong[:5]]

    figure = plt.figure(figsize=(12, 5.6), dpi=130, facecolor="white")
    left, side = figure.subfigures(1, 2, width_ratios=(1.75, 1), squeeze=False)[0]
    left.suptitle("what the recovered model reads", x=0.055, y=0.97, ha="left", color=INK, fontsize=14)
    grid = left.subplots(ROWS, COLUMNS)
    left.subplots_adjust(left=0.05, right=0.985, top=0.89, bottom=0.06, hspace=0.46, wspace=0.18)
    for axes in grid.flat:
        axes.axis("off")
    for axes, which in zip(grid.flat, shown, strict=False):
        axes.imshow(images[which].reshape(8, 8), cmap="Greys", interpolation="nearest", vmin=0, vmax=16)
        good = guessed[which] == labels[which]
        text = f"{guessed[which]}  {certain[which]:.0%}" if good else f"{guessed[which]}, is {labels[which]}"
        axes.set_title(text, color=RIGHT if good else WRONG, fontsize=9.5, y=-0.28, pad=0)

    axes = side.subplots()
    side.subplots_adjust(left=0.16, right=0.95, top=0.89, bottom=0.12)
    side.suptitle("accuracy on the test images", x=0.16, y=0.97, ha="left", color=INK, fontsize=14)
    first = np.arange(1, len(curve) + 1)
    more = np.arange(len(curve), len(curve) + len(continued) + 1)
    axes.plot(first, curve, "o-", color=INK, label="first process, from its checkpoints")
    axes.plot(
        more, [curve[-1], *continued], "o--", color=RIGHT, mfc="white", label="second process, going on"
    )
    axes.axvline(len(curve), color=FAINT, lw=0.8, ls=":")
    axes.set_xlabel("epoch", color=INK)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.yaxis.set_major_formatter(lambda value, _position: f"{value:.0%}")
    axes.grid(axis="y", color="#e6eaee")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK)
    axes.legend(framealpha=1, edgecolor="white", loc="lower right", fontsize=9.5, labelcolor=INK)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    plt.close(figure)
