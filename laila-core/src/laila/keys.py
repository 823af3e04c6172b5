"""How a key is read: its kind, its stem and its number.

A pool may hold any keys; :func:`counts_evolution` and :func:`split_evolution` take every text. The other
functions take valid global ids alone, and are quick: :mod:`laila.identity` checks an id.
"""

from __future__ import annotations

__all__ = [
    "counts_evolution",
    "is_evolution",
    "is_manifest",
    "may_evolve",
    "number_of",
    "split_evolution",
    "stem_of",
]


def counts_evolution(number: str) -> bool:
    """Return whether the end of a key counts an evolution.

    Args:
        number: The text after the last hyphen of the key.

    Returns:
        True for decimal digits without a leading zero.
    """
    return number.isdecimal() and number.isascii() and (number[0] != "0" or number == "0")


def split_evolution(key: str) -> tuple[str, str] | None:
    """Split a key ``<stem>-<n>``.

    Args:
        key: Any key. The last group of a uuid may count as a number, too.

    Returns:
        The stem, and the number as text, which may be long; None for other keys.
    """
    stem, hyphen, number = key.rpartition("-")
    return (stem, number) if hyphen and counts_evolution(number) else None


def is_evolution(key: str) -> bool:
    """Whether a valid id names one evolution of a variable."""
    # Every other id ends in a colon and the 36 characters of a uuid.
    return key[-37] != ":"


def is_manifest(key: str) -> bool:
    """Whether a valid id is a manifest's."""
    return ":MANIFEST:" in key


def may_evolve(key: str) -> bool:
    """Whether a valid id is an entry's without evolution: a constant, or all evolutions of a variable."""
    return key[-37] == ":" and ":MANIFEST:" not in key and ":PACK:" not in key


def stem_of(key: str) -> str:
    """Return a valid id without its evolution."""
    return key.rpartition("-")[0] if is_evolution(key) else key


def number_of(key: str) -> int:
    """Return the number of a valid id of an evolution."""
    return int(key.rpartition("-")[2])
