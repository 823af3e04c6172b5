"""The parsers of arguments: each turns one source into a nested table, or names the wrong line.

Loaded when a source is read. TOML and JSON keep their types; text of the other three is tagged with
:class:`~laila.arguments.arguments.Text`: what it reads as, and the text itself.
"""

from __future__ import annotations

import importlib
import json
import re
import tomllib
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, NoReturn

from laila.arguments.arguments import DEEPEST, Text
from laila.arguments.text import read_value
from laila.errors import ArgumentsError, ArgumentsNotFoundError, InvalidArgumentError, MissingPluginError
from laila.showing import said, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from types import ModuleType
    from xml.etree.ElementTree import Element

__all__ = ["Table", "parser_for", "read_env", "read_json", "read_terminal", "read_toml", "read_xml"]

Table = dict[str, object]

# KEY="… or KEY='…: python-dotenv takes the quotes off, and they say that the value is to stay text.
_QUOTED_VALUE = re.compile(r"""\s*(?:export\s+)?(?:'[^']*'|[^=#\s]+)[^\S\r\n]*=[^\S\r\n]*['"]""")

_LARGEST = 64 << 20  # bytes; more is no configuration but a device, or an attempt to exhaust the memory
_AT_ONCE = 1 << 20
_WIDEST_GAP = 200  # blanks in a row; the parser of .env files takes quadratic time to look for comments
_GAP = re.compile(rf"(?<![^\S\r\n])[^\S\r\n]{{{_WIDEST_GAP + 1}}}")
_NAME = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')"""
_LONG_NAME = re.compile(rf"(?<![\w-]){_NAME}(?:[ \t]*+\.[ \t]*+{_NAME}){{{DEEPEST}}}")  # tomllib: quadratic


def parser_for(path: Path) -> Callable[[Path], Table]:
    """Return the parser that the file's name asks for."""
    parsers = {".toml": read_toml, ".json": read_json, ".env": read_env, ".xml": read_xml}
    name = path.name.lower()
    suffix = ".env" if name == ".env" or name.startswith(".env.") else path.suffix.lower()
    if suffix not in parsers:
        raise ArgumentsError(
            f"cannot read arguments from {shown(str(path))}: the name must end in {', '.join(parsers)} "
            "(or be 'terminal', for the command line)",
            source=str(path),
            line=None,
        )
    return parsers[suffix]


def read_toml(path: Path) -> Table:
    """Read a TOML 1.0 file."""
    text = _text(path)
    long = _LONG_NAME.search(text)
    if long:
        line = text.count("\n", 0, long.start()) + 1
        _refuse(path, line, f"a name has more than {DEEPEST} parts between dots")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # Python 3.14 has the line as an attribute; before, it is in the message only.
        at = re.search(r"at line (\d+)", str(error))
        _refuse(path, int(at[1]) if at else None, str(error), error)
    except RecursionError as error:
        _refuse(path, None, "it is nested too deeply", error)
    except ValueError as error:
        _refuse(path, None, said(error), error)


