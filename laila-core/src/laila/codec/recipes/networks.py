"""Recipes of networkx: graphs, which are dicts of dicts."""

from __future__ import annotations

import networkx as nx

from laila.codec.recipes import Recipe, add_recipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from laila.codec.decoder import Decoder

__all__: list[str] = []

_WORK = 20
_CACHE = "__networkx_cache__"
_FROZEN = {name: held for name, held in vars(nx.freeze(nx.Graph())).items() if name not in vars(nx.Graph())}
"""The attribute that networkx sets on a frozen graph."""


def _take(value: Any) -> tuple[object, ...] | None:
    """The dicts that a graph is, and whether it is frozen; None for views of graphs, and other attributes."""
    kind = type(value)
    attributes = vars(value)
    frozen = _FROZEN.items() <= attributes.items()
    if frozen:
        attributes = {name: held for name, held in attributes.items() if name not in _FROZEN}
    own = ("graph", "_node", "_adj", *(("_succ", "_pred") if value.is_directed() else ()))
    for name in attributes:
        # networkx's other attributes are views of these; it makes them again.
        if name not in own and name != _CACHE and not hasattr(type(getattr(kind, name, None)), "__get__"):
            return None
    if value.is_directed() and attributes["_succ"] is not attributes["_adj"]:
        return None
    return (frozen, *(attributes[name] for name in own if name != "_succ"))


def _check(decoder: Decoder, nodes: dict[Any, Any], edges: dict[Any, Any]) -> None:
    """Raise ``ValueError`` unless both have the same nodes, and dicts for values."""
    decoder.again("graph", edges, _WORK * (len(edges) + len(nodes)))
    if edges.keys() != nodes.keys() or not {dict}.issuperset(map(type, edges.values())):
        raise ValueError("a graph of other nodes")
    if not {dict}.issuperset(map(type, nodes.values())):
        raise TypeError("attributes of a node that are no dict")


def _recipe(kind: Any) -> Recipe:
    def build(
        decoder: Decoder,
        frozen: bool,
        graph: object,
        nodes: Any,
        edges: Any,
        reverse: dict[Any, Any] | None = None,
    ) -> object:
        _check(decoder, nodes, edges)
        result = kind()
        result.graph, result._node, result._adj = graph, nodes, edges
        if reverse is not None:
            _check(decoder, nodes, reverse)
            result._pred = reverse
        return nx.freeze(result) if frozen else result

    parts = dict.fromkeys(("graph", "nodes", "adj", *(["pred"] * kind().is_directed())), (dict,))
    return Recipe(f"networkx.{kind.__name__}", kind, _take, build, frozen=(bool,), **parts)


for _kind in (nx.Graph, nx.DiGraph, nx.MultiGraph, nx.MultiDiGraph):
    add_recipe(_recipe(_kind))
