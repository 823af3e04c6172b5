"""Arguments and their reader: five formats, merging, bad input, joined names, foreign targets."""

from __future__ import annotations

import copy
import json
import math
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laila.arguments import ArgReader, Arguments, arg_reader, args, read_args
from laila.arguments.text import read_value
from laila.errors import ArgumentsError, ArgumentsNotFoundError, MissingArgumentError, MissingPluginError


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    args.clear()
    yield
    args.clear()


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


Write = Callable[[str, str | bytes], Path]


# -- the mapping -----------------------------------------------------------------------------------------


def test_attributes_and_items_are_the_same() -> None:
    values = Arguments({"lr": 0.1, "aws": {"key": "k", "deep": {"er": 1}}})
    assert values.lr == values["lr"] == 0.1
    assert values.aws.deep.er == values["aws"]["deep"]["er"] == values["aws.deep.er"] == 1
    values.lr = 0.2
    values["aws"]["key"] = "j"
    assert (values["lr"], values.aws.key) == (0.2, "j")
    del values.lr
    assert list(values) == ["aws"]
    assert len(values) == 1


def test_joined_names_find_nested_values() -> None:
    values = Arguments({"aws": {"secret_key": 1, "a": {"b_c": 2}}, "a_b": {"c": 3}})
    assert values.aws_secret_key == 1
    assert values["aws_a_b_c"] == 2
    assert values.a_b_c == 3
    assert "aws_secret_key" in values
    assert "aws_secret" not in values
    values.aws_secret_key = "own"
    assert (values.aws_secret_key, values.aws.secret_key) == ("own", 1)


def test_a_missing_name_is_both_errors_and_suggests() -> None:
    values = Arguments({"aws": {"region": "eu"}})
    with pytest.raises(AttributeError, match=r"'aws_regoin'; did you mean aws\.region"):
        _ = values.aws_regoin
    with pytest.raises(KeyError):
        _ = values["nothing"]
    assert values.get("nothing", 5) == 5
    assert getattr(values, "nothing", None) is None
    error = pickle.loads(pickle.dumps(MissingArgumentError("m", argument="x")))
    assert (str(error), error.argument) == ("m", "x")
    with pytest.raises(KeyError):
        del values["nothing"]


def test_names_of_methods_are_items_only() -> None:
    values = Arguments({"items": 3, "_private": 4})
    assert (values["items"], values["_private"]) == (3, 4)
    assert list(values.items()) == [("items", 3), ("_private", 4)]
    with pytest.raises(AttributeError, match=r"write args\['keys'\]"):
        values.keys = 3  # type: ignore[method-assign, assignment]
    for wrong in ("", 3, None):
        with pytest.raises(TypeError):
            values[wrong] = 1  # type: ignore[index]


def test_repr_shows_names_and_no_values() -> None:
    values = Arguments({"password": "hunter2", "aws": {"key": "AKIA", "none": {}}})
    assert repr(values) == "<Arguments: password, aws.key, aws.none>"
    assert {"password", "aws"} <= set(dir(values))


def test_copies_are_independent_and_pickle() -> None:
    values = Arguments()
    ArgReader(values).from_terminal(["aws.pin=0123", "n=1"])
    for other in (copy.deepcopy(values), pickle.loads(pickle.dumps(values))):
        assert other == values == {"aws": {"pin": "0123"}, "n": 1}
        other.aws.pin = 5
        assert values.aws.pin == "0123"
    assert values.to_dict() == {"aws": {"pin": "0123"}, "n": 1}
    assert type(values.to_dict()["aws"]) is dict


def test_threads_may_load_and_read_at_once() -> None:
    values = Arguments()
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for step in range(200):
                values.merge({"shared": {f"t{number}": step}})
                assert values.shared[f"t{number}"] == step
                list(values.shared)
                repr(values)
        except BaseException as error:  # noqa: BLE001 - shown by the assertion
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert values.shared == {f"t{number}": 199 for number in range(6)}


