"""needed(): import the library that reads or writes a format, or say how to install it."""

from __future__ import annotations

from importlib import import_module

from laila.errors import MissingPluginError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["needed"]


def needed(module: str, distribution: str) -> Any:
    """Import a module of a library that laila does not depend on.

    Args:
        module: The module.
        distribution: What is installed for it.

    Returns:
        The module.

    Raises:
        MissingPluginError: It is not installed (an ``ImportError``).
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise MissingPluginError(
            f"files of this format need {distribution}: pip install '{distribution}'",
            plugin=distribution,
            distribution=distribution,
        ) from error
