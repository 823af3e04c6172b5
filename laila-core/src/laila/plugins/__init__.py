"""Plugins: pools, task forces, protocols and hooks that installed distributions bring.

Names lead to classes through entry points (:mod:`~laila.plugins.discovery`,
:mod:`~laila.plugins.registry`); hooks register and observe (:mod:`~laila.plugins.observers`). A plugin that
fails to import, hangs or breaks its contract is left out: it is reported once through ``logging`` and by
``laila plugins``, and using it raises :class:`~laila.errors.PluginError` with the cause.

Importing this package is cheap and scans nothing; the first question does, and its answer is kept until
:func:`rescan`. Everything here may be called from any thread.
"""

from __future__ import annotations

from laila.plugins.observers import Hooks, call_hook, hooks, listeners, load_hooks, watch
from laila.plugins.plugin import PluginReport
from laila.plugins.registry import Registry, class_by_name, pools, protocols, report, rescan, taskforces

__all__ = [
    "Hooks",
    "PluginReport",
    "Registry",
    "call_hook",
    "class_by_name",
    "hooks",
    "listeners",
    "load_hooks",
    "pools",
    "protocols",
    "report",
    "rescan",
    "taskforces",
    "watch",
]
