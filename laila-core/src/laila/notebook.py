"""What notebooks show of an object: short tables, with all text escaped. Nothing is read or waited for."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["fields_html", "progress_html"]

_LEFT = 'style="text-align:left"'
_LONGEST = 200


def fields_html(title: str, fields: Iterable[tuple[str, object]], more: str = "") -> str:
    """Return a table of names and values.

    Args:
        title: The caption.
        fields: The names and values. A value is written as ``str`` gives it, cut after 200 characters.
        more: HTML that follows the table. It is not escaped.

    Returns:
        HTML.
    """
    from html import escape

    rows = "".join(
        f"<tr><th {_LEFT}>{escape(name)}</th><td {_LEFT}>{escape(_cut(str(value)))}</td></tr>"
        for name, value in fields
    )
    return f"<table><caption {_LEFT}>{escape(_cut(title))}</caption>{rows}</table>{more}"


def progress_html(done: int, total: int, text: str) -> str:
    """Return a bar that shows how much of something is done.

    Args:
        done: How many parts are done.
        total: How many there are.
        text: What stands beside the bar.

    Returns:
        HTML.
    """
    from html import escape

    label = escape(_cut(text), quote=True)
    return f'<progress value="{done}" max="{max(total, 1)}" aria-label="{label}"></progress> {label}'


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
