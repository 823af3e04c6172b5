"""A manifest that is looked at: tree, HTML, bytes and differences, without reading a leaf."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import laila
from dict_protocol import WIRES, DictProtocol
from laila import Manifest
from laila.contract import Blob
from laila.entry import to_blob
from laila.entry.leaves import Leaf
from laila.entry.paths import path_text, places_of
from laila.errors import InvalidArgumentError, ManifestError, PeerError
from laila.peering.answers import described

pytestmark = pytest.mark.usefixtures("policy")


class Counted(laila.MemoryPool):
    """A pool that counts what is read whole."""

    blocking = True
    reads = 0

    def _read_many(self, keys: Sequence[str]) -> Sequence[Blob | None]:
        self.reads += len(keys)
        return super()._read_many(keys)


@pytest.fixture(params=["here", "a peer"])
def acting(request: pytest.FixtureRequest, policy: laila.DefaultPolicy) -> Iterator[Any]:
    """The pool of the active policy, which is one of this process or a peer."""
    if request.param == "here":
        yield policy.central.memory
        return
    with laila.DefaultPolicy() as other:
        for each in (policy, other):
            each.central.communication.add_connection(DictProtocol())
        peer = laila.peers[laila.add_peer(f"dict://{other.global_id}", "secret")]
        laila.activate_policy(peer)
        yield other.central.memory
    WIRES.clear()


def checkpoint(**changes: Any) -> Manifest:
    values: dict[str, Any] = {
        "weight": np.zeros((4, 3), "f4"),
        "bias": np.zeros(4, "f4"),
        "config": {"rate": 0.1},
        **changes,
    }
    leaves = {name: laila.constant(value) for name, value in values.items()}
    encoder = {"weight": leaves.pop("weight"), "bias": leaves.pop("bias")}
    return Manifest({"encoder": encoder, "history": [laila.constant(i) for i in range(3)], **leaves})


def printed(manifest: Manifest, **options: Any) -> list[str]:
    file = io.StringIO()
    manifest.tree(file=file, **options)
    return file.getvalue().splitlines()


def test_a_tree_is_printed_without_reading_a_leaf(policy: Any, capsys: pytest.CaptureFixture[str]) -> None:
    pool = laila.memory.alpha_pool = Counted()
    manifest = checkpoint()
    manifest.memorize().wait()
    found = laila.remember(manifest).result
    laila.forget(list(found)).wait()
    pool.reads = 0
    found.tree()
    assert capsys.readouterr().out.splitlines() == [
        f"{manifest.global_id}  6 leaves, 82 B",
        "├── encoder  2 leaves, 64 B",
        "│   ├── weight  numpy.ndarray float32 (4, 3), 48 B",
        "│   └── bias  numpy.ndarray float32 (4,), 16 B",
        "├── history  3 leaves, 3 B",
        "│   ├── 0  int, 1 B",
        "│   ├── 1  int, 1 B",
        "│   └── 2  int, 1 B",
        "└── config  dict, 15 B",
    ]
    assert found.nbytes == 82
    assert not found.diff(found)
    assert "numpy.ndarray" in found._repr_html_()
    assert pool.reads == 0


def test_depth_and_limit_bound_what_is_printed(policy: Any) -> None:
    manifest = checkpoint()
    assert len(printed(manifest)) == 9
    assert [line.split()[1] for line in printed(manifest, depth=1)[1:]] == ["encoder", "history", "config"]
    assert len(printed(manifest, depth=0)) == 1
    assert printed(manifest, limit=3)[-1] == "… 4 more leaves"
    assert printed(manifest, limit=0)[1:] == ["… 6 more leaves"]
    assert printed(Manifest({}, nickname="none")) == ["none  0 leaves, 0 B"]
    many = Manifest({"all": [laila.constant(None).global_id for _ in range(5000)]})
    assert len(printed(many)) == 1002
    assert len(printed(many, limit=None)) == 5002


def test_ids_are_asked_for(acting: Any) -> None:
    entries = [laila.constant(np.zeros(5)), laila.constant("text")]
    laila.memorize(entries).wait()
    manifest = Manifest({"a": entries[0].global_id, "b": [entries[1].global_id]})
    assert manifest.nbytes == 40 + 5
    rows = manifest.describe()
    assert list(rows) == ["a", "b/0"]
    assert rows["a"] == ("numpy.ndarray", (5,), "float64", 40, to_blob(entries[0]).digest)
    missing = Manifest({"a": entries[0].global_id, "gone": laila.constant(1).global_id})
    assert missing.describe()["gone"] is None
    assert printed(missing)[-1] == "└── gone  ?"
    with pytest.raises(ManifestError, match="is not known"):
        _ = missing.nbytes


def test_what_is_transformed_is_read_when_it_is_asked_for(acting: Any) -> None:
    acting.alpha_pool = laila.MemoryPool(transformations=["zlib"])
    entry = laila.constant(np.zeros(5))
    laila.memorize(entry).wait()
    assert Manifest({"a": entry.global_id}).nbytes == 40


def test_what_waits_to_be_stored_is_looked_at_as_it_is_now(policy: Any) -> None:
    values = [1, 2]
    entry = laila.constant(values)
    manifest = Manifest({"a": entry, "in": Manifest({"b": entry})})
    before = manifest.nbytes
    values.append(3)
    assert manifest.nbytes > before
    rows = manifest.describe()
    manifest.memorize().wait()
    assert laila.remember(manifest).result.describe() == rows
    assert manifest.describe() == rows


def test_differences_are_found_by_digest(policy: Any) -> None:
    old = checkpoint()
    old.memorize().wait()
    assert old.diff(checkpoint()) == ([], [], [])  # equal content under other ids
    new = checkpoint(bias=np.ones(4, "f4"), extra="new")
    assert old.diff(new) == (["extra"], [], ["encoder/bias"])
    assert new.diff(old) == ([], ["extra"], ["encoder/bias"])
    assert bool(old.diff(new))
    gone = laila.constant(1).global_id
    assert not Manifest({"a": gone}).diff(Manifest({"a": gone}))
    assert Manifest({"a": gone}).diff(Manifest({"a": laila.constant(1).global_id})).changed == ["a"]
    assert Manifest({"a": [gone]}).diff(Manifest({"a": gone})) == (["a"], ["a/0"], [])
    with pytest.raises(InvalidArgumentError, match="compared"):
        old.diff({})  # type: ignore[arg-type]


def test_html_is_bounded_and_escaped(policy: Any) -> None:
    bad = "<script>alert(1)</script>"
    leaf = laila.constant(1).global_id
    manifest = Manifest({bad: leaf, "\x1b[31m\u202e": [leaf], "k" * 5000: leaf}, nickname=bad)
    manifest.note_leaves({leaf: Leaf(bad, (1 << 60,) * 64, bad, 1, b"1" * 16)})
    text = manifest._repr_html_()
    assert "<script" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert len(text) < 5000
    large = Manifest({str(i): [leaf] * 10 for i in range(20_000)})
    html = large._repr_html_()
    assert len(html) < 100_000
    assert "… 199," in html
    for shown in (text, html, Manifest()._repr_html_()):
        assert shown.count("<details") == shown.count("</details>")
    assert all(line.isprintable() for line in printed(manifest))


def test_showing_asks_nobody(policy: Any) -> None:
    pool = laila.memory.alpha_pool = Counted()
    pool.close()
    manifest = Manifest({"a": laila.constant(1).global_id})
    assert "?" in manifest._repr_html_()
    assert repr(manifest)
    assert "list" in Manifest({"a": laila.constant([1])})._repr_html_()


def test_deep_trees(policy: Any) -> None:
    tree: Any = {"k": laila.constant(1)}
    for _ in range(150):
        tree = {"k": tree}
    manifest = Manifest(tree)
    manifest.memorize().wait()
    assert len(printed(manifest)) == 152
    assert list(manifest.describe()) == ["/".join(["k"] * 151)]
    assert manifest._repr_html_().count("<details") == 151


def test_paths_as_text() -> None:
    assert path_text(("a", 3)) == "a/3"
    assert path_text(("a/b", "*", "c\\")) == "a\\/b/\\*/c\\\\"
    assert path_text(("",)) == ""
    tree: Any = {"": "x", "a": {"": ["y"]}, "b/": {"c": "z"}}
    assert [path for path, _ in places_of(tree)] == ["", "a//0", "b\\//c"]


@pytest.mark.parametrize(
    "row",
    [
        {},
        [],
        ["t", None, None, 1],
        ["t", None, None, 1, "00"],
        ["t", None, None, 1, "x" * 32],
        ["t", None, None, -1, "0" * 32],
        ["t", None, None, True, "0" * 32],
        ["t", None, None, 1 << 63, "0" * 32],
        ["t" * 201, None, None, 1, "0" * 32],
        ["t", [-1], None, 1, "0" * 32],
        ["t", [1] * 65, None, 1, "0" * 32],
        ["t", None, 7, 1, "0" * 32],
        [None, None, None, 1, "0" * 32],
    ],
    ids=range(13),
)
def test_a_peer_that_answers_nonsense_is_told(row: Any) -> None:
    with pytest.raises(PeerError):
        described([row], 1)
    with pytest.raises(PeerError):
        described([None], 2)
    assert described([None, ["t", [1], "x", 1, "0" * 32]], 2) == [None, ("t", (1,), "x", 1, bytes(16))]
