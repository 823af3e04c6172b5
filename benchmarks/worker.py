"""One side of one workload in a process of its own: ``python -m benchmarks.worker p07_hdf5_small ours``."""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.bench import Bench


def main(name: str, side: str) -> None:
    """Run it; the samples go to the last line of standard output as JSON."""
    workload = importlib.import_module(f"benchmarks.workloads.{name}")
    with tempfile.TemporaryDirectory(dir=os.environ.get("LAILA_BENCH_FOLDER")) as folder:
        os.environ["LAILA_HOME"] = str(Path(folder) / "home")
        servers = json.loads(os.environ.get("LAILA_BENCH_SERVERS", "{}"))
        bench = Bench(Path(folder), servers, quick=bool(os.environ.get("LAILA_BENCH_QUICK")))
        getattr(workload, side)(bench)
        if "laila" in sys.modules:
            sys.modules["laila"].terminate()
    print()
    print(json.dumps(bench.samples))


if __name__ == "__main__":
    main(*sys.argv[1:])
