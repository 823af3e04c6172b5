"""What errors and logs show: every package shows values by `laila.showing`, whose cost is bounded.

A value of somebody else's may take for ever to write out, and may move the cursor of a terminal. So no source
file writes one out by itself; where text, numbers and laila's own objects are formatted, their types say so.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [
    path
    for path in sorted(ROOT.glob("laila-*/src/**/*.py"))
    if "testing" not in path.parts and path.name != "showing.py"
]
LOOKS = {"__repr__", "__str__", "__getattr__"}  # what makes a repr, and what Python calls with names
FOREIGN = {"object", "Any", "None"}
EXEMPT = {  # text, or made of text
    ("arguments/arguments.py", "str(name)"),
    ("cli/main.py", "getLogger"),
    ("laila/settings.py", "str(name)"),
    ("cli/parser.py", "repr(value)"),  # of an argument of the command line, which is taken out of a message
    ("codec/dynamic.py", "repr("),  # gives constants of code an order; nobody sees it
}
WIDE = {"Exception", "BaseException", "KeyError", "LookupError", "ValueError", "TypeError"}


class Lint(ast.NodeVisitor):
    def __init__(self) -> None:
        self.faults: list[str] = []
        self.functions: list[str] = []
        self.foreign: list[set[str]] = [set()]  # names of anything, by function
        self.caught: list[str] = []  # names of errors that may bear any object
        self.messages = 0  # how many of those are being visited: what is raised, or put into text

    def fault(self, node: ast.expr, text: str) -> None:
        self.faults.append(f"{node.lineno}: {text}")

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        named = {
            one.arg
            for one in every
            if one.annotation is not None
            and {part.strip() for part in ast.unparse(one.annotation).split("|")} <= FOREIGN
        }
        self.functions.append(node.name)
        self.foreign.append(named)
        self.generic_visit(node)
        self.foreign.pop()
        self.functions.pop()

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        kinds = (
            [] if node.type is None else node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        )
        wide = node.name is not None and any(isinstance(kind, ast.Name) and kind.id in WIDE for kind in kinds)
        if wide and node.name is not None:
            self.caught.append(node.name)
        self.generic_visit(node)
        if wide:
            self.caught.pop()

    def visit_Raise(self, node: ast.Raise) -> None:
        self.messages += 1
        self.generic_visit(node)
        self.messages -= 1

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        self.messages += 1
        self.generic_visit(node)
        self.messages -= 1

    def visit_FormattedValue(self, node: ast.FormattedValue) -> None:
        value = node.value
        own = isinstance(value, ast.Name) and value.id == "self"
        if node.conversion in (ord("r"), ord("a")) and not own and not LOOKS.intersection(self.functions):
            self.fault(value, f"{{{ast.unparse(value)}!r}}: write {{shown(…)}}")
        elif isinstance(value, ast.Name) and node.conversion != ord("r"):
            if any(value.id in names for names in self.foreign):
                self.fault(value, f"{{{value.id}}} may be anything: write {{shown({value.id})}}")
            if value.id in self.caught:
                self.fault(value, f"{{{value.id}}} may bear anything: write {{said({value.id})}}")
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id in ("repr", "ascii", "str") and node.args:
            (given, *_) = node.args
            name = given.id if isinstance(given, ast.Name) else ""
            foreign = any(name in names for names in self.foreign)
            if not LOOKS.intersection(self.functions) and (
                node.func.id != "str" or (foreign and self.messages)
            ):
                self.fault(node, f"{ast.unparse(node)}: write shown(…)")
            elif node.func.id == "str" and name in self.caught:
                self.fault(node, f"{ast.unparse(node)}: write said({name})")
        if isinstance(node.func, ast.Attribute) and node.func.attr == "getLogger":
            self.fault(node, "getLogger: write logger(…), whose records are one line each")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and "%r" in node.value:
            self.fault(node, "%r: write %s, and shown(…)")


def test_no_message_writes_out_what_may_be_anything() -> None:
    faults = []
    for path in FILES:
        lint = Lint()
        lint.visit(ast.parse(path.read_text("utf-8")))
        exempt = [text for name, text in EXEMPT if path.as_posix().endswith(name)]
        faults += [f"{path}:{one}" for one in lint.faults if not any(text in one for text in exempt)]
    assert not faults


@pytest.mark.parametrize(
    "source",
    [
        'f"{name!r}"',
        'f"{name!r:.20}"',
        "repr(name)",
        "def f(name: object): return f'{name}'",
        "def f(name: Any): raise ValueError(str(name))",
        "try: pass\nexcept ValueError as error: f'{error}'",
        "try: pass\nexcept (OSError, KeyError) as error: str(error)",
        "'%r' % name",
        "logging.getLogger(name)",
    ],
)
def test_the_lint_finds(source: str) -> None:
    lint = Lint()
    lint.visit(ast.parse(source))
    assert lint.faults
