"""Type checkers see the names that laila has when it runs: one list makes both."""

from __future__ import annotations

import ast

import facade

import laila


def test_the_stub_is_up_to_date() -> None:
    assert facade.STUB.read_text() == facade.text(), "run make facade"


def test_each_name_is_in_the_stub_once() -> None:
    tree = ast.parse(facade.text())
    bound = [name for node in tree.body for name in _bound(node)]
    assert len(bound) == len(set(bound))
    assert set(laila.__all__) <= set(bound)


def _bound(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [alias.asname or alias.name for alias in node.names]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]
