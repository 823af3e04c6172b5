"""``make bench``: runs each workload and its raw counterpart in turn, and says which targets hold.

    python -m benchmarks [--only P7,P8] [--rounds 5] [--base REV] [--long] [--quick]

``--base REV`` runs an older tree of laila in place of the raw counterpart; ``--long`` runs also what takes
long. Exits 1 where a target was missed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import pkgutil
import platform
import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import workloads
from benchmarks.report import Row, make_row, table, write
from benchmarks.servers import started

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["chosen", "main", "older_tree"]

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"


class WorkloadError(Exception):
    """A side of a workload that did not come to its end."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--only", default="", help="workloads, such as P7 or P7,P8; all of them by default")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of A B (default: 5)")
    parser.add_argument(
        "--base", default="", metavar="REV", help="an older revision, in place of the raw side"
    )
    parser.add_argument(
        "--long", action="store_true", help="also what takes many minutes, and gigabytes of disk"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one round of as little as can be, to see that all work: no verdicts",
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="where results go")
    options = parser.parse_args(arguments)
    names = chosen(options.only, long=options.long)
    if not names:
        parser.error(f"no workload is called {options.only!r}; there are {', '.join(chosen('', long=True))}")
    facts = machine()
    if os.getloadavg()[0] > len(os.sched_getaffinity(0)) / 2:
        print("the machine is busy already: what follows says little", file=sys.stderr, flush=True)
    rows: list[Row] = []
    failed: list[str] = []
    variables = {"LAILA_BENCH_QUICK": "1"} if options.quick else {}
    with older_tree(options.base) as base, started(needed(names)) as servers:
        variables["LAILA_BENCH_SERVERS"] = json.dumps(servers)
        for name in names:
            try:
                rows += measure(name, 1 if options.quick else options.rounds, variables, base)
            except WorkloadError as error:  # the others are measured all the same
                failed.append(str(error))
                print(error, file=sys.stderr, flush=True)
    facts |= load("at the end")
    if options.quick or options.base:  # the targets are about the raw counterparts
        rows = [replace(row, verdict="", target="", limit=None) for row in rows]
    other = f"laila at {options.base}" if options.base else "its raw backend"
    text = table(rows, "base" if options.base else "raw")
    print(text)
    write(rows, facts, options.results, other)
    print(f"written to {options.results}")
    for verdict in ("missed", "noisy"):
        for row in rows:
            if row.verdict == verdict:
                print(f"{verdict}: {row.workload} {row.figure}: {row.target}")
    if any(row.verdict == "noisy" for row in rows):
        print("noisy: the machine was too busy to judge these; close what else runs, and run them again")
    for failure in failed:
        print(f"failed: {failure}")
    return int(bool(failed) or any(row.verdict == "missed" for row in rows))


def chosen(only: str, *, long: bool = False) -> list[str]:
    """The modules of the workloads that ``only`` names, in their order; all but the long ones by default."""
    every = sorted(info.name for info in pkgutil.iter_modules(workloads.__path__))
    if not only:
        return [name for name in every if long or not getattr(workload_of(name), "LONG", False)]
    wanted = [re.sub(r"^p(\d)$", r"p0\1", one.strip().lower()) for one in only.split(",")]
    return [name for name in every if name.partition("_")[0] in wanted or name in wanted]


def workload_of(name: str) -> Any:
    """The module of a workload."""
    return importlib.import_module(f"benchmarks.workloads.{name}")


def needed(names: Sequence[str]) -> set[str]:
    """The servers that the workloads use."""
    found: set[str] = set()
    for name in names:
        found |= set(getattr(workload_of(name), "SERVERS", ()))
    return found


def measure(name: str, rounds: int, variables: dict[str, str], base: dict[str, str] | None) -> list[Row]:
    """Run the two sides of one workload in turn, and judge each of its figures."""
    workload = workload_of(name)
    rounds = min(rounds, getattr(workload, "ROUNDS", rounds))
    number_of = re.match(r"p0?(\d+)_", name)
    title = f"P{number_of[1]}" if number_of else name.replace("_", " ")
    ours: list[dict[str, list[float]]] = []
    raw: list[dict[str, list[float]]] = []
    for number in range(rounds):
        print(
            f"{title} {workload.__doc__.splitlines()[0]} round {number + 1} of {rounds}",
            file=sys.stderr,
            flush=True,
        )
        ours.append(run(name, "ours", variables))
        if base is not None:
            raw.append(run(name, "ours", variables | base))
        elif hasattr(workload, "raw"):
            raw.append(run(name, "raw", variables))
    return [
        make_row(
            title,
            figure,
            [one[figure.name] for one in ours],
            [one.get(figure.name, []) for one in raw],
        )
        for figure in workload.FIGURES
    ]


def run(name: str, side: str, variables: dict[str, str]) -> dict[str, list[float]]:
    """Run one side in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.worker", name, side],
        cwd=ROOT,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=7200 if getattr(workload_of(name), "LONG", False) else 900,
    )
    if done.returncode:
        raise WorkloadError(f"{name}, {side}: exit code {done.returncode}")
    samples: dict[str, list[float]] = json.loads(done.stdout.rstrip().rpartition("\n")[2])
    return samples


@contextlib.contextmanager
def older_tree(revision: str) -> Iterator[dict[str, str] | None]:
    """Check ``revision`` out beside; give the variables with which a process imports laila from there."""
    if not revision:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "base"
        subprocess.run(
            ["git", "worktree", "add", "--detach", "--quiet", str(tree), revision], cwd=ROOT, check=True
        )
        try:
            sources = sorted(str(path) for path in tree.glob("laila-*/src"))
            yield {"PYTHONPATH": os.pathsep.join(sources)}
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=ROOT, check=True)


def machine() -> dict[str, str]:
    """What the figures depend on."""
    revision = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "revision": revision,
        "python": platform.python_version(),
        "processors": f"{len(os.sched_getaffinity(0))} × {platform.machine()}",
        "folder": f"on {file_system(Path(os.environ.get('LAILA_BENCH_FOLDER', tempfile.gettempdir())))}",
        **load("at the start"),
    }


def load(when: str) -> dict[str, str]:
    """How many processes ran or waited for the disk in the last minute."""
    return {f"load {when}": f"{os.getloadavg()[0]:.1f}"}


def file_system(folder: Path) -> str:
    """The type of the file system that ``folder`` is on; on tmpfs what is synced goes nowhere."""
    mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    found = [(place, kind) for place, kind in mounts if folder.resolve().is_relative_to(place)]
    return max(found, key=lambda mount: len(mount[0]), default=("", "unknown"))[1]


if __name__ == "__main__":
    sys.exit(main())
