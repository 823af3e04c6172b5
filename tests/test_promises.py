"""The table of what pools promise says what the classes say, and the suites hold every plugin to it."""

from __future__ import annotations

import re

import pytest

from laila.contract import Pool
from laila.plugins import pools, protocols, taskforces
from workspace import DISTRIBUTIONS, ROOT

PAGE = ROOT / "docs" / "reference" / "pools.md"
WORDS = {
    "durability": {"none": "nothing", "process": "the process", "power": "power loss"},
    "writers": {"process": "one process", "host": "one host", "network": "any host"},
    "creation": {"process": "one process", "host": "one host", "network": "any host"},
    "batches": {"entry": "each entry", "batch": "each batch"},
    "listing": {"any": "any order", "sorted": "sorted"},
}
NAMES = sorted({name for one in DISTRIBUTIONS for name in one.entry_points.get("laila.pools", {})})


def table() -> dict[str, list[str]]:
    """The cells of each pool's row."""
    rows = re.findall(r"^\| \[?`(\w+Pool)`(?:\]\(\S+\))? \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    return {name: cells.split(" | ") for name, cells in rows}


@pytest.mark.parametrize("name", NAMES)
def test_the_table_says_what_the_class_says(name: str) -> None:
    kind = pools().get(name)
    assert issubclass(kind, Pool)
    limit = kind.max_blob_bytes
    assert table()[kind.__name__] == [
        WORDS["durability"][kind.durability],
        WORDS["writers"][kind.writers],
        WORDS["creation"][kind.creation],
        WORDS["batches"][kind.batches],
        "unlimited" if limit is None else f"{limit:,}",
        WORDS["listing"][kind.listing],
    ]


def test_every_pool_of_the_table_is_one_of_ours() -> None:
    assert set(table()) == {pools().get(name).__name__ for name in NAMES}


SUITES = {
    "laila.pools": ("PoolConformance", pools),
    "laila.taskforces": ("TaskForceConformance", taskforces),
    "laila.protocols": ("ProtocolConformance", protocols),
}
PLUGINS = sorted(
    {(group, name) for one in DISTRIBUTIONS for group in SUITES for name in one.entry_points.get(group, {})}
)


@pytest.mark.parametrize(("group", "name"), PLUGINS)
def test_every_plugin_is_under_its_suite(group: str, name: str) -> None:
    """Of the same classes that third parties subclass, with nothing left out of them."""
    suite, registry = SUITES[group]
    kind = registry().get(name).__name__
    suites = [path.read_text() for path in ROOT.glob("laila-*/tests/test_conformance*.py")]
    own = [
        text
        for text in suites
        if re.search(rf"^class Test\w*\({suite}\)", text, re.MULTILINE) and kind in text
    ]
    assert own, f"no {suite} over {kind}"
    for text in own:
        assert not re.search(r"skip|xfail|def test_|pytestmark", text), (
            f"{kind} makes an exception of its own"
        )
