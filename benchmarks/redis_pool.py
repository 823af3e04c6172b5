"""The Redis pool beside redis-py alone, on one private server, in turn: median, min and max, and the ratio.

    .venv/bin/python benchmarks/redis_pool.py [--rounds N] [--durable process]

Through laila: payload to entry, `memorize` and `remember` through the policy, until the payload is back. Raw:
the same number of bytes, by a pipeline of SET, by MGET, SET and GET.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import redis

import laila
from laila.pool.redis import RedisPool

if TYPE_CHECKING:
    from collections.abc import Callable

COUNT = 1000
MIB = 1 << 20


def timed(work: Callable[[], object]) -> float:
    """Seconds that ``work`` takes."""
    gc.collect()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class Workloads:
    """Each method is one round of one workload; `raw` and `ours` of a name are comparable."""

    def __init__(self, pool: RedisPool, client: Any) -> None:
        self.pool = pool
        self.client = client
        self.payloads = [os.urandom(1024) for _ in range(COUNT)]
        self.names = [f"raw/{number:040d}" for number in range(COUNT)]
        self.array = np.frombuffer(os.urandom(16 * MIB))
        self.ids: list[str] = []
        self.id = ""

    def small_write(self) -> tuple[float, float]:
        """P8: 1,000 x 1 KiB in one call."""
        self.client.flushall()

        def raw() -> None:
            pipeline = self.client.pipeline(transaction=False)
            for name, payload in zip(self.names, self.payloads, strict=True):
                pipeline.set(name, payload)
            pipeline.execute()

        entries = [laila.constant(payload) for payload in self.payloads]
        ours = timed(lambda: laila.memorize(entries).wait())
        self.ids = [entry.global_id for entry in entries]
        return timed(raw), ours

    def small_read(self) -> tuple[float, float]:
        """P8: the same, back."""
        raw = timed(lambda: self.client.mget(self.names))
        return raw, timed(lambda: laila.remember(self.ids).data)

    def large_write(self) -> tuple[float, float]:
        """P9: an array of 16 MiB."""
        data = self.array.tobytes()
        raw = timed(lambda: self.client.set("raw/array", data))
        entry = laila.constant(self.array)
        ours = timed(lambda: laila.memorize(entry).wait())
        self.id = entry.global_id
        return raw, ours

    def large_read(self) -> tuple[float, float]:
        """P9: the same, back."""
        raw = timed(lambda: self.client.get("raw/array"))
        return raw, timed(lambda: laila.remember(self.id).data)


TARGETS = {"small_write": 1.8, "small_read": 2.2, "large_write": 1.5, "large_read": 1.3}


def main() -> int:
    """Measure and print; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--durable", choices=["process", "power"], default="process")
    options = parser.parse_args()
    missed = False
    with (
        tempfile.TemporaryDirectory() as folder,
        RedisPool(path=f"{folder}/redis", durable=options.durable) as pool,
        redis.Redis(unix_socket_path=f"{folder}/redis/server.sock") as client,
    ):
        laila.alpha_pool = laila.memory.extend(pool)
        workloads = Workloads(pool, client)
        seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in TARGETS}
        for round_ in range(options.rounds + 1):
            for name, rows in seconds.items():
                row = getattr(workloads, name)()
                if round_:  # the first one warms up
                    rows.append(row)
        for name, rows in seconds.items():
            raw, ours = ([row[side] * 1000 for row in rows] for side in (0, 1))
            ratio = statistics.median(ours) / statistics.median(raw)
            missed |= ratio > TARGETS[name]
            shown = " ".join(
                f"{who} {statistics.median(some):7.2f} ms ({min(some):.2f}-{max(some):.2f})"
                for who, some in (("raw", raw), ("ours", ours))
            )
            print(f"{name:12} {shown}  ratio {ratio:.2f}, target {TARGETS[name]}")
        laila.terminate()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
