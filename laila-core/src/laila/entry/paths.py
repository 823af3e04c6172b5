r"""Places in the tree of a manifest as text: ``encoder/weight``, ``history/3``.

A path is its keys, and the number of an item in a list, with ``/`` between them. In a key, ``/``, ``*``,
``?``, ``[`` and ``\`` have a ``\`` before them, so that a path that was printed means that place as a
pattern, too.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from laila.entry.tree import Node

__all__ = ["path_text", "places_of"]

_ESCAPED = {ord(character): f"\\{character}" for character in "/*?[\\"}


def path_text(path: Sequence[str | int]) -> str:
    """Return a path as text.

    Args:
        path: The keys and the numbers of items that lead to the place.

    Returns:
        The text, which as a pattern means that place.
    """
    return "/".join([step.translate(_ESCAPED) if isinstance(step, str) else str(step) for step in path])


def places_of(tree: Node) -> Iterator[tuple[str, str]]:
    """Yield the path of each leaf as text, and its global id, in the order of the tree.

    Args:
        tree: The tree, or a branch of one.
    """
    # Iterative, with the text of the branch beside each: a deep tree costs no recursion.
    stack: list[tuple[str, Iterator[tuple[str, Node]]]] = [("", iter((("", tree),)))]
    while stack:
        before, nodes = stack[-1]
        for key, node in nodes:
            path = before + key
            if isinstance(node, str):
                yield path, node
            elif isinstance(node, list):
                yield from ((f"{path}/{i}", leaf) for i, leaf in enumerate(node))
            else:
                start = f"{path}/" if len(stack) > 1 else ""
                stack.append((start, iter([(path_text((name,)), child) for name, child in node.items()])))
                break
        else:
            stack.pop()
