"""Programs and cells that run a second time: the same store, the same content, the same class."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import laila
from laila.pool.hdf5 import HDF5Pool
from workspace import clean_environment

PROGRAM = """
import enum
import laila

laila.alpha_pool = "hdf5:again.h5"


class Colour(enum.Enum):
    RED = 1


class Node:
    made = 0
    kinds = {"first"}

    def __init__(self):
        self.me = self
        Node.made += 1

    def knows(self, word):
        return word in {"one", "two", "three", "four"}

    def other(self):
        return Other(self)


class Other:
    colour = Colour.RED

    def __init__(self, node):
        self.node, node.other_node = node, self


def knows(word):
    return word in {"one", "two", "three", "four"}


node = Node()
node.other()
laila.memorize(laila.constant([node, knows], nickname="node")).wait()
Node.made, method = 7, Node.knows
read, function = laila.remember(nickname="node").data
assert type(read) is Node and type(read.other_node) is Other and read.other_node.node is read
assert (Node.made, Node.knows) == (7, method), "reading changes no class"
assert type(read.other_node).colour is Colour.RED and function("two")
"""


def run(program: str, folder: Path, **variables: str) -> None:
    """Run ``program`` in ``folder``, which is its home, too."""
    (folder / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=folder,
        env=clean_environment(folder, **variables),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_program_whose_classes_travel_by_value_stores_the_same_content_again(tmp_path: Path) -> None:
    """The ids of its classes and the order of its sets do not depend on the process."""
    for seed in "123":
        run(PROGRAM, tmp_path, PYTHONHASHSEED=seed)


@pytest.fixture(autouse=True)
def policy() -> Iterator[None]:
    """A policy for each test."""
    yield
    laila.terminate()


CELL = """
import laila

laila.alpha_pool = "hdf5:cells.h5"
source = "def double(number):\\n    return 2 * number\\n"
exec(compile(source, "/tmp/ipykernel_{}/3141.py", "exec"))
laila.memorize(laila.constant(double, nickname="double")).wait()
assert laila.remember(nickname="double").data(21) == 42
"""


def test_the_cell_of_a_notebook_is_the_same_in_another_kernel(tmp_path: Path) -> None:
    """Its path has the number of the kernel's process in it, which is not stored."""
    for number in ("10", "20"):
        run(CELL.format(number), tmp_path)


def test_overwriting_with_the_same_writes_nothing(tmp_path: Path) -> None:
    """Content, name and metadata alike; what is another is written, of one id the last."""
    pool = HDF5Pool(tmp_path / "pool.h5")
    laila.memory.extend(pool, pool_nickname="again")

    def put(*entries: laila.Entry) -> None:
        laila.memorize(list(entries), overwrite=True, pool_nickname="again").wait()

    def created() -> object:
        head = pool.read_head(first.global_id)
        assert head is not None
        return head.metadata["created"]

    first = laila.constant(b"x" * 1_000, nickname="overwritten")
    put(first)
    before = created()
    put(laila.constant(b"x" * 1_000, nickname="overwritten"))
    assert created() == before
    put(laila.constant(b"x" * 1_000, nickname="overwritten", metadata={"by": "me"}))
    assert created() != before
    found = laila.remember(first, pool_nickname="again").result
    assert found.metadata["user"] == {"by": "me"}
    put(laila.constant(1, nickname="overwritten"), laila.constant(2, nickname="overwritten"))
    assert laila.remember(first, pool_nickname="again").data == 2
    put(laila.constant(1, nickname="overwritten"), laila.constant(2, nickname="overwritten"))
    assert laila.remember(first, pool_nickname="again").data == 2


def test_the_same_url_is_the_same_store(tmp_path: Path) -> None:
    """Under its name or without one; memory without a name is another one each time."""
    url = f"hdf5://{tmp_path}/one.h5"
    assert laila.memory.extend(url) is laila.memory.extend(url)
    assert laila.memory.extend("memory://cell") is laila.memory.extend("memory://cell")
    assert laila.memory.extend("memory://") is not laila.memory.extend("memory://")
    assert laila.memory.extend(url, pool_nickname="one") is laila.memory.extend(url, pool_nickname="one")


@pytest.mark.parametrize("nickname", ["mine", None])
def test_a_closed_pool_gives_up_its_name(nickname: str | None, tmp_path: Path) -> None:
    """As where a cell with `with HDF5Pool(…)` is run again."""
    pools: list[HDF5Pool] = []
    for _ in range(2):
        with HDF5Pool(tmp_path / "closed.h5", nickname=nickname) as pool:
            laila.memory.extend(pool, pool_nickname="closed")
            laila.memorize(laila.constant(1, nickname="entry"), pool_nickname="closed").wait()
            pools.append(pool)
    router = laila.memory.router
    assert all(pool is not pools[0] for pool in router.pools.values())
