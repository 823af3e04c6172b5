"""Parts of a manifest by patterns and paths: what they name, what is read, and what they cost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import laila
from laila import Manifest
from laila.contract import Blob
from laila.entry import patterns
from laila.entry.paths import path_text, places_of
from laila.entry.patterns import select
from laila.errors import InvalidArgumentError, InvalidValueError, ManifestKeyError

pytestmark = pytest.mark.usefixtures("policy")

TREE: Any = {
    "encoder": {"0": {"weight": "ew", "bias": "eb"}, "norm": "en"},
    "decoder": {"encoder": {"weight": "dw"}, "bias": "db"},
    "history": ["h0", "h1", "h2"],
    "step": "s",
    "a/b": {"*": "star", "[x]": "brackets", "\\": "back"},
}


def picked(include: Any = None, exclude: Any = None) -> list[str]:
    return [leaf for _, leaf in places_of(select(TREE, include, exclude))]


@pytest.mark.parametrize(
    ("include", "leaves"),
    [
        ("encoder", "ew eb en"),
        ("encoder/*", "ew eb en"),
        ("encoder/0", "ew eb"),
        ("encoder/norm", "en"),
        ("*/bias", "db"),
        ("**/bias", "eb db"),
        ("**/encoder/*", "ew eb en dw"),
        ("**/encoder/**/weight", "ew dw"),
        ("**/weight", "ew dw"),
        ("**", "ew eb en dw db h0 h1 h2 s star brackets back"),
        ("**/**", "ew eb en dw db h0 h1 h2 s star brackets back"),
        ("history", "h0 h1 h2"),
        ("history/1", "h1"),
        ("history/[01]", "h0 h1"),
        ("history/[!1]", "h0 h2"),
        ("history/[0-1]", "h0 h1"),
        ("history/?", "h0 h1 h2"),
        ("?tep", "s"),
        ("s*p", "s"),
        (["step", "history/2"], "h2 s"),
        (["encoder", "encoder/norm"], "ew eb en"),
        ([("history", 1)], "h1"),
        ([("encoder", "0", "bias")], "eb"),
        ([("a/b", "*")], "star"),
        ("a/b", "star brackets back"),
        ("a\\/b/\\*", "star"),
        ("a\\/b/\\[x]", "brackets"),
        ("a\\/b/\\\\", "back"),
        ("a?b", "star brackets back"),
    ],
    ids=range(29),
)
def test_what_is_included(include: Any, leaves: str) -> None:
    assert picked(include) == leaves.split()


def test_what_is_excluded() -> None:
    assert picked(exclude="**/bias") == ["ew", "en", "dw", "h0", "h1", "h2", "s", "star", "brackets", "back"]
    assert picked("**/encoder", "**/bias") == ["ew", "en", "dw"]
    assert picked(exclude=["encoder", "decoder", ("a/b",), "history/[!0]"]) == ["h0", "s"]
    assert picked("encoder", "encoder/0") == ["en"]
    assert select(TREE, "**/encoder", "encoder") == {"decoder": {"encoder": {"weight": "dw"}}}
    assert select({"a": {}, "b": "x"}, None, "b") == {"a": {}}


NOT_THERE: list[Any] = [
    *[
        "absent",
        "encoder/weight",
        "history/3",
        "history/01",
        "step/x",
        "a/b/c",
        ["step", "nothing"],
        "x*",
        "",
    ],
    *[[("history", "1")], [("history", -1)], [("encoder", 0)], [("history", 3)], [("step", 0)], []],
]


@pytest.mark.parametrize("include", NOT_THERE, ids=range(len(NOT_THERE)))
def test_what_is_not_there_is_told(include: Any) -> None:
    with pytest.raises(ManifestKeyError):
        select(TREE, include, None)


def test_nothing_left_is_told() -> None:
    with pytest.raises(ManifestKeyError, match="nothing of the manifest is left"):
        select(TREE, None, "**")
    with pytest.raises(ManifestKeyError, match="nothing of the manifest is left"):
        select(TREE, "step", "s*")


@pytest.mark.parametrize(
    "include", [3, b"a", {"a": 1}, [3], [None], [()], [("a", 1.0)], [("a", True)], [b"a"]], ids=repr
)
def test_what_is_no_pattern_is_told(include: Any) -> None:
    with pytest.raises(InvalidArgumentError):
        select(TREE, include, None)
    with pytest.raises(InvalidArgumentError):
        select(TREE, None, include)


def test_a_pattern_has_a_bounded_length() -> None:
    with pytest.raises(InvalidValueError):
        select(TREE, "*" * 5000, None)


def test_only_what_matches_is_read(policy: Any) -> None:
    class Counted(laila.MemoryPool):
        blocking = True
        read: list[str] = []  # noqa: RUF012 - of this test

        def _read_many(self, keys: Sequence[str]) -> Sequence[Blob | None]:
            self.read += keys
            return super()._read_many(keys)

    pool = laila.memory.alpha_pool = Counted()
    leaves = {name: laila.constant(name) for name in ("a", "b", "c")}
    manifest = Manifest({"encoder": {"x": leaves["a"], "y": [leaves["b"]]}, "step": leaves["c"]})
    manifest.memorize().wait()
    found = laila.remember(manifest).result
    for resolve in (
        found.resolve,
        lambda **options: asyncio.run(found.resolved_async(**options)),
        lambda include: found.sub_manifest(include).resolved,
    ):
        pool.read.clear()
        tree = resolve(include="encoder/y")
        assert list(tree) == ["encoder"]
        assert tree["encoder"]["y"][0].data == "b"
        assert pool.read == [leaves["b"].global_id]
    assert list(found.resolve(exclude=["encoder"])) == ["step"]
    part = found.sub_manifest(["**/x", "step"])
    assert part.nbytes == 4
    assert part.blueprint == {"encoder": {"x": leaves["a"].global_id}, "step": leaves["c"].global_id}


KEYS = st.text(st.sampled_from("ab/*?[]\\!-.0"), max_size=5)


@given(st.recursive(st.just("x"), lambda inner: st.dictionaries(KEYS, inner, min_size=1, max_size=3)))
def test_a_path_as_text_means_that_place(inner: Any) -> None:
    tree: Any = {"top": {"in": inner, "list": ["x", "x"]}, "other": "x"}
    for path, _ in places_of(tree):
        assert [found for found, _ in places_of(select(tree, path, None))] in ([path], [f"{path[:-1]}0"])


@given(st.text(st.sampled_from("ab*?"), max_size=12), st.text(st.sampled_from("ab"), max_size=12))
def test_a_step_matches_as_fnmatch_does(pattern: str, text: str) -> None:
    if pattern == "**":
        return
    (step,) = patterns._steps(pattern)
    assert step.matches(text) is fnmatchcase(text, pattern)


@given(st.text(st.sampled_from("ab*?[]!-/\\"), max_size=12), st.text(st.sampled_from("ab-[]!"), max_size=5))
def test_any_text_is_a_pattern(pattern: str, key: str) -> None:
    for step in patterns._steps(pattern):
        if isinstance(step, patterns.Step):
            assert step.matches(key) in (True, False)


def test_matching_costs_no_more_than_both_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    class Counting(patterns.Set):
        __slots__ = ()

        def has(self, character: str) -> bool:
            nonlocal asked
            asked += 1
            return super().has(character)

    (step,) = patterns._steps("*[a]" * 50 + "b")
    step.tokens = [
        token and (Counting([("a", "a")], is_other=False) if isinstance(token, patterns.Set) else token)
        for token in step.tokens
    ]
    assert not step.matches("a" * 500)
    assert 0 < asked <= 500 * len(step.tokens)


def test_many_levels_cost_their_number() -> None:
    """A pattern is at each of its steps at most once."""
    tree: Any = {"k": "x"}
    for _ in range(150):
        tree = {"k": tree}
    assert select(tree, "**/k/" * 60 + "k", None)
    with pytest.raises(ManifestKeyError):
        select(tree, "**/k/" * 100 + "absent", None)
    assert path_text(("k",) * 2) == "k/k"
