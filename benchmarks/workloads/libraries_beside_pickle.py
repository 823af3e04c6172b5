"""Objects of libraries beside pickle: arrays, frames, sparse matrices, models; encoded and decoded.

Most of these hold few bytes each and many objects in Python, which pickle takes by their ``__reduce__`` and
ours by rows of fields that a reader checks. No kind may cost more than 20 times as much, both ways. What is
shared (an index, the memory of views, a tensor in model and optimizer) is shared on both sides.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from benchmarks.bench import Bench, Figure

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"


def _arrays(count: int) -> object:
    import numpy as np

    return [np.arange(3) + number for number in range(count)]


def _views(count: int) -> object:
    import numpy as np

    base = np.arange(count + 5)
    return [base[number : number + 5] for number in range(count)]


def _scalars(count: int) -> object:
    import numpy as np

    return {str(number): np.float64(number) for number in range(count)}


def _masked(count: int) -> object:
    import numpy as np

    return [np.ma.masked_array([number, 2], [False, True]) for number in range(count)]


def _sparse(count: int) -> object:
    import scipy.sparse

    return [scipy.sparse.eye(4, format="csr") * number for number in range(count)]


def _frames(count: int) -> object:
    import pandas as pd

    return [pd.DataFrame({"a": [number, 1], "b": ["x", "y"]}) for number in range(count)]


def _sharing(count: int) -> object:
    import pandas as pd

    found = []
    for number in range(count):
        index = pd.Index([f"r{number}", "s"])
        found.append((pd.DataFrame({"a": [1, 2]}, index=index), pd.Series([1.0, 2.0], index=index)))
    return found


def _wide(count: int) -> object:
    import pandas as pd

    return pd.DataFrame({f"c{number}": [number, 1.5] for number in range(count)})


def _timestamps(count: int) -> object:
    import pandas as pd

    return [pd.Timestamp(number, unit="s") for number in range(count)]


def _intervals(count: int) -> object:
    import pandas as pd

    return [pd.Interval(number, number + 1) for number in range(count)]


def _categories(count: int) -> object:
    import pandas as pd

    return [pd.Series(["a", "b"], dtype="category") for _ in range(count)]


def _tensors(count: int) -> object:
    import torch

    return [torch.arange(3.0) + number for number in range(count)]


def _model(count: int) -> object:
    import torch

    model = torch.nn.Sequential(*(torch.nn.Linear(8, 8) for _ in range(count)))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.zeros(1, 8)).sum().backward()
    optimizer.step()
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict()}


KINDS: dict[str, tuple[Callable[[int], object], int]] = {
    "small arrays": (_arrays, 4000),
    "views of one array": (_views, 2000),
    "numpy scalars": (_scalars, 4000),
    "masked arrays": (_masked, 500),
    "sparse matrices": (_sparse, 200),
    "frames": (_frames, 100),
    "frames and series of one index": (_sharing, 100),
    "a frame of 1,000 columns": (_wide, 1000),
    "timestamps": (_timestamps, 4000),
    "intervals": (_intervals, 1000),
    "series of categories": (_categories, 100),
}
if importlib.util.find_spec("torch") is not None:
    KINDS |= {
        "tensors": (_tensors, 500),
        "a model and its optimizer": (_model, 20),
    }
FIGURES = [Figure(kind, ratio=20, per="object") for kind in KINDS]


def ours(bench: Bench) -> None:
    from laila.codec import decode, encode

    for kind, (make, count) in KINDS.items():
        payload = make(bench.size(count))

        def work(payload: Any = payload) -> object:
            return decode(encode(payload, key=KEY, pickle=False))

        bench.time(kind, work, per=bench.size(count))


def raw(bench: Bench) -> None:
    import pickle

    for kind, (make, count) in KINDS.items():
        payload = make(bench.size(count))

        def work(payload: Any = payload) -> object:
            return pickle.loads(pickle.dumps(payload, protocol=5))

        bench.time(kind, work, per=bench.size(count))
