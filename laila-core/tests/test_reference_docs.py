"""The API page says what the code does: every public name, every signature and keyword, every error."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

import laila
from laila import errors
from laila.contract import Component
from laila.policy import DefaultCentralMemory

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "api.md"
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the documentation is in the repository only")

HEADING = re.compile(r"^#{2,4} (.*)$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```\n", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`]+)`")
ROUTING = "Which pool is meant"
# Where each documented verb is defined.
VERBS = ("memorize", "remember", "forget", "history", "extend")


def sections(text: str) -> dict[str, str]:
    """Each heading, without backticks, and what stands below it up to the next one."""
    outside = FENCE.sub(lambda fence: fence[0].replace("#", " "), text)  # a comment is no heading
    found = list(HEADING.finditer(outside))
    ends = [match.start() for match in found[1:]] + [len(text)]
    return {
        match[1].replace("`", ""): text[match.end() : end] for match, end in zip(found, ends, strict=True)
    }


def names_in(text: str) -> set[str]:
    """The first identifier of every piece of code in ``text``; `laila.` does not count."""
    pieces = (re.match(r"(?:laila\.)?(\w+)", code) for code in CODE.findall(text))
    return {piece[1] for piece in pieces if piece}


def documented(text: str) -> set[str]:
    """The names that a heading or the first cell of a table row bears."""
    prose = FENCE.sub("", text)
    rows = [line.split(" | ")[0] for line in prose.splitlines() if line.startswith("| ")]
    return names_in("\n".join([*rows, *HEADING.findall(prose)]))


def prose_of(section: str) -> str:
    """A section without its examples and signatures, so that a keyword counts only where it is explained."""
    return FENCE.sub("", sections(PAGE.read_text())[section])


@pytest.mark.parametrize("name", laila.__all__)
def test_every_public_name_has_a_heading_or_a_row(name: str) -> None:
    assert name in documented(PAGE.read_text()), f"laila.{name} is not in docs/reference/api.md"


@pytest.mark.parametrize("verb", VERBS)
def test_every_keyword_of_a_verb_is_explained(verb: str) -> None:
    """In the verb's own section, or in the one about routing."""
    explained = names_in(prose_of(verb)) | names_in(prose_of(ROUTING))
    parameters = list(inspect.signature(getattr(DefaultCentralMemory, verb)).parameters.values())[1:]
    keywords = {one.name for one in parameters if one.kind is not one.POSITIONAL_OR_KEYWORD}
    assert keywords <= explained, f"laila.{verb}: {sorted(keywords - explained)} is not explained"


@pytest.mark.parametrize("verb", [*VERBS, "tiers", "terminate"])
def test_the_signatures_are_those_of_the_code(verb: str) -> None:
    """Names, order, kinds and defaults."""
    section = sections(PAGE.read_text())[verb]
    block = re.search(r"```text\nlaila\.(?:memory\.)?(\w+)(\(.*?\))\n```", section, re.DOTALL)
    assert block is not None
    assert block[1] == verb
    shown = ast.parse(f"def {verb}{block[2]}: ...").body[0]
    assert isinstance(shown, ast.FunctionDef)
    owner: object = DefaultCentralMemory if verb in VERBS else laila
    real = inspect.signature(getattr(owner, verb))
    bare = [
        one.replace(annotation=inspect.Parameter.empty)
        for name, one in real.parameters.items()
        if name != "self"
    ]
    text = str(inspect.Signature(bare))
    assert ast.unparse(shown.args) == ast.unparse(ast.parse(f"def _{text}: ...").body[0].args)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("kind", "section"),
    [
        (laila.Entry, "Entries"),
        (laila.Manifest, "Manifests"),
        (laila.Future, "Futures"),
        (laila.GroupFuture, "Futures"),
        (laila.DefaultPolicy, "Policies"),
    ],
)
def test_every_method_is_listed(kind: type, section: str) -> None:
    """Those of its base classes too, unless a manifest has them as an entry."""
    shown = set(re.findall(r"\w+", " ".join(CODE.findall(prose_of(section)))))
    inherited = set(dir(laila.Entry)) if kind is laila.Manifest else set(dir(Component))
    own = {name for name in dir(kind) if not name.startswith("_")}
    if kind in {laila.Manifest, laila.DefaultPolicy}:
        own = {name for name in vars(kind) if not name.startswith("_")} - (inherited - {"close"})
    missing = own - shown - {"Central", "scope"}
    assert not missing, f"{kind.__name__}: {sorted(missing)} is not in docs/reference/api.md"


def test_the_tree_of_errors_is_that_of_the_module() -> None:
    tree = re.search(r"LailaError\n.*went away\n", errors.__doc__ or "", re.DOTALL)
    assert tree is not None
    expected = [line.removeprefix("    ") for line in tree[0].splitlines()]
    assert "\n".join(expected) in sections(PAGE.read_text())["Errors"]
    assert all(name in tree[0] for name in errors.__all__)


def test_the_checks_can_fail() -> None:
    """A name in running text, or in an example, does not count as documented."""
    text = "# API\n\n`lost` is here.\n\n```python\nlaila.lost\n```\n\n| `found(x)` | `lost` |\n\n## `verb`\n"
    assert documented(text) == {"found", "verb"}
    assert sections(text) == {"verb": "\n"}
