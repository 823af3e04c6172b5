"""The threat model names tests that hold its promises: each is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEST = re.compile(r"(?:def |^)(test_\w+)(?=\(| = )", re.MULTILINE)  # one may be made by a call
PAGE = ROOT / "docs" / "explanation" / "threat-model.md"


def test_each_promise_has_tests_that_are_there() -> None:
    files = [*ROOT.glob("laila-*/tests/**/test_*.py"), *ROOT.glob("tests/test_*.py")]
    there = {name for file in files for name in re.findall(TEST, file.read_text("utf-8"))}
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("|")]
    surfaces = rows[next(i for i, row in enumerate(rows) if "held by" in row) + 2 :]
    assert len(surfaces) > 10
    for row in surfaces:
        *_, held = row.strip("|").split("|")
        named = re.findall(r"`(test_\w+)`", held)
        assert named, f"nothing holds what is promised here: {row}"
        assert there.issuperset(named), set(named) - there


def test_the_ways_to_report_are_named() -> None:
    assert "docs/explanation/threat-model.md" in (ROOT / "SECURITY.md").read_text("utf-8")
