"""No pattern takes more time than its input allows: each is tried with what makes patterns slow."""

from __future__ import annotations

import importlib
import re
import sys
from types import ModuleType

import pytest

from patterns import Use, slow_input, uses_of
from workspace import DISTRIBUTIONS


def _modules() -> dict[str, str]:
    """Name to source of each module that mentions `re`."""
    found = {}
    for distribution in DISTRIBUTIONS:
        src = distribution.folder / "src"
        for path in sorted(src.rglob("*.py")):
            source = path.read_text(encoding="utf-8")
            if re.search(r"^\s*(?:import re|from re import .*)$", source, re.MULTILINE):
                name = ".".join(path.relative_to(src).with_suffix("").parts)
                found[name.removesuffix(".__init__")] = source
    return found


MODULES = _modules()
PATTERNS_OF_USERS = {"laila.codec.recipes.standard"}
"""Modules that compile a pattern which is itself data; what bounds it is tested beside the recipe."""


def _imported(name: str) -> ModuleType | None:
    """The module, or None where it is about a library that is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "laila":
            raise
        return None


@pytest.mark.parametrize("name", MODULES)
def test_each_pattern_is_linear(name: str) -> None:
    module = _imported(name)
    if module is None:
        pytest.skip("the library that it is about is not installed")
    uses = list(uses_of(module, MODULES[name]))
    assert name in PATTERNS_OF_USERS or [use for use in uses if isinstance(use, str)] == []
    assert [slow for use in uses if isinstance(use, Use) and (slow := slow_input(use))] == []


def test_patterns_are_found() -> None:
    """Those of the modules that read what others wrote, for example, with the methods they are used by."""
    found = {
        (use.place, use.method)
        for name, source in MODULES.items()
        if (module := _imported(name)) is not None
        for use in uses_of(module, source)
        if isinstance(use, Use)
    }
    assert ("laila.pool.s3.replies._MESSAGE", "search") in found
    assert ("laila.pool.files.names._match_long", "fullmatch") in found
    assert len(found) > 30


@pytest.mark.parametrize(
    ("pattern", "method"),
    [
        (r"\s+$", "search"),
        (r"\s+$", "sub"),
        (r"(a+)+$", "match"),
        (r"\w*\d*x", "fullmatch"),
        (r"<Message>(.*?)</Message>", "search"),
        (r"([\w.]+)@", "findall"),
        (rb"key=\s*(\S*\s*)*;", "search"),
        (r"x(?:y\s*z?\s*)*;", "match"),
    ],
)
def test_slow_patterns_are_found(pattern: str, method: str) -> None:
    """The inputs bite."""
    assert slow_input(Use(re.compile(pattern), method, "here")) is not None


@pytest.mark.parametrize(
    ("pattern", "method"),
    [
        (r"\s+", "sub"),
        (r"[a-z]+(-[a-z]+)*", "fullmatch"),
        (r"<M>([^<]{0,200})</M>", "search"),
        (r"\d+$", "match"),
    ],
)
def test_fast_patterns_are_not(pattern: str, method: str) -> None:
    assert slow_input(Use(re.compile(pattern), method, "here")) is None


def test_a_pattern_that_cannot_be_tried_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is made where it is used, from what is only known there."""
    used = "    return re.search('b' + x, x) or _A.match(x)"
    source = f"import re\n_A = re.compile('a')\ndef f(x):\n    re.escape(x)\n{used}\n"
    module = ModuleType("planted")
    monkeypatch.setitem(sys.modules, "planted", module)
    vars(module).update(_A=re.compile("a"))
    told = list(uses_of(module, source))
    assert [(use.method, use.place) for use in told if isinstance(use, Use)] == [("match", "planted._A")]
    assert [use for use in told if isinstance(use, str)] == [
        "planted:5: give the pattern a name at the top of the module, or write it out here"
    ]
