"""Files of arguments that somebody else wrote: huge, deep, or made to take for ever: read, or refused."""

from __future__ import annotations

import difflib
import json
import os
import tracemalloc
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

import laila
from laila.arguments import Arguments
from laila.arguments.formats import parser_for
from laila.arguments.reader import ArgReader
from laila.errors import ArgumentsError, InvalidArgumentError, MissingArgumentError

if TYPE_CHECKING:
    from pathlib import Path


def deep(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


REFUSED = {
    "deep.json": deep(101),
    "deeper.json": deep(100_000),
    "lists.json": '{"a":' + "[" * 101 + "]" * 101 + "}",
    "twice.json": "{" + "".join(f'"k{i}":1,' for i in range(50_000)) + '"k49999":2}',
    "digits.json": '{"a":' + "9" * 5000 + "}",
    "array.toml": "a=" + "[" * 100_000,
    "inline.toml": "a=" + "{a=" * 101 + "1" + "}" * 101,
    "dotted.toml": ".".join("a" * 50_000) + " = 1",
    "dotted_inside.toml": "x = {" + ".".join("a" * 50_000) + " = 1}",
    "dotted_header.toml": "a = 1\n[" + ". ".join(["'b'", '"c"', "d"] * 20_000) + "]",
    "digits.toml": "a = " + "9" * 5000,
    "blanks.env": "A=x" + " " * 100_000 + "x",
    "forms.env": "A=1\nB=x" + "\x0c\t \u2003" * 30_000 + "x",
    "deep.env": "A=" + deep(101),
    "quotes.env": "A='" + "\\'" * 100_000,
    "name.env": "A" * 100_000,
    "deep.xml": "<a>" * 100_000 + "</a>" * 100_000,
    "tag.xml": f"<{'é' * 100_000}>text</{'é' * 100_000}>",
    "encoding.xml": '<?xml version="1.0" encoding="punycode"?><a/>',
    "entity.xml": '<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>',
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_in_a_few_words(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(REFUSED[name], encoding="utf-8")
    target = Arguments({"before": 1})
    with pytest.raises(ArgumentsError) as raised:
        ArgReader(target).load(path)
    assert len(str(raised.value)) < 1000
    assert target.to_dict() == {"before": 1}


@pytest.mark.parametrize("name", ["a.toml", "a.json", "a.env", "a.xml"])
def test_a_small_file_takes_little_memory(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text("=")
    peak = 0
    for _ in range(2):  # the first time imports the parser
        tracemalloc.start()
        with suppress(ArgumentsError):
            parser_for(file)(file)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 4 << 20


def test_what_is_large_and_plain_is_read(tmp_path: Path) -> None:
    path = tmp_path / "many.json"
    path.write_text(json.dumps({f"k{i}": {"a": [i]} for i in range(5000)} | {"deep": json.loads(deep(98))}))
    target = Arguments()
    ArgReader(target).load(path)
    assert target["k4999.a"] == [4999]
    for name, text in {
        "a.toml": "a.b.c = '" + "x." * 60 + "'\nd = 10.0.0.1\n".replace("10.0.0.1", "1.5"),
        "a.env": "A=1" + " " * 150 + "# a comment\nB=2\n",
    }.items():
        (tmp_path / name).write_text(text)
        ArgReader(target).load(tmp_path / name)
    assert (target["A"], target["B"], target["d"]) == (1, 2, 1.5)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="needs a device without end")
@pytest.mark.parametrize("kind", ["json", "toml", "env", "xml"])
def test_a_device_without_end_is_no_file(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("laila.arguments.formats._LARGEST", 1 << 20)
    path = tmp_path / f"zero.{kind}"
    path.symlink_to("/dev/zero")
    with pytest.raises(ArgumentsError, match="more than 1048576 bytes"):
        ArgReader(Arguments()).load(path)


def test_the_terminal_nests_no_deeper(tmp_path: Path) -> None:
    with pytest.raises(ArgumentsError, match="levels"):
        ArgReader(Arguments()).from_terminal([f"a={deep(101)}"])


def test_a_mapping_that_holds_itself_is_refused() -> None:
    mapping: dict[str, Any] = {}
    mapping["a"] = mapping
    before = laila.args.to_dict()
    with pytest.raises(InvalidArgumentError, match="themselves"):
        laila.args = mapping  # type: ignore[assignment]  # a property of the module
    with pytest.raises(InvalidArgumentError, match="themselves"):
        Arguments(mapping)
    assert laila.args.to_dict() == before


def test_parts_in_many_places_are_looked_at_once() -> None:
    from laila.arguments.arguments import too_deep

    class Counted(dict[str, Any]):
        looked_at = 0

        def values(self) -> Any:
            Counted.looked_at += 1
            return super().values()

    part: dict[str, Any] = Counted(x=1)
    for _ in range(60):
        part = Counted(a=part, b=part)
    assert not too_deep(part)
    assert Counted.looked_at == 61


def test_a_missing_name_is_compared_with_few(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []
    real = difflib.get_close_matches

    def counted(word: str, names: list[str], **options: Any) -> Any:
        compared.append(len(word) * sum(map(len, names)))
        return real(word, names, **options)

    monkeypatch.setattr(difflib, "get_close_matches", counted)
    arguments = Arguments({f"name_{i}": i for i in range(20_000)} | {"k" * 100_000: 1})
    for name in ("name_x", "k" * 99_999):
        with pytest.raises(MissingArgumentError):
            arguments[name]
    assert max(compared) < 200_000
