"""Docstrings of public names say what goes in, what comes out, and what goes wrong.

ruff checks the form, and that `Args:` leaves no parameter out (D417). This file checks that the sections
are there. A name is public if it is in the `__all__` of a package; so are the public methods of a public
class, with those that it inherits. A method that a base class declares needs a summary alone.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from types import FunctionType

import pytest

from workspace import ROOT, SIBLINGS

PACKAGES = [
    *("laila", "laila.contract", "laila.entry", "laila.futures", "laila.policy", "laila.transform"),
    *("laila.pool.memory", "laila.taskforce.inline", *(sibling.package for sibling in SIBLINGS)),
]
KNOWN = ROOT / "tests" / "docstrings.txt"
"""Functions whose docstrings lack something today, one a line, without their modules, which may move.

Mend them and take lines away; add none.
"""


def _sources(member: object) -> Iterator[FunctionType]:
    """The functions that a member of a class or package consists of."""
    if isinstance(member, classmethod | staticmethod):
        member = member.__func__
    member = inspect.unwrap(member) if callable(member) else member
    if isinstance(member, FunctionType):
        yield member


def _is_ours(member: type | FunctionType) -> bool:
    return member.__module__.partition(".")[0] == "laila" and not member.__module__.startswith(
        "laila.testing"
    )


def _of_class(public: type) -> Iterator[tuple[str, FunctionType, bool]]:
    """Public methods of a class: dotted name, function, and whether only a summary is wanted."""
    bases = [base for base in public.__mro__ if _is_ours(base)]
    for place, base in enumerate(bases):
        for name, member in vars(base).items():
            if not name.startswith("_"):
                inherited = any(name in vars(above) for above in bases[place + 1 :])
                for function in _sources(member):
                    yield f"{base.__module__}.{base.__qualname__}.{name}", function, inherited


def public_functions() -> dict[str, tuple[FunctionType, bool]]:
    """Dotted name of the place where it is defined, to the function and whether only a summary is wanted."""
    functions: dict[str, tuple[FunctionType, bool]] = {}
    for name in PACKAGES:
        package = importlib.import_module(name)
        for exported in package.__all__:
            value = getattr(package, exported)
            if isinstance(value, type) and _is_ours(value):
                for dotted, function, inherited in _of_class(value):
                    functions[dotted] = (function, inherited)
            elif not isinstance(value, type):
                for function in _sources(value):
                    if _is_ours(function):
                        functions[f"{function.__module__}.{function.__qualname__}"] = (function, False)
    return functions


def _nodes(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.AST]:
    """The nodes of a function, without those of functions and classes inside it."""
    ahead: list[ast.AST] = list(function.body)
    while ahead:
        node = ahead.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            ahead.extend(ast.iter_child_nodes(node))


def _raises(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether it makes and raises an error, outside any `try` of its own."""
    nodes = list(_nodes(function))
    return not any(isinstance(node, ast.Try) for node in nodes) and any(
        isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) for node in nodes
    )


def _returns(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether its annotation promises a value."""
    text = ast.unparse(function.returns) if function.returns else "None"
    return text not in {"None", "NoReturn", "Never", "Self", "'Self'"}


def lacking(source: str, *, inherited: bool = False) -> list[str]:
    """What the docstring of the function in ``source`` lacks: "summary", or names of sections."""
    (function,) = ast.parse(textwrap.dedent(source)).body
    assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
    text = ast.get_docstring(function)
    if text is None:
        return ["summary"]
    if inherited:
        return []
    sections = set(re.findall(r"^(Args|Returns|Yields|Raises):$", text, re.MULTILINE))
    arguments = function.args
    parameters = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    named = {each.arg for each in [*parameters, arguments.vararg, arguments.kwarg] if each} - {"self", "cls"}
    wanted = {
        "Args": bool(named),
        "Returns": _returns(function) and "Yields" not in sections,
        "Raises": _raises(function),
    }
    return [section for section, needed in wanted.items() if needed and section not in sections]


def _short(name: str) -> str:
    """A dotted name without its modules, which are written in lower case: `Entry.constant`, `memorize`."""
    parts = name.split(".")
    classes = [number for number, part in enumerate(parts) if part[:1].isupper()]
    return ".".join(parts[classes[0] :] if classes else parts[-1:])


def findings() -> list[str]:
    """Each public function whose docstring lacks something, as one line."""
    functions = public_functions().items()
    missing = (
        (name, lacking(inspect.getsource(function), inherited=only)) for name, (function, only) in functions
    )
    return sorted({f"{_short(name)}: {', '.join(sections)}" for name, sections in missing if sections})


def test_public_names_say_what_goes_in_and_comes_out() -> None:
    """Except those that are known, whose list only gets shorter."""
    known, found = set(KNOWN.read_text().splitlines()), set(findings())
    assert sorted(found - known) == [], "write these sections"
    assert sorted(known - found) == [], f"these are mended: take them out of {KNOWN.name}"


def test_public_names_are_many() -> None:
    """The search finds methods of bases, verbs, class methods and plugins."""
    names = set(map(_short, public_functions()))
    assert len(names) > 250
    assert {"memorize", "Entry.constant", "FutureBase.cancel", "HDF5Pool.compact"} <= names


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(): ...", ["summary"]),
        ('def f() -> None:\n    """Do it."""', []),
        ('def f(a) -> None:\n    """Do it."""', ["Args"]),
        ('def f(*, a) -> None:\n    """Do it."""', ["Args"]),
        ('def f(*a) -> None:\n    """Do it."""', ["Args"]),
        ('def f(a) -> None:\n    """Do it.\n\n    Args:\n        a: What.\n    """', []),
        ('def f(self) -> int:\n    """Do it."""', ["Returns"]),
        ('def f(self) -> Iterator[int]:\n    """Do it.\n\n    Yields:\n        Each.\n    """', []),
        ('def f() -> None:\n    """Do it."""\n    raise ValueError("x")', ["Raises"]),
        ('def f() -> None:\n    """Do it."""\n    def g():\n        raise ValueError("x")', []),
        (
            'async def f(a) -> int:\n    """Do it."""\n    raise ValueError("x")',
            ["Args", "Returns", "Raises"],
        ),
    ],
)
def test_what_a_docstring_lacks_is_found(source: str, expected: list[str]) -> None:
    assert lacking(source) == expected


def test_a_method_that_a_base_declares_needs_a_summary() -> None:
    assert lacking('def f(self, a) -> int:\n    """Do it."""', inherited=True) == []
    assert lacking("def f(self, a) -> int: ...", inherited=True) == ["summary"]


@pytest.mark.parametrize("name", [name for name in PACKAGES if name != "laila"])
def test_every_name_of_a_package_is_there(name: str) -> None:
    """`from package import *` works: what is imported lazily too."""
    package = importlib.import_module(name)
    assert [each for each in package.__all__ if not hasattr(package, each)] == []
