"""Four times as much takes four times as many operations, whatever the parts of a payload share.

Calls are counted, not seconds: they are the same on a busy machine.
"""

from __future__ import annotations

import ipaddress
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from laila.codec import decode, encode, register_type

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"


@register_type
class Options(dict[Any, Any]):
    pass


@register_type
class Node:
    def __init__(self, value: Any = None, following: Any = None) -> None:
        self.value = value
        self.following = following


class Lock:
    """Which only a pickle carries."""

    def __init__(self, held: Any = None) -> None:
        self.held = held

    def __reduce__(self) -> Any:
        return Lock, (), {"held": self.held}


def calls(run: Callable[[], object]) -> int:
    count = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
    return count


def grows(make: Callable[[int], Any], few: int, most: float) -> None:
    """``most`` is what one of the things that ``make`` makes so many of may take, there and back."""
    encode(make(few // 2), key=KEY)  # imports and caches
    payloads = make(few), make(4 * few)
    blobs = [encode(payload, key=KEY) for payload in payloads]
    decode(blobs[0])
    writing = [calls(partial(encode, payload, key=KEY)) for payload in payloads]
    reading = [calls(partial(decode, blob)) for blob in blobs]
    assert writing[1] < 4.5 * writing[0] + 500
    assert reading[1] < 4.5 * reading[0] + 500
    assert (writing[1] + reading[1]) / (4 * few) < most


# -- what is shared


def pairs_that_share(count: int) -> Any:
    shared: list[Any] = []
    for number in range(count):
        held = [number]
        shared += [Options(a=held), Node(held)]
    return shared


def linked(count: int) -> Any:
    node = None
    for number in range(count):
        node = Node(number, node)
    return node


def linked_both_ways(count: int) -> Any:
    nodes = [Node(number) for number in range(count)]
    for one, other in zip(nodes, nodes[1:] + nodes[:1], strict=True):
        one.following, other.value = other, one
    return nodes


def nested(count: int) -> Any:
    found: Any = {}
    for number in range(count):
        found = {"number": number, "below": found, "beside": [number]}
    return found


def pickled_cycles(count: int) -> Any:
    locks = [Lock() for _ in range(2 * count)]
    for one, other in zip(locks[::2], locks[1::2], strict=True):
        one.held, other.held = [other], [one, locks[0]]
    return locks


def folds(count: int) -> Any:
    data = np.arange(1000.0)
    return [{"train": data[number:], "test": data[:number], "all": data} for number in range(1, count + 1)]


SHARED: dict[str, tuple[Callable[[int], Any], int, float]] = {
    "pairs of instances that share a list": (pairs_that_share, 60, 120),
    "one object many times": (lambda n: [Node(1)] * n, 500, 10),
    "one object in many": (partial(lambda held, n: [Node(held) for _ in range(n)], [1]), 60, 100),
    "one object in many of many kinds": (
        partial(lambda held, n: [(Node(held), [held, {"a": held}], Options(b=held)) for _ in range(n)], {1}),
        60,
        200,
    ),
    "a linked list": (linked, 60, 300),
    "nested dicts": (nested, 250, 150),
    "cycles of many objects": (linked_both_ways, 60, 600),
    "cycles of what is pickled": (pickled_cycles, 60, 600),
    "arrays of a memo": (
        lambda n: (lambda arrays: [dict(enumerate(arrays)), arrays, arrays[::2]])(
            [np.arange(3) + number for number in range(n)]
        ),
        60,
        600,
    ),
    "views of one array": (
        lambda n: (lambda base: [base[number : number + 50] for number in range(n)])(np.arange(1000)),
        60,
        900,
    ),
    "folds of one array": (folds, 60, 2400),
    "columns of one matrix": (
        lambda n: (lambda base: [base[:, number] for number in range(n)])(np.zeros((9, n))),
        60,
        900,
    ),
}


@pytest.mark.parametrize("kind", SHARED)
def test_what_is_shared(kind: str) -> None:
    grows(*SHARED[kind])


# -- libraries


def pandas_kinds() -> dict[str, tuple[Callable[[int], Any], int, float]]:
    import pandas as pd

    def frame(rows: int = 5, index: Any = None) -> Any:
        return pd.DataFrame({"a": range(rows), "b": ["x"] * rows}, index=index)

    def sharing(count: int) -> Any:
        index = pd.Index([f"r{number}" for number in range(5)])
        return [(frame(5, index), pd.Series(range(5), index=index)) for _ in range(count)]

    def each_sharing(count: int) -> Any:
        indexes = [pd.date_range("2020-01-01", periods=5) + pd.Timedelta(days=n) for n in range(count)]
        return [(frame(5, index), pd.Series(range(5), index=index)) for index in indexes]

    def splits(count: int) -> Any:
        whole = frame(4 * count)
        return [
            {"train": whole.iloc[at:], "test": whole.iloc[:at], "index": whole.index} for at in range(count)
        ]

    return {
        "frames": (lambda n: [frame() for _ in range(n)], 12, 12_000),
        "frames and series of one index": (sharing, 12, 16_000),
        "frames and series that share an index each": (each_sharing, 12, 24_000),
        "columns": (lambda n: pd.DataFrame({f"c{i}": [i, i + 1] for i in range(n)}), 60, 1000),
        "columns of several dtypes": (
            lambda n: pd.DataFrame({f"c{i}": [i, 1] if i % 3 else ["a", None] for i in range(n)}),
            60,
            1500,
        ),
        "columns of categories": (
            lambda n: pd.DataFrame({f"c{i}": pd.Categorical(["a", "b"]) for i in range(n)}),
            20,
            5000,
        ),
        "categories": (lambda n: pd.Categorical([f"c{i}" for i in range(n)]), 100, 300),
        "series of categories": (
            lambda n: [pd.Series(["a", "b"], dtype="category") for _ in range(n)],
            12,
            12_000,
        ),
        "timestamps": (lambda n: [pd.Timestamp(i, unit="s") for i in range(n)], 60, 300),
        "timestamps of a zone": (lambda n: [pd.Timestamp(i, unit="s", tz="UTC") for i in range(n)], 60, 300),
        "durations": (lambda n: [pd.Timedelta(i, unit="s") for i in range(n)], 60, 300),
        "periods": (lambda n: [pd.Period(ordinal=i, freq="D") for i in range(n)], 60, 700),
        "intervals": (lambda n: [pd.Interval(i, i + 1) for i in range(n)], 60, 500),
        "an index of intervals": (lambda n: pd.interval_range(0, n), 60, 300),
        "levels": (lambda n: pd.MultiIndex.from_product([range(n), ["a", "b"]]), 60, 300),
        "splits of one frame": (splits, 8, 40_000),
    }


PANDAS = (
    "frames",
    "frames and series of one index",
    "frames and series that share an index each",
    "columns",
    "columns of several dtypes",
    "columns of categories",
    "categories",
    "series of categories",
    "timestamps",
    "timestamps of a zone",
    "durations",
    "periods",
    "intervals",
    "an index of intervals",
    "levels",
    "splits of one frame",
)


@pytest.mark.parametrize("kind", PANDAS)
def test_pandas(kind: str) -> None:
    pytest.importorskip("pandas")
    kinds = pandas_kinds()
    assert tuple(kinds) == PANDAS
    grows(*kinds[kind])


def test_sparse_matrices() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    grows(lambda n: [sparse.eye(4, format="csr") * number for number in range(n)], 12, 6000)
    grows(lambda n: [sparse.coo_array(np.eye(3)) for number in range(n)], 12, 6000)


def test_addresses() -> None:
    grows(lambda n: [ipaddress.IPv4Address(number) for number in range(n)], 60, 60)
    grows(lambda n: [ipaddress.IPv4Network((number << 8, 24)) for number in range(n)], 60, 200)


def test_small_arrays() -> None:
    grows(lambda n: [np.arange(3) + number for number in range(n)], 60, 400)
    grows(lambda n: {str(number): np.float64(number) for number in range(n)}, 60, 200)


@pytest.mark.torch
def test_models_and_their_optimizers() -> None:
    torch = pytest.importorskip("torch")

    def make(count: int) -> Any:
        model = torch.nn.Sequential(*[torch.nn.Linear(3, 3) for _ in range(count)])
        optimizer = torch.optim.Adam(model.parameters())
        model(torch.zeros(1, 3)).sum().backward()
        optimizer.step()
        return {
            "model": model,
            "state": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "best": [{name: value.clone() for name, value in model.state_dict().items()}],
        }

    grows(make, 8, 12_000)
    grows(lambda n: [torch.arange(3.0) + number for number in range(n)], 60, 900)
