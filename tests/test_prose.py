"""Prose is plain: no docstring leans on another one, and no sentence has the turns that readers stumble over.

The rules, with what to write in their place, are in ``docs/contributing/style.md``. Only a part of them is
mechanical; this file holds that part.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from workspace import ROOT

LEANING = re.compile(r"(The same|Likewise|Else|Of|As|See)\b")
"""First words of a docstring that does not stand alone in a hover, or does not begin with its subject."""

TURNS = re.compile(
    r"\bbut for\b|\bsuch (a )?one\b|\b(one|ones) who\b|\bthat of this one\b|\bless ado\b"
    r"|\b(what|who|that|which) (is|are) (?-i:none)\b|\bis (?-i:none) of\b",
    re.IGNORECASE,
)
"""Turns of phrase that name the thing too late, or not at all."""

STYLE = "docs/contributing/style.md"
"""The page that quotes what it forbids."""


def _files(*patterns: str) -> list[Path]:
    return [path for pattern in patterns for path in sorted(ROOT.glob(pattern)) if path.is_file()]


SOURCES = _files("*/src/**/*.py", "examples/*/src/**/*.py")
PAGES = [
    page
    for page in _files("*.md", "docs/**/*.md", "*/README.md", "*/changelog.d/*.md")
    if page != ROOT / STYLE
]


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of each docstring, also of attributes: a text that stands alone as a statement."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            text = node.value.value
            if isinstance(text, str):
                yield node.lineno, text


def comments(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of each comment."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def findings(source: str) -> list[str]:
    """What is wrong with the prose of a module, as lines that name the place."""
    texts = list(docstrings(ast.parse(source)))
    leaning = [f"{line}: {text.splitlines()[0]}" for line, text in texts if LEANING.match(text)]
    turns = [
        f"{line}: … {match[0]} …"
        for line, text in [*texts, *comments(source)]
        for match in TURNS.finditer(" ".join(text.split()))
    ]
    return leaning + turns


def test_docstrings_and_comments_are_plain() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in SOURCES
        for line in findings(path.read_text(encoding="utf-8"))
    ]
    assert wrong == [], f"{wrong}; see {STYLE}"


def test_pages_are_plain() -> None:
    wrong = [
        f"{page.relative_to(ROOT)}: … {match[0]} …"
        for page in PAGES
        for match in TURNS.finditer(page.read_text(encoding="utf-8"))
    ]
    assert wrong == [], f"{wrong}; see {STYLE}"


def test_the_search_looks_at_something() -> None:
    assert len(SOURCES) > 200
    assert len(PAGES) > 40


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ('"""Read one blob."""', 0),
        ('"""The same for many."""', 1),
        ('"""As read, with less ado."""', 2),
        ("x = 1  # all but for the last", 1),
        ('x = 1\n"""What\n    is none of them."""', 1),
        ('"""Assume nothing."""', 0),
        ("x = 'but for'", 0),
    ],
)
def test_stumbling_blocks_are_found(source: str, count: int) -> None:
    assert len(findings(source)) == count
