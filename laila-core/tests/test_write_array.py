"""Arrays that are written row by row: whole or not at all, and not in memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import laila
from laila.errors import (
    EntryNotFoundError,
    ImmutableEntryError,
    InvalidArgumentError,
    InvalidValueError,
    PoolError,
    PoolNotFoundError,
)


@pytest.fixture(autouse=True)
def pool(policy: laila.DefaultPolicy) -> laila.Pool:
    return policy.central.memory.alpha_pool


def is_there(name: str) -> bool:
    return laila.remember(nickname=name, missing_ok=True).wait() is not None


def test_rows_in_order_are_an_array() -> None:
    array = np.arange(40, dtype="<i4").reshape(10, 4)
    with laila.write_array(nickname="x", shape=(10, 4), dtype="<i4", metadata={"a": 1}) as writer:
        writer.append(array[:3])
        writer.append(array[3])
        writer[4:9] = array[4:9]
        writer[9:10] = array[9]
        assert (writer.rows, writer.global_id) == (10, None)
        assert not is_there("x")
    entry = laila.remember(nickname="x").wait()
    assert writer.global_id == entry.global_id
    assert entry.metadata["user"] == {"a": 1}
    np.testing.assert_array_equal(entry.data, array)
    assert entry.data.dtype == array.dtype
    assert laila.open(nickname="x")[3, 1] == 13
    # It is what memorize would have stored.
    laila.memorize(laila.constant(array, nickname="x", metadata={"a": 1})).wait()


@pytest.mark.parametrize(
    ("shape", "dtype", "rows"),
    [
        ((0,), "f8", []),
        ((3,), "?", [1, 0, 1]),
        ((2, 0), "f4", np.zeros((2, 0))),
        ((1, 2, 2), ">c8", np.ones((1, 2, 2))),
    ],
    ids=str,
)
def test_odd_shapes(shape: Any, dtype: str, rows: Any) -> None:
    wanted = np.asarray(rows, dtype).reshape(shape)
    with laila.write_array(nickname="x", shape=shape, dtype=dtype) as writer:
        if shape[0]:
            writer.append(wanted)
    found = laila.remember(nickname="x").data
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    np.testing.assert_array_equal(found, wanted)


def test_structures() -> None:
    rows = np.zeros(5, [("a", "<i2"), ("b", "S3")])
    rows["a"] = range(5)
    with laila.write_array(nickname="x", shape=(5,), dtype=rows.dtype) as writer:
        writer.append(rows)
    np.testing.assert_array_equal(laila.remember(nickname="x").data, rows)


def test_what_is_not_whole_is_not_stored() -> None:
    with (
        pytest.raises(InvalidValueError, match="1 of 3 rows"),
        laila.write_array(nickname="x", shape=(3, 2), dtype="f8") as writer,
    ):
        writer.append([1.0, 2.0])
    with pytest.raises(ZeroDivisionError):
        _write_and_fail()
    assert not is_there("x")
    with laila.write_array(nickname="x", shape=(0,), dtype="f8") as writer:
        pass
    with pytest.raises(InvalidValueError, match="at its end"):
        writer.append(np.zeros(0))


def _write_and_fail() -> None:
    with laila.write_array(nickname="x", shape=(1,), dtype="f8") as writer:
        writer.append([1.0])
        raise ZeroDivisionError


def test_wrong_rows_are_refused_and_change_nothing() -> None:
    with laila.write_array(nickname="x", shape=(3, 2), dtype="i4") as writer:
        wrong: Any
        for wrong in (
            np.zeros(3),
            np.zeros((1, 3), "i4"),
            np.zeros((4, 2), "i4"),
            [[1], [2, 3]],
            np.zeros((1, 1, 2)),
        ):
            with pytest.raises(InvalidValueError):
                writer.append(wrong)
        for wrong in (np.zeros((1, 2)), [["a", "b"]], [[None, {}]]):
            with pytest.raises(InvalidArgumentError):
                writer.append(wrong)
        for place in (slice(1, 2), slice(0, 3, 2), slice(0, 2), slice(5, 6)):
            with pytest.raises(InvalidValueError):
                writer[place] = np.zeros((1, 2), "i4")
        with pytest.raises(InvalidArgumentError):
            writer[0] = np.zeros(2, "i4")  # type: ignore[index]
        writer.append(np.ones((3, 2), "i2"))
        assert writer.rows == 3
    assert laila.remember(nickname="x").data.sum() == 6


def test_wrong_arguments_are_refused_at_once(tmp_path: Path) -> None:
    for options in (
        {"shape": 5},
        {"shape": "55"},
        {"shape": (1.5,)},
        {"dtype": "nothing"},
        {"shape": (None, 2)},
    ):
        with pytest.raises(InvalidArgumentError):
            laila.write_array(**{"shape": (1,), "dtype": "f8", **options})  # type: ignore[arg-type]
    for more in ({"shape": ()}, {"shape": (-1,)}, {"dtype": object}, {"shape": (1,) * 65}):
        with pytest.raises(InvalidValueError):
            laila.write_array(**{"shape": (1,), "dtype": "f8", **more})  # type: ignore[arg-type]
    with pytest.raises(PoolError, match="folder="):
        laila.write_array(shape=(1,), dtype="f8", folder=tmp_path / "nowhere")
    with pytest.raises(PoolNotFoundError):
        laila.write_array(shape=(1,), dtype="f8", pool_nickname="nowhere")


def test_a_constant_stays() -> None:
    laila.memorize(laila.constant(5, nickname="x")).wait()
    with (
        pytest.raises(ImmutableEntryError),
        laila.write_array(nickname="x", shape=(1,), dtype="f8") as writer,
    ):
        writer.append([1.0])
    assert laila.remember(nickname="x").data == 5
    with laila.write_array(nickname="x", shape=(1,), dtype="f8", overwrite=True) as writer:
        writer.append([1.0])
    assert laila.remember(nickname="x").data[0] == 1
    with pytest.raises(EntryNotFoundError):
        laila.open(nickname="y")


LARGE = """
import sys
import threading

import numpy as np

import laila


def own() -> int:  # the bytes of this process that no file has
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))


laila.memory.alpha_pool = laila.memory.extend(sys.argv[1])
row = np.arange(1 << 17, dtype="f8")
with laila.write_array(nickname="warm", shape=(1, 1 << 17), dtype="f8", folder=sys.argv[2]) as writer:
    writer.append(row)
before = most = own()
done = threading.Event()


def watch() -> None:
    global most
    while not done.wait(0.001):
        most = max(most, own())


watcher = threading.Thread(target=watch)
watcher.start()
with laila.write_array(nickname="large", shape=(96, 1 << 17), dtype="f8", folder=sys.argv[2]) as writer:
    for number in range(96):
        writer.append(row + number)
        most = max(most, own())
done.set()
watcher.join()
assert laila.open(nickname="large")[95, 7] == 102
assert most - before < 48 << 20, (most - before) >> 20
laila.terminate()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what memory is a process's own")
@pytest.mark.parametrize("place", ["file://{}/files", "hdf5://{}/file.h5"])
def test_memory_is_bounded(tmp_path: Path, place: str) -> None:
    """96 MiB are written with less than half of that."""
    pytest.importorskip("h5py")
    done = subprocess.run(
        [sys.executable, "-c", LARGE, place.format(tmp_path), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
