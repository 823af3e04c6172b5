"""The page about the architecture is right: its rooms, its drawing, the places that it names."""

from __future__ import annotations

import re
import tomllib

from workspace import ROOT

CORE = ROOT / "laila-core" / "src" / "laila"
PAGE = (ROOT / "docs" / "explanation" / "architecture.md").read_text()


def _heights() -> dict[str, int]:
    """The layer of each room, from import-linter's list; 0 is the top."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(each["layers"] for each in contracts if each["id"] == "layers")
    return {name: height for height, layer in enumerate(layers) for name in re.findall(r"\w+", layer)}


def test_each_folder_is_in_the_table_of_rooms_from_top_to_bottom() -> None:
    rows = re.findall(r"^\| (`\w+/`.*?) \|", PAGE, re.MULTILINE)
    rooms = [re.findall(r"`(\w+)/`", row) for row in rows]
    folders = {each.parent.name for each in CORE.glob("*/*.py")}
    assert {room for row in rooms for room in row} == folders
    heights = _heights()
    assert [heights[row[0]] for row in rooms] == sorted(heights[row[0]] for row in rooms)


def test_no_arrow_of_the_drawing_points_upwards() -> None:
    drawing = re.search(r"```mermaid\n(.*?)```", PAGE, re.DOTALL)
    assert drawing is not None
    arrows = re.findall(r"^  (\w+)(?:\[.*?\])? --> (\w+)", drawing[1], re.MULTILINE)
    heights = _heights()
    between_rooms = [(upper, lower) for upper, lower in arrows if {upper, lower} <= heights.keys()]
    assert len(between_rooms) > 7
    assert [(upper, lower) for upper, lower in between_rooms if heights[upper] >= heights[lower]] == []


def test_the_places_to_look_are_there() -> None:
    table = PAGE.partition("## Where to look")[2]
    for place in re.findall(r"`(laila/[\w/.]*)`", table):
        assert (CORE.parent / place).exists(), place
    for function, place in re.findall(r"`(\w+)` in `(laila/[\w/]+\.py)`", table):
        assert re.search(rf"\bdef {function}\(", (CORE.parent / place).read_text()), (function, place)


def test_each_important_idea_has_a_place() -> None:
    for idea in ("create-if-absent", "a cache is filled", "peers may call", "comes to a worker", "signature"):
        assert idea in PAGE.partition("## Where to look")[2], idea
