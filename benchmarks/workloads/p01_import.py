"""A fresh process imports laila; and memorizes a first constant."""

from __future__ import annotations

from benchmarks.bench import Bench, Figure

FIGURES = [Figure("import laila", ratio=0.3), Figure("up to the first constant", ratio=1.5)]


def ours(bench: Bench) -> None:
    bench.process("import laila", "import laila")
    bench.process("up to the first constant", "import laila; laila.memorize(laila.constant(1)).wait()")


def raw(bench: Bench) -> None:
    for figure in FIGURES:
        bench.process(figure.name, "import numpy")
