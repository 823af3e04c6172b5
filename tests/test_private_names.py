"""Private names belong to their module: few are used by others, and they only get fewer."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "laila-core" / "src" / "laila"
ROOMS = ("central", "component", "contract", "offload", "peering", "policy", "tiering")
MOST = 70
"""How many there were, and a few. Make what others need a method, or join the classes; then lower this."""
OF_NAMED_TUPLES = {"_asdict", "_fields", "_replace"}


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in OF_NAMED_TUPLES


def defined(tree: ast.Module) -> set[str]:
    """The private names that the classes of a module define, or the module itself."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id == "self":
                names.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):  # of __slots__
            names.add(node.value)
    return names


def foreign(source: str) -> Counter[str]:
    """The private names of other objects that a module uses, and how often."""
    tree = ast.parse(source)
    own = defined(tree)
    return Counter(
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and private(node.attr)
        and node.attr not in own
        and not (isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"})
    )


def test_private_names_of_others_get_fewer() -> None:
    found: Counter[str] = Counter()
    for room in ROOMS:
        for path in (SOURCE / room).rglob("*.py"):
            found += foreign(path.read_text())
    assert found.total() <= MOST, dict(found.most_common(20))


def test_what_is_counted() -> None:
    code = "class A:\n def _own(self): self._x = self._base()\n\ndef f(a, b): return a._own, a._x, b._other"
    assert foreign(code) == {"_other": 1}