# -- text ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True), ("False", False), ("none", None), ("NULL", None), ("", ""), ("12", 12), ("-3", -3),
        ("+4", 4), ("0", 0), ("007", "007"), ("1_000", "1_000"), ("1.5", 1.5), ("-.5", -0.5), ("2.", 2.0),
        ("1e3", 1000.0), ("1E-2", 0.01), ("inf", math.inf), ("-inf", -math.inf), ("0x10", "0x10"),
        ("[1, 2]", [1, 2]), ('{"a": {"b": null}}', {"a": {"b": None}}), ("{", "{"),
        ("[draft] x", "[draft] x"),
        ('"5"', "5"), ("'5'", "5"), ("'true'", "true"), ('"a\\b c"', "a\x08 c"), ('"C:\\dir"', "C:\\dir"),
        ("yes", "yes"), ("1 2", "1 2"), (" x ", " x "), ("9" * 5000, "9" * 5000), ("١٢", "١٢"),
        ("'", "'"),
        ('"', '"'), ("1.2.3", "1.2.3"), ("e5", "e5"), (".", "."), ("+", "+"),
    ],
)  # fmt: skip
def test_what_text_reads_as(text: str, value: object) -> None:
    found = read_value(text)
    assert (found, type(found)) == (value, type(value))


def test_nan_and_deep_text() -> None:
    found = read_value("NaN")
    assert isinstance(found, float)
    assert math.isnan(found)
    assert read_value("[" * 100_000) == "[" * 100_000


@given(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.lists(st.integers()),
    )
)
def test_json_values_survive_as_text(value: object) -> None:
    found = read_value(json.dumps(value))
    assert (found, type(found)) == (value, type(value))


@given(st.text())
def test_quoted_json_text_stays_text_and_no_text_fails(text: str) -> None:
    assert read_value(json.dumps(text)) == text
    read_value(text)


# -- formats ---------------------------------------------------------------------------------------------


def test_toml_keeps_its_types(write: Write) -> None:
    path = write(
        "a.toml",
        'lr = 0.1\nname = "5"\nd = 1979-05-27\n[aws]\nkey = "k"\nports = [1, 2]\n[aws.x]\ny = true\n',
    )
    assert read_args(path) is None  # type: ignore[func-returns-value]
    assert (args.lr, args.name, args.aws.ports, args.aws_x_y) == (0.1, "5", [1, 2], True)
    assert args.d.year == 1979


def test_json_keeps_its_types(write: Write) -> None:
    read_args(str(write("a.JSON", '\ufeff{"a": {"b": [1, null, "2"]}, "c": "3", "d": 1.0}')))
    assert args.to_dict() == {"a": {"b": [1, None, "2"]}, "c": "3", "d": 1.0}


@pytest.mark.parametrize("name", [".env", "prod.env", ".env.local"])
def test_env_files(name: str, write: Write) -> None:
    text = "# note\nexport A=1\nB='1'\nC=\"x y\" # why\nD=true\nE=\nF=0123\nG=[1,2]\n"
    text += "H=${A}\nI= 2 # two\r\nJ.k=3\nL='a\nb'\n"
    read_args(write(name, text))
    assert args.to_dict() == {
        "A": 1, "B": "1", "C": "x y", "D": True, "E": "", "F": "0123", "G": [1, 2], "H": "${A}", "I": 2,
        "J": {"k": 3}, "L": "a\nb",
    }  # fmt: skip


def test_xml_files(write: Write) -> None:
    text = """<?xml version="1.0"?>
<args xmlns:q="urn:q">
  <!-- note --><lr>0.1</lr><name>"5"</name><empty/><q:fast> true </q:fast>
  <aws region="eu"><key>k &amp; l</key><deep><er>1</er></deep></aws>
  <host>a</host><host>b</host><host><port>3</port></host>
  <note lang="en">hello</note>
</args>"""
    read_args(write("a.xml", text))
    assert args.to_dict() == {
        "lr": 0.1, "name": "5", "empty": "", "fast": True,
        "aws": {"region": "eu", "key": "k & l", "deep": {"er": 1}},
        "host": ["a", "b", {"port": 3}], "note": {"lang": "en", "text": "hello"},
    }  # fmt: skip
    assert args.aws_deep_er == 1


