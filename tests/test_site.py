"""The site of the documentation has every page, and no link of a page leads nowhere."""

from __future__ import annotations

import re
from pathlib import Path

import build_site
import pytest

from workspace import ROOT


def test_every_page_is_in_the_site_and_every_link_leads_to_one(tmp_path: Path) -> None:
    others = build_site.stage(tmp_path)
    nav = str(build_site.navigation(others, build_site.python_pages(tmp_path)))
    pages = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.md")}
    assert {page for page in pages if repr(page) not in nav} == set()
    assert len(pages) > 60
    for page in pages:
        text = re.sub(r"^```.*?^```$", "", (tmp_path / page).read_text(), flags=re.DOTALL | re.MULTILINE)
        for _, link, _ in build_site.LINK.findall(text):
            assert ((tmp_path / page).parent / link).exists(), f"{page}: {link}"


def test_the_index_lists_every_page() -> None:
    text = (ROOT / "docs" / "index.md").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").as_posix()
        assert name == "index.md" or f"({name})" in text, f"docs/index.md does not list {name}"


def test_a_link_that_leads_nowhere_is_an_error() -> None:
    page = ROOT / "docs" / "index.md"
    with pytest.raises(SystemExit, match="there is no"):
        build_site.relink("[x](nowhere.md)", page, "index.md")
    text, linked = build_site.relink("[x](../SECURITY.md#a)\n```\n[z](nowhere.md)\n```", page, "index.md")
    assert text.startswith("[x](project/SECURITY.md#a)")
    assert linked == [ROOT / "SECURITY.md"]
