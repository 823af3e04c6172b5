"""The tree of a manifest: dicts with text keys, flat lists, and global ids for leaves; checked and walked."""

from __future__ import annotations

from laila.entry.entry import Entry
from laila.errors import IdentityError, ManifestError
from laila.identity import are_constants, last_scope
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any, TypeAlias

    Node: TypeAlias = "str | list[str] | dict[str, Node]"
    Place: TypeAlias = "tuple[Place, str | int] | None"

__all__ = ["MAX_DEPTH", "leaves_of", "map_leaves", "read_tree"]

MAX_DEPTH = 200
"""How many dicts a tree nests."""
_LEAF_SCOPES = ("ENTRY", "MANIFEST")
_LONGEST_PLACE = 200


def leaves_of(node: Node) -> Iterator[str]:
    """Yield the global id of every leaf below ``node``, depth first, in insertion order."""
    # Iterative, so that a deep tree costs no recursion.
    stack: list[Iterator[Node]] = [iter((node,))]
    while stack:
        for child in stack[-1]:
            if isinstance(child, str):
                yield child
            elif isinstance(child, list):
                yield from child
            else:
                stack.append(iter(child.values()))
                break
        else:
            stack.pop()


def map_leaves(node: Node, found: Mapping[str, Entry]) -> Any:
    """Return the tree with the entries of ``found`` in place of their ids."""
    if isinstance(node, str):
        return found[node]
    if isinstance(node, list):
        return [found[leaf] for leaf in node]
    return {key: map_leaves(child, found) for key, child in node.items()}


def _place(path: Place) -> str:
    """The place of a node, such as ``$['a'][3]``; made for errors alone, as it may be long."""
    steps: list[str] = []
    while path is not None:
        path, step = path
        steps.append(f"[{shown(step)}]")
    text = "$" + "".join(reversed(steps))
    return text if len(text) <= _LONGEST_PLACE else text[:_LONGEST_PLACE] + "…"


def read_tree(data: object, *, stored: bool = False) -> tuple[dict[str, Node], dict[str, Entry]]:
    """Check a tree; return it with ids for entries, and the entries by id. Raises :class:`ManifestError`.

    Each part of a ``stored`` tree stands in one place: a few bytes could otherwise be a million leaves.
    """
    if not isinstance(data, dict):
        raise ManifestError(f"a manifest is made of a dict, not {type(data).__name__}", path="$")
    pending: dict[str, Entry] = {}
    ids: list[Place] = []
    seen: set[int] = set()

    def leaf(value: object, path: Place) -> str:
        if isinstance(value, Entry):
            gid = value.global_id
            pending[gid] = value
        elif isinstance(value, str):
            try:
                scope = last_scope(value)
            except IdentityError as error:
                raise ManifestError(
                    f"the leaf {_place(path)} is no global id: {error}", path=_place(path)
                ) from error
            if scope not in _LEAF_SCOPES:
                raise ManifestError(
                    f"the leaf {_place(path)} is the id of a {scope}: {shown(value)}", path=_place(path)
                )
            gid = value
            ids.append(path)
        else:
            raise ManifestError(
                f"the leaf {_place(path)} is a {type(value).__name__}; "
                "leaves are entries (laila.constant(…)) or global ids",
                path=_place(path),
            )
        if ids and pending:
            raise ManifestError(
                f"the leaves are mixed: {_place(ids[0])} is an id, "
                f"{_place(path) if isinstance(value, Entry) else 'others'} "
                "an Entry; give all as entries or all as ids",
                path=_place(path),
            )
        return gid

    def leaves(values: Sequence[Any], path: Place) -> list[str] | None:
        """Take a list at once where all in it is of the most common kind; else None."""
        kinds = set(map(type, values))
        if kinds == {Entry} and not ids:
            found = [entry.global_id for entry in values]
            pending.update(zip(found, values, strict=True))
            return found
        if kinds == {str} and not pending and are_constants(values):
            ids.append((path, 0))
            return list(values)
        return None

    def walk(value: object, path: Place, inside: tuple[int, ...]) -> Node:
        if stored and isinstance(value, (dict, list, tuple)):
            if id(value) in seen:
                raise ManifestError(
                    f"the part at {_place(path)} stands in two places of a stored manifest", path=_place(path)
                )
            seen.add(id(value))
        if isinstance(value, dict):
            if id(value) in inside:
                raise ManifestError(f"the manifest contains itself at {_place(path)}", path=_place(path))
            if len(inside) >= MAX_DEPTH:
                raise ManifestError(
                    f"the manifest is nested deeper than {MAX_DEPTH} levels at {_place(path)}",
                    path=_place(path),
                )
            for key in value:
                if not isinstance(key, str):
                    raise ManifestError(
                        f"the key {shown(key)} at {_place(path)} is a {type(key).__name__}, not a text",
                        path=_place(path),
                    )
            return {key: walk(child, (path, key), (*inside, id(value))) for key, child in value.items()}
        if isinstance(value, (list, tuple)):
            if (known := leaves(value, path)) is not None:
                return known
            for i, child in enumerate(value):
                if isinstance(child, (list, tuple, dict)):
                    raise ManifestError(
                        f"{_place((path, i))} is a {type(child).__name__}; lists of leaves are flat",
                        path=_place((path, i)),
                    )
            return [leaf(child, (path, i)) for i, child in enumerate(value)]
        return leaf(value, path)

    tree = walk(data, None, ())
    assert isinstance(tree, dict)
    return tree, pending