def test_xml_in_other_encodings_and_empty(write: Write) -> None:
    read_args(write("a.xml", '<?xml version="1.0" encoding="latin-1"?><a><b>é</b></a>'.encode("latin-1")))
    assert args.b == "é"
    read_args(write("b.xml", "<a/>"))
    assert args.to_dict() == {"b": "é"}


def test_terminal() -> None:
    read_args(
        "terminal",
        terminal_args=["lr=0.1", "--aws.key=k=v", "--batch-size=32", "name='5'", "none=", "x.y.z=[1]"],
    )
    assert args.to_dict() == {
        "lr": 0.1, "aws": {"key": "k=v"}, "batch_size": 32, "name": "5", "none": "", "x": {"y": {"z": [1]}},
    }  # fmt: skip


def test_the_terminal_is_sys_argv_by_default() -> None:
    code = "import laila.arguments as a; a.read_args('terminal'); print(a.args.lr, a.args.aws_key)"
    done = subprocess.run(
        [sys.executable, "-c", code, "lr=0.5", "--aws.key=k"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "0.5 k\n"


def test_loading_again_merges_tables_and_the_later_value_wins(write: Write) -> None:
    read_args(write("a.toml", "a = 1\n[t]\nx = 1\ny = 2\n"))
    table = args.t
    read_args("terminal", terminal_args=["t.x=9", "b=2"])
    assert args.to_dict() == {"a": 1, "b": 2, "t": {"x": 9, "y": 2}}
    assert args.t is table
    read_args(write("b.toml", "t = 5\n"))
    assert args.t == 5


# -- bad input -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.toml", "a = 1\nb = \n", 2),
        ("a.toml", "a = 1\na = 2\n", 2),
        ("a.toml", b"a = 1\nb = '\xff'\n", 2),
        ("a.toml", "a = " + "[" * 100_000, None),
        ("a.json", '{"a": 1,\n "b": }', 2),
        ("a.json", "[1]", 1),
        ("a.json", "", 1),
        ("a.json", '{"a": 1, "a": 2}', None),
        ("a.json", '{"a":' * 100_000, None),
        ("a.env", "A=1\nB='open\n", 2),
        ("a.env", "A=1\n\nnonsense here\n", 3),
        ("a.env", "A=1\nB\n", 2),
        ("a.env", "A.b=1\nA=2\n", 2),
        ("a.xml", "<a>\n<b></a>", 2),
        ("a.xml", "", 1),
        ("a.xml", "<a>text</a>", 1),
        ("a.xml", "<a>" * 200 + "</a>" * 200, None),
        ("a.xml", '<?xml version="1.0" encoding="utf-7"?><a/>', 1),
        ("a.xml", '<!DOCTYPE a [<!ENTITY e "x">]><a><b>&e;</b></a>', None),
        ("a.xml", '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/x.dtd"><a/>', None),
        ("a.xml", '<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a><b>&e;</b></a>', None),
    ],
)
def test_a_bad_file_names_the_line_and_changes_nothing(
    name: str, content: str | bytes, line: int | None, write: Write
) -> None:
    args.kept = 1
    path = write(name, content)
    with pytest.raises(ArgumentsError) as caught:
        read_args(path)
    assert isinstance(caught.value, ValueError)
    assert (caught.value.source, caught.value.line) == (str(path), line)
    assert str(path) in str(caught.value)
    if line is not None:
        assert f"line {line}" in str(caught.value)
    assert args.to_dict() == {"kept": 1}
    assert pickle.loads(pickle.dumps(caught.value)).line == line


@pytest.mark.parametrize(
    "tokens",
    [["x"], ["--flag"], ["=1"], ["--=1"], ["a..b=1"], [".a=1"], ["a.b=1", "a=2"], ["a=2", "a.b=1"],
     [".".join("a" * 200) + "=1"]],
)  # fmt: skip
def test_bad_tokens_are_refused_whole(tokens: list[str]) -> None:
    with pytest.raises(ArgumentsError, match=r"argument [23] of the terminal"):
        read_args("terminal", terminal_args=["good=1", *tokens])
    assert args.to_dict() == {}


