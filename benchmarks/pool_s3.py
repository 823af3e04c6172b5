"""P10 and P11: an S3 pool beside obstore alone, on the same server, in turns.

    .venv/bin/python benchmarks/pool_s3.py [--rounds N]

Starts the test server. Prints the medians, the least and the most in milliseconds, and the ratio of the medians;
ends with 1 where a ratio is above the target.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import uuid
from datetime import timedelta
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from obstore.store import S3Store

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import laila
from laila.pool.s3 import S3Pool
from servers.s3 import S3Server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

TARGET = 1.25
COUNT, SMALL, LARGE = 200, 64 * 1024, 32 * 1024 * 1024


class Raw:
    """What the client library does alone: its asyncio interface, 32 requests at a time."""

    def __init__(self, server: S3Server, bucket: str) -> None:
        self.store = S3Store(
            bucket,
            endpoint=server.endpoint,
            region="us-east-1",
            access_key_id=server.admin.access_key,
            secret_access_key=server.admin.secret_key,
            client_options={"allow_http": True, "timeout": timedelta(seconds=60)},
        )
        self.loop = asyncio.new_event_loop()

    def many(self, ask: Callable[[int], Awaitable[object]]) -> None:
        async def run() -> None:
            gate = asyncio.Semaphore(32)

            async def one(place: int) -> None:
                async with gate:
                    await ask(place)

            await asyncio.gather(*map(one, range(COUNT)))

        self.loop.run_until_complete(run())


async def _whole(store: S3Store, name: str) -> None:
    await (await store.get_async(name)).bytes_async()


def measure(server: S3Server, rounds: int) -> dict[str, tuple[list[float], list[float]]]:
    bucket = server.make_bucket()
    laila.alpha_pool = S3Pool(bucket, **server.options(), prefix="laila")
    raw = Raw(server, bucket)
    generator = np.random.default_rng(0)
    small = [generator.bytes(SMALL) for _ in range(COUNT)]
    large = generator.random(LARGE // 8)
    plain = memoryview(large).cast("B")
    times: dict[str, tuple[list[float], list[float]]] = {}

    def clock(what: str, whose: int, work: Callable[[], object]) -> object:
        begin = perf_counter()
        done = work()
        times.setdefault(what, ([], []))[whose].append((perf_counter() - begin) * 1000)
        return done

    for turn in range(rounds + 1):  # the first is to warm up: a new bucket is slow
        if turn == 1:
            times.clear()
        mark = uuid.uuid4().hex
        names = [f"raw/{mark}/{place}" for place in range(COUNT)]

        def ours(what: str, mark: str = mark) -> None:
            entries = [laila.constant(each, nickname=f"{mark}-{i}") for i, each in enumerate(small)]
            ids = [entry.global_id for entry in entries]
            clock(f"{what}, write", 0, lambda: laila.memorize(entries).wait(60))
            group = clock(f"{what}, read", 0, lambda: laila.remember(ids).wait(60))
            assert [entry.data for entry in group] == small  # type: ignore[attr-defined]  # a list of entries
            clock(f"{what}, delete", 0, lambda: laila.forget(ids).wait(60))

        def theirs(what: str, names: Sequence[str] = tuple(names)) -> None:
            store = raw.store
            clock(f"{what}, write", 1, lambda: raw.many(lambda i: store.put_async(names[i], small[i])))
            clock(f"{what}, read", 1, lambda: raw.many(lambda i: _whole(store, names[i])))
            clock(f"{what}, delete", 1, lambda: raw.many(lambda i: store.delete_async(names[i])))

        def ours_large(what: str, mark: str = mark) -> None:
            entry = laila.constant(large, nickname=mark)
            clock(f"{what}, write", 0, lambda: laila.memorize(entry).wait(60))
            found = clock(f"{what}, read", 0, lambda: laila.remember(entry.global_id).wait(60).data)
            assert isinstance(found, np.ndarray)
            assert found[-1] == large[-1]
            laila.forget(entry).wait(60)

        def theirs_large(what: str, mark: str = mark) -> None:
            clock(f"{what}, write", 1, lambda: raw.store.put(f"large/{mark}", plain))
            clock(f"{what}, read", 1, lambda: raw.store.get(f"large/{mark}").bytes())
            raw.store.delete(f"large/{mark}")

        for what, pair in (("200 x 64 KiB", (ours, theirs)), ("32 MiB array", (ours_large, theirs_large))):
            for side in pair if turn % 2 else pair[::-1]:
                side(what)
    laila.terminate()
    return times


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    missed = 0
    with S3Server() as server:
        times = measure(server, options.rounds)
    print(f"{'ms':<24}{'laila':>24}{'obstore':>26}{'ratio':>8}")
    for what, sides in times.items():
        shown = [f"{median(some):7.1f} ({min(some):.1f}–{max(some):.1f})" for some in sides]
        ratio = median(sides[0]) / median(sides[1])
        missed += ratio > TARGET
        print(f"{what:<24}{shown[0]:>24}{shown[1]:>26}{ratio:>8.2f}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