def read_json(path: Path) -> Table:
    """Read a JSON file whose outermost value is an object."""
    try:
        values = json.loads(_text(path), object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        _refuse(path, error.lineno, f"{error.msg} (column {error.colno})", error)
    except RecursionError as error:
        _refuse(path, None, "it is nested too deeply", error)
    except ValueError as error:
        _refuse(path, None, said(error), error)
    if not isinstance(values, dict):
        _refuse(path, 1, f"the outermost value must be an object {{…}}, not a {type(values).__name__}")
    return values


def read_env(path: Path) -> Table:
    """Read ``KEY=value`` lines. Quotes keep a value text; ``${…}`` is not replaced."""
    parse_stream = _needed("dotenv.parser", "python-dotenv").parse_stream
    from io import StringIO

    table: Table = {}
    content = _text(path)
    gap = _GAP.search(content)
    if gap:
        line = content.count("\n", 0, gap.start()) + 1
        _refuse(path, line, f"more than {_WIDEST_GAP} blanks in a row")
    for binding in parse_stream(StringIO(content)):
        # A binding begins with the blank lines before it.
        text = binding.original.string
        line = binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")
        if binding.error or (binding.key is not None and binding.value is None):
            # The faulty line may hold half a secret: it is named by its number only.
            _refuse(path, line, "KEY=value is expected (is a quote left open?)")
        if binding.key is None:
            continue
        quoted = _QUOTED_VALUE.match(text)
        value = Text(binding.value if quoted else read_value(binding.value), binding.value)

        def refuse(reason: str, line: int = line) -> NoReturn:
            _refuse(path, line, reason)

        _nest(table, binding.key, value, refuse)
    return table


def read_xml(path: Path) -> Table:
    """Read an XML file: elements in the root are names, elements in them nested tables.

    An attribute counts as an element of that name, a repeated element becomes a list, and text beside
    attributes or elements is found under ``text``. Namespaces are dropped. A document type, and with it every
    entity of one's own, is refused.
    """
    safe = _needed("defusedxml.ElementTree", "defusedxml")
    common = importlib.import_module("defusedxml.common")
    try:
        root = safe.fromstring(_bytes(path), forbid_dtd=True)
    except safe.ParseError as error:
        _refuse(path, error.position[0], said(error), error)
    except common.DefusedXmlException as error:
        _refuse(path, None, "document types and entities are not allowed", error)
    except (ValueError, LookupError) as error:
        _refuse(path, 1, f"its encoding cannot be read: {said(error)}", error)
    value = _element(root, path, 0)
    if not isinstance(value, dict):
        if root.text and root.text.strip():
            _refuse(path, 1, f"the root {shown(root.tag)} must hold elements, not text")
        return {}
    return value


def read_terminal(tokens: Iterable[str]) -> Table:
    """Read ``key=value`` and ``--key=value``; dots in a key nest, and its hyphens count as underscores."""
    table: Table = {}
    for position, token in enumerate(tokens, start=1):

        def refuse(reason: str, position: int = position) -> NoReturn:
            raise ArgumentsError(
                f"argument {position} of the terminal: {reason}", source="terminal", line=None
            )

        if not isinstance(token, str):
            raise InvalidArgumentError(f"terminal arguments are texts, not {type(token).__name__}")
        key, separator, text = token.partition("=")
        if not separator:
            # The token itself may be a secret that lost its name: it is not shown.
            refuse("key=value or --key=value is expected")
        _nest(table, key.removeprefix("--").strip().replace("-", "_"), Text(read_value(text), text), refuse)
    return table


def _element(element: Element, path: Path, depth: int) -> object:
    if depth > DEEPEST:
        _refuse(path, None, f"it is nested more than {DEEPEST} levels deep")
    table: Table = {_local(name): Text(read_value(text), text) for name, text in element.attrib.items()}
    repeated: dict[str, list[object]] = {}
    for child in element:
        name = _local(child.tag)
        value = _element(child, path, depth + 1)
        if name not in table:
            table[name] = value
        elif name in repeated:
            repeated[name].append(_plain(value))
        else:
            repeated[name] = [_plain(table[name]), _plain(value)]
            table[name] = repeated[name]
    text = (element.text or "").strip()
    if not table:
        return Text(read_value(text), text)
    if text:
        table.setdefault("text", Text(read_value(text), text))
    return table


def _plain(value: object) -> object:
    """Drop the tags of a value that goes into a list: lists hold plain values."""
    if isinstance(value, Text):
        return value.value
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _nest(table: Table, dotted: str, value: object, refuse: Callable[[str], NoReturn]) -> None:
    """Set ``a.b.c`` in nested tables."""
    *outer, last = dotted.split(".")
    if not all((*outer, last)):
        refuse("its key is empty, or a part of it between dots is")
    if len(outer) > DEEPEST:
        refuse(f"its key has more than {DEEPEST} parts")
    for name in outer:
        inner = table.setdefault(name, {})
        if not isinstance(inner, dict):
            refuse(f"{shown(name)} is a value already and cannot be a table too")
        table = inner
    if isinstance(table.get(last), dict):
        refuse(f"{shown(last)} is a table already and cannot be a value too")
    table[last] = value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) != len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the name {shown(twice)} stands twice in one object")
    return table


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            # Python makes room for all that it is asked for, before a byte of it is there.
            data = b"".join(islice(iter(lambda: file.read(_AT_ONCE), b""), _LARGEST // _AT_ONCE + 1))
    except FileNotFoundError as error:
        raise ArgumentsNotFoundError(
            f"there is no arguments file {shown(str(path))}", source=str(path), line=None
        ) from error
    except OSError as error:
        _refuse(path, None, f"it cannot be read ({error.strerror or error})", error)
    if len(data) > _LARGEST:
        _refuse(path, None, f"it has more than {_LARGEST} bytes, and is no file of arguments")
    return data


def _text(path: Path) -> str:
    data = _bytes(path)
    try:
        # utf-8-sig drops the mark that some editors write before the first line.
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        _refuse(path, data.count(b"\n", 0, error.start) + 1, "it is not UTF-8", error)


def _refuse(path: Path, line: int | None, reason: str, cause: BaseException | None = None) -> NoReturn:
    where = shown(str(path)).strip("'\"")
    if line:
        where += f", line {line}"
    raise ArgumentsError(
        f"cannot read arguments from {where}: {reason}", source=str(path), line=line
    ) from cause


def _needed(module: str, distribution: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingPluginError(
            f"reading this kind of file needs {distribution}: pip install 'laila-core[args]'",
            plugin=distribution,
            distribution="laila-core[args]",
        ) from error