def test_a_bad_token_is_not_shown() -> None:
    with pytest.raises(ArgumentsError) as caught:
        read_args("terminal", terminal_args=["hunter2"])
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.yaml", "a", "a.toml.bak"])
def test_a_wrong_suffix_lists_the_right_ones(name: str, write: Write) -> None:
    with pytest.raises(ValueError, match=r"\.toml, \.json, \.env, \.xml"):
        read_args(write(name, "a = 1"))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no arguments file") as caught:
        read_args(tmp_path / "none.toml")
    assert isinstance(caught.value, ArgumentsNotFoundError)
    (tmp_path / "dir.json").mkdir()
    with pytest.raises(ArgumentsError, match="cannot be read"):
        read_args(tmp_path / "dir.json")
    with pytest.raises(ArgumentsError, match="terminal_args="):
        read_args(tmp_path / "none.toml", terminal_args=["a=1"])


@pytest.mark.parametrize(("name", "library"), [("a.env", "python-dotenv"), ("a.xml", "defusedxml")])
def test_without_the_extra_the_error_has_the_pip_line(name: str, library: str, write: Write) -> None:
    path = write(name, "<a/>" if name == "a.xml" else "A=1")
    code = f"""
import sys
for blocked in ("dotenv", "dotenv.parser", "defusedxml", "defusedxml.ElementTree"):
    sys.modules[blocked] = None  # what an import finds where the library is not installed
import laila.arguments as a
try:
    a.read_args({str(path)!r})
except ImportError as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("MissingPluginError")
    assert f"{library}: pip install 'laila-core[args]'" in done.stdout
    assert issubclass(MissingPluginError, ImportError)


# -- targets ---------------------------------------------------------------------------------------------


def test_the_reader_defaults_to_the_process_arguments(write: Write) -> None:
    assert ArgReader().target is args
    assert arg_reader.target is args
    arg_reader.load(write("a.toml", "a = 1"))
    assert args.a == 1
    arg_reader.clear()
    assert len(args) == 0


def test_each_method_reads_its_format_whatever_the_suffix(write: Write) -> None:
    values = Arguments()
    reader = ArgReader(values)
    reader.from_toml(write("one", "a = 1"))
    reader.from_json(write("two", '{"b": 2}'))
    reader.from_env(write("three", "c=3"))
    reader.from_xml(write("four", "<x><d>4</d></x>"))
    reader.from_terminal(["e=5"])
    assert values == {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}


def test_a_dict_as_target_gets_joined_names_too() -> None:
    target: dict[str, Any] = {"aws": {"region": "eu"}, "old": 1}
    reader = ArgReader(target)
    reader.from_terminal(["aws.key=7", "lr=0.1"])
    assert target == {
        "aws": {"region": "eu", "key": 7},
        "old": 1,
        "lr": 0.1,
        "aws_key": 7,
        "aws_region": "eu",
    }
    assert type(target["aws"]) is dict
    reader.clear()
    assert target == {}


def test_an_object_as_target_gets_attributes(write: Write) -> None:
    target = SimpleNamespace(mine=1)
    reader = ArgReader(target)
    reader.load(write("a.toml", "lr = 0.1\n[aws]\nkey = 'k'\n"))
    reader.from_terminal(["aws.region=eu"])
    assert (target.lr, target.aws.key, target.aws_key, target.aws.region) == (0.1, "k", "k", "eu")
    reader.clear()
    assert vars(target) == {"mine": 1}
    with pytest.raises(ArgumentsError, match="__class__"):
        reader.from_terminal(["__class__=x"])
    assert vars(target) == {"mine": 1}


def test_reading_nothing_loads_no_parser() -> None:
    code = """
import sys, laila.arguments
print([m for m in ("tomllib", "json", "dotenv", "defusedxml", "pathlib", "threading") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False,
                          env={"PYTHONPATH": str(Path(__file__).parents[1] / "src")})  # fmt: skip
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
