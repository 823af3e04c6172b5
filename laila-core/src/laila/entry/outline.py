"""The tree of a manifest as people see it: lines of text, or HTML that opens and closes. Reads nothing."""

from __future__ import annotations

from html import escape

from laila.showing import escaped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from laila.entry.leaves import Leaves
    from laila.entry.tree import Node

    Word = Callable[[str], str | None]

__all__ = ["Outline", "html_of", "lines_of", "size_text"]

_LONGEST = 100
"""How many characters of a key or a type are shown."""
_MOST_NODES = 500
"""How many branches and leaves HTML has."""


def size_text(nbytes: int) -> str:
    """Return a number of bytes as people read it: ``3.4 MiB``.

    Args:
        nbytes: The number.

    Returns:
        The text.
    """
    value = float(nbytes)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{nbytes} B" if unit == "B" else f"{value:.1f} {unit}"


class Outline:
    """A line of text for each node of a tree."""

    def __init__(self, tree: Node, rows: Leaves, word: Word | None = None) -> None:
        self._rows = rows
        self._word = word
        self._totals: dict[int, tuple[int, int, bool]] = {}
        self.total = self._count(tree)

    def _count(self, node: Node) -> tuple[int, int, bool]:
        """Count leaves and bytes below a node, and say whether all of them are known."""
        if isinstance(node, dict):
            leaves = [child for child in node.values() if isinstance(child, str)]
            parts = [self._count(child) for child in node.values() if not isinstance(child, str)]
        else:
            leaves, parts = [node] if isinstance(node, str) else node, []
        nbytes, is_known = self._rows.total(leaves)
        parts.append((len(leaves), nbytes, is_known))
        total = sum(n for n, _, _ in parts), sum(n for _, n, _ in parts), all(known for *_, known in parts)
        self._totals[id(node)] = total
        return total

    @property
    def is_known(self) -> bool:
        """Whether every leaf is known."""
        return self.total[2]

    def leaves(self, node: Node) -> int:
        """Return the number of leaves below a node."""
        return 1 if isinstance(node, str) else self._totals[id(node)][0]

    def of(self, node: Node) -> str:
        """Say what a node is."""
        if not isinstance(node, str):
            return said_of(self._totals[id(node)])
        leaf = self._rows.get(node)
        if leaf is None:
            return escaped((self._word and self._word(node)) or "?", _LONGEST)
        words = [escaped(leaf.type or "?", _LONGEST)]
        if leaf.dtype is not None:
            words.append(escaped(leaf.dtype, _LONGEST))
        if leaf.shape is not None:
            words.append(escaped(str(leaf.shape), _LONGEST))
        return f"{' '.join(words)}, {size_text(leaf.nbytes)}"


def said_of(total: tuple[int, int, bool]) -> str:
    """Say how many leaves there are, and how large they are together."""
    count, nbytes, known = total
    leaves = f"{count:,} {'leaf' if count == 1 else 'leaves'}"
    return f"{leaves}, {size_text(nbytes)}" if known else leaves


def _children(node: Node) -> Iterator[tuple[str, Node]]:
    if isinstance(node, dict):
        for key, child in node.items():
            yield escaped(key, _LONGEST) or "''", child
    elif isinstance(node, list):
        for i, leaf in enumerate(node):
            yield str(i), leaf


def lines_of(tree: Node, outline: Outline, depth: int | None, limit: int | None) -> Iterator[str]:
    """Yield the tree line by line, below a first line about all of it.

    Args:
        tree: The tree.
        outline: The lines for its nodes.
        depth: How many levels are opened; None for all.
        limit: How many lines there are below the first; None for all.
    """
    yield said_of(outline.total)
    room = -1 if limit is None else limit
    shown = 0
    # For each open level: what stands before its lines, and what of it is still to come.
    stack = [("", _with_last(_children(tree)))] if depth is None or depth > 0 else []
    while stack:
        before, children = stack[-1]
        for (name, node), is_last in children:
            if room == 0:
                yield f"… {outline.total[0] - shown:,} more leaves"
                return
            room -= 1
            yield f"{before}{'└── ' if is_last else '├── '}{name}  {outline.of(node)}"
            opened = not isinstance(node, str) and (depth is None or len(stack) < depth)
            if opened:
                stack.append((before + ("    " if is_last else "│   "), _with_last(_children(node))))
                break
            shown += outline.leaves(node)
        else:
            stack.pop()


def _with_last(children: Iterator[tuple[str, Node]]) -> Iterator[tuple[tuple[str, Node], bool]]:
    for before in children:
        for following in children:
            yield (before, False)
            before = following
        yield (before, True)


def html_of(title: str, tree: Node, rows: Leaves, word: Word) -> str:
    """Return the tree as HTML that opens and closes, with a bounded number of nodes.

    Args:
        title: What stands before the tree.
        tree: The tree.
        rows: What is known of the leaves.
        word: Gives a word for a leaf that is not known, or None.

    Returns:
        The HTML, with all texts escaped.
    """
    outline = Outline(tree, rows, word)
    parts = [
        "<details open><summary><b>",
        escape(escaped(title, 2 * _LONGEST)),
        f"</b> {escape(said_of(outline.total))}</summary>",
    ]
    room, shown = _MOST_NODES, 0
    stack = [_children(tree)]
    while stack:
        for name, node in stack[-1]:
            if room == 0:
                break
            room -= 1
            text = f"{escape(name)} <small>{escape(outline.of(node))}</small>"
            if isinstance(node, str):
                shown += 1
                parts.append(f'<div style="margin-left:2em">{text}</div>')
                continue
            parts.append(f'<details style="margin-left:1em"><summary>{text}</summary>')
            stack.append(_children(node))
            break
        else:
            stack.pop()
            parts.append("</details>")
            continue
        if room == 0:
            parts.append("</details>" * len(stack))
            break
    if (rest := outline.total[0] - shown) > 0:
        parts.append(f"<div>… {rest:,} more leaves</div>")
    return "".join(parts)
